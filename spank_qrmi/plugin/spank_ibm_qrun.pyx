# SPDX-License-Identifier: GPL-3.0-or-later
# cython: language_level=3, cdivision=True
"""spank_ibm_qrun.so: the options of `qrun`, variables for it, and its clean-up.

The rules of spank_qrmi.pyx hold here too: no Python, globals start as zero bytes, hooks return 0.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memset, strchr, strcmp, strlen, strncmp
from posix.signal cimport siginfo_t
from posix.unistd cimport close
from posix.wait cimport P_ALL, WEXITED, WNOHANG, WNOWAIT, waitid

from slurm cimport SLURM_BATCH_SCRIPT, SLURM_INTERACTIVE_STEP, SLURM_MAX_NORMAL_STEP_ID
from spank cimport (
    ESPANK_SUCCESS, S_JOB_ARGV, S_JOB_LOCAL_TASK_COUNT, S_TASK_EXIT_STATUS, slurm_debug,
    slurm_error, slurm_info, spank_get_item, spank_remote, spank_setenv, spank_t)
from spank_qrmi.plugin.allocation cimport warn_without_shell
from spank_qrmi.plugin.answered_variables cimport are_ours, starts_with
from spank_qrmi.plugin.arguments cimport argument_value, timeout_argument
from spank_qrmi.plugin.byte_buffer cimport ByteBuffer, next_text, free_bytes
from spank_qrmi.plugin.job cimport Step, is_first_task, is_users, local_task, read_step
from spank_qrmi.plugin.log cimport PLUGIN_LOG_NAME, keep_line, log_unset, report
from spank_qrmi.plugin.masking cimport (
    SHOWN_BYTES, show_argument, show_mask, show_text, show_value)
from spank_qrmi.plugin.message cimport VERDICT_FAIL, Answer, add_text
from spank_qrmi.plugin.option cimport (
    find_option, keep_option, problem_of_text, register_option)
from spank_qrmi.plugin.plugstack_lines cimport (
    PlugstackLines, is_last_call, note_line, warn_of_second_line)
from spank_qrmi.plugin.quantum_jobs cimport (
    JOB_ID_BYTES, TASK_CLEARED, TASK_KILLED, QuantumJobs, draw_job_ids, ended_state, has_job_id,
    has_running_task, must_clear, write_job_id)
from spank_qrmi.plugin.question cimport add_job_record, ask, begin_conversation, write_request
from spank_qrmi.plugin.submission_mark cimport is_marked, open_mark
from spank_qrmi.plugin.worker_process cimport Conversation
from unix cimport _exit

cdef extern from *:
    """
    #include <slurm/spank.h>
    SPANK_PLUGIN(spank_ibm_qrun, 1)
    #define PLUGIN_LOG_NAME "spank_ibm_qrun"
    #define BACKEND_FALLBACK "SLURM_SPANK__SLURM_SPANK_OPTION_spank_ibm_qrun_q_backend"
    #define PRIMITIVE_FALLBACK "SLURM_SPANK__SLURM_SPANK_OPTION_spank_ibm_qrun_q_primitive"
    #define WHAT_IS_TOO_LONG "the arguments in plugstack.conf or the ids of the tasks are"
    #define WORKER_FAILURE \
        "--q-backend: the worker on this node %s; tell the administrator: spank-qrmi check and " \
        "slurmd's log say more"
    #define LEFT_BEHIND \
        "quantum job %s may still be on the service: look there, cancel and delete it"
    """
    const char *BACKEND_FALLBACK
    const char *LEFT_BEHIND
    const char *PRIMITIVE_FALLBACK
    const char *WHAT_IS_TOO_LONG
    const char *WORKER_FAILURE

cdef enum:
    MAX_BACKEND_BYTES = 256
    POSITIONAL_ARGUMENTS = 8
    ENVIRONMENT_TIMEOUT_SECONDS = 10
    DEFAULT_CLEANUP_TIMEOUT_SECONDS = 20
    # While other tasks run, slurmstepd has more to do than to wait for a service.
    EARLY_CLEANUP_TIMEOUT_SECONDS = 5

cdef ByteBuffer backend
cdef ByteBuffer primitive
cdef ByteBuffer variables
cdef ByteBuffer messages
cdef QuantumJobs quantum_jobs
cdef int submission_mark
cdef Step step
cdef PlugstackLines lines
cdef bint is_asked
cdef bint is_concerned
cdef bint must_fail
cdef bint has_early_cleanup_failed


cdef void log_enter(spank_t spank, const char *hook, int argc) noexcept nogil:
    slurm_debug(b"%s: -> %s argc=%d remote=%d", PLUGIN_LOG_NAME, hook, argc, spank_remote(spank))


cdef int log_leave(const char *hook) noexcept nogil:
    slurm_debug(b"%s: <- %s rc=0", PLUGIN_LOG_NAME, hook)
    return 0


cdef const char *problem_of_backend(const char *name) noexcept nogil:
    if name[0] == 0:
        return b"names no backend: give one such as --q-backend=name"
    if strlen(name) > MAX_BACKEND_BYTES:
        return b"is longer than 256 bytes"
    return problem_of_text(name)


cdef const char *problem_of_primitive(const char *type) noexcept nogil:
    if strcmp(type, b"sampler") == 0 or strcmp(type, b"estimator") == 0:
        return NULL
    return b"must be sampler or estimator"


cdef bint has_tasks() noexcept nogil:
    return (step.step_id == SLURM_BATCH_SCRIPT or step.step_id == SLURM_INTERACTIVE_STEP
            or step.step_id <= SLURM_MAX_NORMAL_STEP_ID)


cdef void read_options(spank_t spank) noexcept nogil:
    global is_asked, must_fail
    find_option(spank, &backend, b"q-backend", BACKEND_FALLBACK, problem_of_backend, &messages)
    find_option(spank, &primitive, b"q-primitive", PRIMITIVE_FALLBACK, problem_of_primitive,
                &messages)
    must_fail = messages.length > 0
    is_asked = backend.length > 0 or primitive.length > 0


cdef bint is_for_every_job(int argc, char **argv) noexcept nogil:
    cdef int i
    for i in range(argc):
        if strcmp(argv[i], b"--always") == 0:
            return True
    return False


cdef bint add_options(ByteBuffer *request) noexcept nogil:
    return (add_job_record(request, &step)
            and (backend.length == 0 or add_text(request, c"B", backend.bytes))
            and (primitive.length == 0 or add_text(request, c"P", primitive.bytes)))


cdef void refuse(const char *reason) noexcept nogil:
    global must_fail
    keep_line(&messages, WORKER_FAILURE, reason)
    must_fail = True


cdef bint is_own_variable(const char *name, size_t length) noexcept nogil:
    return starts_with(name, length, b"IBMQRUN_")


cdef void fetch_variables(int argc, char **argv) noexcept nogil:
    """Have the worker read arguments and credentials; keep the job's variables for its tasks."""
    global messages, must_fail, variables
    cdef Conversation talk
    cdef Answer answer
    cdef ByteBuffer request
    begin_conversation(&talk, &answer, &request, &step, ENVIRONMENT_TIMEOUT_SECONDS, argc,
                       argv)
    if ask(&talk, &request,
           write_request(&request, &step, b"qrun-environment", ENVIRONMENT_TIMEOUT_SECONDS, argc,
                         argv)
           and (not is_asked or add_options(&request)), WHAT_IS_TOO_LONG, &answer) and are_ours(
               &answer.variables, is_own_variable, argc, argv, talk.failure, sizeof(talk.failure)):
        variables = answer.variables
        messages = answer.messages
        must_fail = answer.verdict == VERDICT_FAIL
    else:
        refuse(talk.failure)
        free_bytes(&answer.messages)
        free_bytes(&answer.variables)


cdef void give_job_ids(spank_t spank) noexcept nogil:
    global submission_mark
    cdef char job_id[JOB_ID_BYTES]
    cdef uint32_t task_count = 0
    spank_get_item(spank, S_JOB_LOCAL_TASK_COUNT, &task_count)
    if not draw_job_ids(&quantum_jobs, task_count):
        refuse(b"has no random numbers, or no memory, for the ids of quantum jobs")
    else:
        write_job_id(&quantum_jobs, 0, job_id)
        submission_mark = open_mark(job_id)


cdef void prepare(spank_t spank, int argc, char **argv) noexcept nogil:
    """Make ready what the tasks will need; a job that asked for nothing is never failed."""
    global must_fail
    fetch_variables(argc, argv)
    if is_asked and not must_fail:
        give_job_ids(spank)
    if not is_asked:
        report(&messages)
        free_bytes(&messages)
        must_fail = False


cdef int positional_count(int argc, char **argv) noexcept nogil:
    cdef int count = 0
    cdef int i
    for i in range(argc):
        if strncmp(argv[i], b"--", 2) != 0:
            count += 1
    return count


cdef bint has_configuration(int argc, char **argv) noexcept nogil:
    return (positional_count(argc, argv) > 0
            or argument_value(argc, argv, b"--credentials=") != NULL)


cdef bint is_secret_position(int position) noexcept nogil:
    """Whether App ID's secret or one of the S3 keys stands there (qrun_plugstack.py)."""
    return position == 1 or position == 3 or position == 4


cdef void log_arguments(int argc, char **argv) noexcept nogil:
    """Log what plugstack.conf says; of the wrong number of arguments each may be the secret."""
    cdef char shown[SHOWN_BYTES]
    cdef bint is_wrong = positional_count(argc, argv) != POSITIONAL_ARGUMENTS
    cdef int position = 0
    cdef int i
    for i in range(argc):
        if strncmp(argv[i], b"--", 2) == 0:
            show_argument(shown, argv[i])
        else:
            if is_wrong or is_secret_position(position):
                show_mask(shown)
            else:
                show_value(shown, b"", argv[i])
            position += 1
        slurm_debug(b"%s: argv[%d] = [%s]", PLUGIN_LOG_NAME, i, shown)


cdef void log_job(spank_t spank) noexcept nogil:
    cdef char shown[SHOWN_BYTES]
    cdef char **words = NULL
    cdef int count = 0
    cdef int i
    slurm_debug(b"%s: S_JOB_UID [%u]", PLUGIN_LOG_NAME, step.uid)
    slurm_debug(b"%s: S_JOB_ID [%u]", PLUGIN_LOG_NAME, step.job_id)
    if spank_get_item(spank, S_JOB_ARGV, &count, &words) != ESPANK_SUCCESS:
        return
    slurm_debug(b"%s: S_JOB_ARGV argc=%d", PLUGIN_LOG_NAME, count)
    for i in range(count):
        show_text(shown, words[i])
        slurm_debug(b"%s: job_argv[%d] = [%s]", PLUGIN_LOG_NAME, i, shown)


cdef void set_variable(spank_t spank, const char *name, const char *value) noexcept nogil:
    cdef char shown[SHOWN_BYTES]
    cdef int error
    show_value(shown, name, value)
    slurm_debug(b"%s: setenv %s=%s", PLUGIN_LOG_NAME, name, shown)
    error = spank_setenv(spank, name, value, 1)
    if error != ESPANK_SUCCESS:
        log_unset(name, error)


cdef void set_variables(spank_t spank) noexcept nogil:
    cdef const char *entry = next_text(&variables, NULL)
    cdef char *equals
    while entry != NULL:
        equals = <char *>strchr(entry, c"=")
        equals[0] = 0
        if not is_users(spank, entry):
            set_variable(spank, entry, equals + 1)
        equals[0] = c"="
        entry = next_text(&variables, entry)


cdef void set_job_id(spank_t spank) noexcept nogil:
    cdef char job_id[JOB_ID_BYTES]
    cdef int task = local_task(spank)
    if has_job_id(&quantum_jobs, task):
        write_job_id(&quantum_jobs, task, job_id)
        set_variable(spank, b"IBMQRUN_JOB_ID", job_id)


cdef char job_tag(size_t task) noexcept nogil:
    """Return the tag of a job whose task is over, or was killed, maybe while it submitted the job."""
    return c"K" if quantum_jobs.states.bytes[task] == TASK_KILLED else c"k"


cdef bint add_quantum_jobs(ByteBuffer *request, bint is_step_over) noexcept nogil:
    cdef char job_id[JOB_ID_BYTES]
    cdef size_t task
    for task in range(quantum_jobs.states.length):
        if must_clear(&quantum_jobs, task, is_step_over):
            write_job_id(&quantum_jobs, <int>task, job_id)
            if not add_text(request, job_tag(task), job_id):
                return False
    return True


cdef void note_cleared(bint is_step_over) noexcept nogil:
    cdef size_t task
    for task in range(quantum_jobs.states.length):
        if must_clear(&quantum_jobs, task, is_step_over):
            quantum_jobs.states.bytes[task] = TASK_CLEARED


cdef void keep_left_behind(ByteBuffer *lines) noexcept nogil:
    cdef char job_id[JOB_ID_BYTES]
    cdef size_t task
    for task in range(quantum_jobs.states.length):
        if must_clear(&quantum_jobs, task, True):
            write_job_id(&quantum_jobs, <int>task, job_id)
            keep_line(lines, LEFT_BEHIND, job_id)


cdef void log_retry(const ByteBuffer *lines) noexcept nogil:
    cdef const char *line = next_text(lines, NULL)
    while line != NULL:
        slurm_info(b"%s: %s; tried again when the step ends", PLUGIN_LOG_NAME, line)
        line = next_text(lines, line)


cdef bint clean_up(bint is_step_over, long seconds, int argc, char **argv) noexcept nogil:
    """Have the worker remove what ended tasks left on the service; return whether nothing is."""
    cdef Conversation talk
    cdef Answer answer
    cdef ByteBuffer request
    cdef bint is_answered
    cdef bint is_clean
    begin_conversation(&talk, &answer, &request, &step, seconds, argc, argv)
    is_answered = ask(&talk, &request,
                      write_request(&request, &step, b"qrun-cleanup", seconds, argc, argv)
                      and add_quantum_jobs(&request, is_step_over), WHAT_IS_TOO_LONG, &answer)
    is_clean = is_answered and answer.left == 0
    if is_clean:
        note_cleared(is_step_over)
    if not is_step_over:
        log_retry(&answer.messages)
    else:
        if not is_answered:
            keep_line(&answer.messages, b"the worker %s", talk.failure)
        if not is_answered or answer.verdict == VERDICT_FAIL:
            keep_left_behind(&answer.messages)
        report(&answer.messages)
    free_bytes(&answer.messages)
    free_bytes(&answer.variables)
    return is_clean


cdef long cleanup_seconds(int argc, char **argv) noexcept nogil:
    return timeout_argument(argc, argv, b"--cleanup-timeout=", DEFAULT_CLEANUP_TIMEOUT_SECONDS)


cdef bint is_another_task_over() noexcept nogil:
    """Whether slurmstepd has another child to reap: its task_exit comes next and takes all along."""
    cdef siginfo_t information
    memset(&information, 0, sizeof(information))
    return (waitid(P_ALL, 0, &information, WEXITED | WNOHANG | WNOWAIT) == 0
            and information.si_pid != 0)


cdef void clean_up_early(int argc, char **argv) noexcept nogil:
    """Clean up after a task that failed while others run; what fails is left for the step's end.

    One that ended well has waited for its quantum job, so it can wait for the step's end too.
    """
    global has_early_cleanup_failed
    if (has_early_cleanup_failed or not has_running_task(&quantum_jobs)
            or not is_marked(submission_mark) or is_another_task_over()):
        return
    has_early_cleanup_failed = not clean_up(
        False, min(cleanup_seconds(argc, argv), <long>EARLY_CLEANUP_TIMEOUT_SECONDS), argc, argv)


cdef int keep_backend(int value, const char *name, int remote) noexcept nogil:
    return keep_option(&backend, b"q-backend", name, remote, problem_of_backend, &messages)


cdef int keep_primitive(int value, const char *type, int remote) noexcept nogil:
    return keep_option(&primitive, b"q-primitive", type, remote, problem_of_primitive,
                       &messages)


cdef public int slurm_spank_init(spank_t spank, int argc, char **argv) noexcept nogil:
    log_enter(spank, b"slurm_spank_init", argc)
    if spank_remote(spank) == 1:
        note_line(&lines, argc, argv, has_configuration(argc, argv))
        warn_of_second_line(&lines)
    register_option(spank, b"q-backend", b"name", b"Name of Qiskit backend.", keep_backend)
    register_option(spank, b"q-primitive", b"type",
                    b"Qiskit primitive type(sampler or estimator).", keep_primitive)
    return log_leave(b"slurm_spank_init")


cdef public int slurm_spank_init_post_opt(spank_t spank, int argc, char **argv) noexcept nogil:
    global is_concerned
    log_enter(spank, b"slurm_spank_init_post_opt", argc)
    if spank_remote(spank) != 1:
        if backend.length > 0:
            warn_without_shell(b"q-backend")
    elif is_last_call(&lines, &argc, &argv) and read_step(spank, &step) and has_tasks():
        read_options(spank)
        is_concerned = is_asked or must_fail or is_for_every_job(argc, argv)
        if is_concerned and not must_fail:
            prepare(spank, argc, argv)
    return log_leave(b"slurm_spank_init_post_opt")


cdef public int slurm_spank_task_init(spank_t spank, int argc, char **argv) noexcept nogil:
    """Set the task's variables, or tell the user what went wrong and end the forked child.

    A plugstack line that says `optional` makes Slurm ignore the hook's return value.
    """
    log_enter(spank, b"slurm_spank_task_init", argc)
    if is_last_call(&lines, &argc, &argv) and is_concerned:
        log_arguments(argc, argv)
        log_job(spank)
        set_variables(spank)
        set_job_id(spank)
        if is_first_task(spank):
            report(&messages)
        if must_fail:
            _exit(1)
    return log_leave(b"slurm_spank_task_init")


cdef public int slurm_spank_task_exit(spank_t spank, int argc, char **argv) noexcept nogil:
    cdef int task = local_task(spank)
    cdef int status = 0
    log_enter(spank, b"slurm_spank_task_exit", argc)
    if is_last_call(&lines, &argc, &argv) and has_job_id(&quantum_jobs, task):
        spank_get_item(spank, S_TASK_EXIT_STATUS, &status)
        quantum_jobs.states.bytes[task] = <char>ended_state(status)
        if status != 0:
            clean_up_early(argc, argv)
    return log_leave(b"slurm_spank_task_exit")


cdef public int slurm_spank_exit(spank_t spank, int argc, char **argv) noexcept nogil:
    log_enter(spank, b"slurm_spank_exit", argc)
    if is_last_call(&lines, &argc, &argv):
        if has_job_id(&quantum_jobs, 0) and is_marked(submission_mark):
            clean_up(True, cleanup_seconds(argc, argv), argc, argv)
        if submission_mark > 0:
            close(submission_mark)
        free_bytes(&backend)
        free_bytes(&primitive)
        free_bytes(&variables)
        free_bytes(&messages)
        free_bytes(&quantum_jobs.states)
    return log_leave(b"slurm_spank_exit")
