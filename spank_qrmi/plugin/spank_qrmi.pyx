# SPDX-License-Identifier: GPL-3.0-or-later
# cython: language_level=3, cdivision=True
"""The SPANK hooks and the option of spank_qrmi.so: they translate, the worker decides.

Nothing here may touch Python: the linker drops Cython's module code, so the library has no
reference to libpython, and nothing set up at import time exists. Globals start as zero bytes.
Hooks return 0 whatever happens: a failing hook would drain the node instead of failing the job.
"""

from libc.stdint cimport uint32_t
from libc.stdio cimport snprintf
from libc.stdlib cimport strtol
from libc.string cimport memset, strchr, strcmp, strlen, strncmp, strstr
from posix.unistd cimport getpid, getuid

from slurm cimport SLURM_BATCH_SCRIPT, SLURM_INTERACTIVE_STEP, SLURM_MAX_NORMAL_STEP_ID
from spank cimport (
    ESPANK_SUCCESS, slurm_debug, slurm_error, slurm_info, spank_option, spank_option_register,
    spank_remote, spank_setenv, spank_strerror, spank_t)
from spank_qrmi.plugin.byte_buffer cimport (
    ByteBuffer, append_text, next_text, release_bytes)
from spank_qrmi.plugin.job cimport (
    JobRecord, Step, is_first_task, job_environment, job_state, job_variable, load_job, read_step)
from spank_qrmi.plugin.message cimport (
    MAX_MESSAGE_BYTES, VERDICT_FAIL, Answer, add_number, add_text, begin_request, end_request,
    is_control)
from spank_qrmi.plugin.worker_process cimport Conversation, ask_worker
from unix cimport _exit

cdef extern from *:
    """
    #include <slurm/spank.h>
    SPANK_PLUGIN(spank_qrmi, 1)
    #define PLUGIN_LOG_NAME "spank_qrmi_c"
    #define WORKER_FAILURE \
        "--qpu: the QPU worker on this node %s; tell the administrator: slurmd's log says more"
    #define RELEASE_FAILURE "%s: the QPU worker %s; its release may not have happened"
    #define QPU_OPTION_FALLBACK "SLURM_SPANK__SLURM_SPANK_OPTION_spank_qrmi_qpu"
    """
    const char *PLUGIN_LOG_NAME
    const char *QPU_OPTION_FALLBACK
    const char *RELEASE_FAILURE
    const char *WORKER_FAILURE

cdef enum:
    MAX_OPTION_BYTES = 64 * 1024
    DEFAULT_ACQUIRE_TIMEOUT_SECONDS = 120
    DEFAULT_RELEASE_TIMEOUT_SECONDS = 20
    MAX_TIMEOUT_SECONDS = 86400
    # The worker keeps the deadline itself, and may then give back what it got (acquisition.py:
    # grace and undo); the plugin's own deadline is for a worker that does not.
    TIMEOUT_MARGIN_SECONDS = 8

cdef ByteBuffer qpu_option
cdef ByteBuffer messages
cdef Step step
cdef bint must_fail
cdef bint must_release
cdef bint has_reported_worker


cdef void log_enter(spank_t spank, const char *hook, int argc) noexcept nogil:
    slurm_debug(b"%s(%d, %d): -> %s argc=%d remote=%d", PLUGIN_LOG_NAME, getpid(), <int>getuid(),
                hook, argc, spank_remote(spank))


cdef int log_leave(const char *hook) noexcept nogil:
    slurm_debug(b"%s(%d,%d): <- %s rc=0", PLUGIN_LOG_NAME, getpid(), <int>getuid(), hook)
    return 0


cdef void log_worker_record(char level, const char *text) noexcept nogil:
    if level == c"e":
        slurm_error(b"%s: %s", PLUGIN_LOG_NAME, text)
    elif level == c"i":
        slurm_info(b"%s: %s", PLUGIN_LOG_NAME, text)
    else:
        slurm_debug(b"%s: %s", PLUGIN_LOG_NAME, text)


cdef bint has_name(const char *names) noexcept nogil:
    """Whether a comma separated list holds anything but commas and spaces."""
    while names[0] == c"," or names[0] == c" ":
        names += 1
    return names[0] != 0


cdef const char *problem_of_names(const char *names) noexcept nogil:
    cdef const char *byte = names
    if strlen(names) > MAX_OPTION_BYTES:
        return b"is longer than 65536 bytes"
    if not has_name(names):
        return b"names no QPU: give a comma separated list such as --qpu=name1,name2"
    while byte[0] != 0:
        if is_control(byte[0]):
            return b"holds a control character"
        byte += 1
    return NULL


cdef int keep_qpu_option(int value, const char *names, int remote) noexcept nogil:
    """Option callback: refuse at submission what can never work; keep the last value given."""
    cdef const char *problem = problem_of_names(names)
    if problem != NULL:
        slurm_error(b"%s: --qpu %s", PLUGIN_LOG_NAME, problem)
        return -1
    qpu_option.length = 0
    if not append_text(&qpu_option, names, strlen(names), MAX_OPTION_BYTES + 1):
        return -1
    slurm_debug(b"%s: --qpu=[%s]", PLUGIN_LOG_NAME, names)
    return 0


cdef const char *requested_qpus(spank_t spank) noexcept nogil:
    """Return the names asked for, NULL for a job that asked for none.

    Up to Slurm 23.11 `sbatch --export` with NONE or a list hides the option from the batch step;
    the job control variable of the same option is always there.
    """
    cdef const char *names
    if qpu_option.length == 0:
        names = job_variable(spank, QPU_OPTION_FALLBACK)
        if names != NULL and problem_of_names(names) == NULL:
            append_text(&qpu_option, names, strlen(names), MAX_OPTION_BYTES + 1)
    return qpu_option.bytes if qpu_option.length > 0 else NULL


cdef bint is_inside_acquiring_job(spank_t spank) noexcept nogil:
    """Whether the step was started from a shell or script for which this job has acquired."""
    cdef const char *job_id = job_variable(spank, b"QRMI_JOB_ID")
    return job_id != NULL and strtol(job_id, NULL, 10) == <long>step.job_id


cdef bint is_acquiring_step(spank_t spank, const char **refusal) noexcept nogil:
    """Whether this step acquires for its job: see `Who acquires` in docs/architecture.md.

    `refusal` is set for a step that asks for QPUs and can have none.
    """
    cdef JobRecord record
    if step.step_id == SLURM_BATCH_SCRIPT or step.step_id == SLURM_INTERACTIVE_STEP:
        return True
    if step.step_id > SLURM_MAX_NORMAL_STEP_ID or is_inside_acquiring_job(spank):
        return False
    record = load_job(step.job_id)
    if not record.is_known:
        refusal[0] = b"slurmctld does not tell what kind of job this is; try again"
        return False
    if record.is_batch:
        # `sbatch --export=NONE` hides QRMI_JOB_ID from the script's steps, not Slurm's own names.
        if job_variable(spank, b"SLURM_JOB_QPU_RESOURCES") == NULL:
            refusal[0] = b"a batch job acquires its QPUs at its start: give --qpu to sbatch"
        return False
    return step.node_index == 0


cdef const char *argument_value(int argc, char **argv, const char *prefix) noexcept nogil:
    """Return the value of the last argument that starts so, as the worker does; NULL if none."""
    cdef const char *value = NULL
    cdef int i
    for i in range(argc):
        if strncmp(argv[i], prefix, strlen(prefix)) == 0:
            value = argv[i] + strlen(prefix)
    return value


cdef long timeout_argument(int argc, char **argv, const char *prefix, long default) noexcept nogil:
    """Return the plugstack argument's seconds; the worker reports a value that is no such number."""
    cdef const char *text = argument_value(argc, argv, prefix)
    cdef char *end = NULL
    cdef long seconds
    if text == NULL:
        return default
    seconds = strtol(text, &end, 10)
    if end == text or end[0] != 0 or seconds < 1 or seconds > MAX_TIMEOUT_SECONDS:
        return default
    return seconds


cdef bint continues_on_failure(int argc, char **argv) noexcept nogil:
    cdef const char *choice = argument_value(argc, argv, b"--on-failure=")
    return choice != NULL and strcmp(choice, b"continue") == 0


cdef bint add_job_variables(ByteBuffer *request, spank_t spank) noexcept nogil:
    """Add what of the job's environment can concern a resource; the worker takes what it knows."""
    cdef char **entry = job_environment(spank)
    cdef const char *word
    while entry != NULL and entry[0] != NULL:
        word = strstr(entry[0], b"QRMI_")
        if word != NULL and strchr(entry[0], c"=") > word:
            if not add_text(request, c"e", entry[0]):
                return False
        entry += 1
    return True


cdef bint write_request(ByteBuffer *request, spank_t spank, const char *verb, long timeout_seconds,
                        int argc, char **argv) noexcept nogil:
    cdef int i
    cdef bint is_written = (
        begin_request(request) and add_text(request, c"v", verb)
        and add_number(request, c"j", step.job_id)
        and add_number(request, c"r", step.restart_count)
        and add_number(request, c"s", step.step_id)
        and add_number(request, c"u", step.uid)
        and add_number(request, c"d", <unsigned long long>timeout_seconds))
    for i in range(argc):
        is_written = is_written and add_text(request, c"a", argv[i])
    return is_written


cdef bint add_acquisition(ByteBuffer *request, spank_t spank, const char *names) noexcept nogil:
    cdef JobRecord record = load_job(step.job_id)
    if not record.is_known:
        slurm_info(b"%s: warning: slurmctld does not tell the job's time limit: taken as none",
                   PLUGIN_LOG_NAME)
    else:
        if not (add_number(request, c"l", record.time_limit_minutes)
                and add_number(request, c"b", <unsigned long long>record.start_time)):
            return False
    return add_text(request, c"q", names) and add_job_variables(request, spank)


cdef void keep_message(const char *format, const char *reason) noexcept nogil:
    """Keep a line for the job's own output, which exists only from task start on."""
    cdef char line[1024]
    snprintf(line, sizeof(line), format, reason)
    append_text(&messages, line, strlen(line), MAX_MESSAGE_BYTES)


cdef void refuse(const char *reason, int argc, char **argv) noexcept nogil:
    global must_fail
    keep_message(b"--qpu: %s", reason)
    must_fail = not continues_on_failure(argc, argv)


cdef bint ask(Conversation *talk, ByteBuffer *request, bint is_written, Answer *answer) noexcept nogil:
    """Put a written request to a worker; `talk.failure` says why there is no answer."""
    cdef bint is_answered = False
    if not is_written or not end_request(request):
        snprintf(talk.failure, sizeof(talk.failure),
                 b"cannot be asked: the job's QRMI variables are too long (256 KiB each, 8 MiB in "
                 b"all)")
    else:
        is_answered = ask_worker(<const void *>slurm_spank_init, talk, request, answer)
    release_bytes(request)
    if talk.complaint[0] != 0:
        slurm_info(b"%s: worker: %s", PLUGIN_LOG_NAME, talk.complaint)
    return is_answered


cdef void set_job_variables(spank_t spank, const ByteBuffer *variables) noexcept nogil:
    cdef const char *entry = next_text(variables, NULL)
    cdef char *equals
    cdef int error
    while entry != NULL:
        equals = <char *>strchr(entry, c"=")
        equals[0] = 0
        error = spank_setenv(spank, entry, equals + 1, 1)
        if error != ESPANK_SUCCESS:
            slurm_error(b"%s: cannot set %s in the job: %s", PLUGIN_LOG_NAME, entry,
                        spank_strerror(error))
        equals[0] = c"="
        entry = next_text(variables, entry)


cdef void set_empty_lists(spank_t spank) noexcept nogil:
    """Give every job that asked the lists; those of an answer take their place."""
    spank_setenv(spank, b"QRMI_JOB_QPU_RESOURCES", b"", 1)
    spank_setenv(spank, b"QRMI_JOB_QPU_TYPES", b"", 1)
    spank_setenv(spank, b"SLURM_JOB_QPU_RESOURCES", b"", 1)
    spank_setenv(spank, b"SLURM_JOB_QPU_TYPES", b"", 1)


cdef void report(const ByteBuffer *lines) noexcept nogil:
    """Tell slurmd's log and, from task start on, the job's output."""
    cdef const char *line = next_text(lines, NULL)
    while line != NULL:
        slurm_error(b"%s: %s", PLUGIN_LOG_NAME, line)
        line = next_text(lines, line)


cdef void begin_conversation(Conversation *talk, Answer *answer, ByteBuffer *request,
                             long timeout_seconds) noexcept nogil:
    memset(talk, 0, sizeof(talk[0]))
    memset(answer, 0, sizeof(answer[0]))
    memset(request, 0, sizeof(request[0]))
    answer.held = -1
    talk.log = log_worker_record
    talk.job_id = step.job_id
    talk.timeout_milliseconds = (timeout_seconds + TIMEOUT_MARGIN_SECONDS) * 1000


cdef void acquire(spank_t spank, const char *names, int argc, char **argv) noexcept nogil:
    """Have the worker acquire and describe the QPUs; keep what the later hooks need."""
    global has_reported_worker, messages, must_fail, must_release
    cdef Conversation talk
    cdef Answer answer
    cdef ByteBuffer request
    cdef bint is_answered
    cdef long seconds = timeout_argument(argc, argv, b"--acquire-timeout=",
                                         DEFAULT_ACQUIRE_TIMEOUT_SECONDS)
    begin_conversation(&talk, &answer, &request, seconds)
    talk.job_state = job_state
    is_answered = ask(&talk, &request,
                      write_request(&request, spank, b"acquire", seconds, argc, argv)
                      and add_acquisition(&request, spank, names), &answer)
    set_empty_lists(spank)
    if is_answered:
        set_job_variables(spank, &answer.variables)
        messages = answer.messages
        must_fail = answer.verdict == VERDICT_FAIL
        must_release = answer.held > 0
    else:
        slurm_error(b"%s: the QPU worker %s", PLUGIN_LOG_NAME, talk.failure)
        keep_message(WORKER_FAILURE, talk.failure)
        release_bytes(&answer.messages)
        must_fail = True
        must_release = talk.pid != 0
        has_reported_worker = True
    if continues_on_failure(argc, argv) and not talk.is_undoing:
        must_fail = False
    release_bytes(&answer.variables)


cdef void log_release_failure(const char *failure) noexcept nogil:
    """Tell it the log, and the job's output too unless that already names the failing worker."""
    if has_reported_worker:
        slurm_info(RELEASE_FAILURE, PLUGIN_LOG_NAME, failure)
    else:
        slurm_error(RELEASE_FAILURE, PLUGIN_LOG_NAME, failure)


cdef void release(spank_t spank, int argc, char **argv) noexcept nogil:
    """Have the worker release what the journal says this step still holds."""
    cdef Conversation talk
    cdef Answer answer
    cdef ByteBuffer request
    cdef long seconds = timeout_argument(argc, argv, b"--release-timeout=",
                                         DEFAULT_RELEASE_TIMEOUT_SECONDS)
    begin_conversation(&talk, &answer, &request, seconds)
    if ask(&talk, &request,
           write_request(&request, spank, b"release", seconds, argc, argv), &answer):
        report(&answer.messages)
    else:
        log_release_failure(talk.failure)
    release_bytes(&answer.messages)
    release_bytes(&answer.variables)


cdef const char *rust_log_level(const char *srun_debug) noexcept nogil:
    cdef long level = 3 if srun_debug == NULL else strtol(srun_debug, NULL, 10)
    if level == 1 or level == 2:
        return b"error"
    if level == 4:
        return b"debug"
    if level >= 5:
        return b"trace"
    return b"info"


cdef void set_rust_log(spank_t spank) noexcept nogil:
    """Set QRMI's log level from srun's, unless the user chose one.

    A step inherits what its batch script was given, so the default counts as not chosen.
    """
    cdef const char *chosen = job_variable(spank, b"RUST_LOG")
    if chosen == NULL or strcmp(chosen, b"info") == 0:
        spank_setenv(spank, b"RUST_LOG", rust_log_level(job_variable(spank, b"SRUN_DEBUG")), 1)


cdef public int slurm_spank_init(spank_t spank, int argc, char **argv) noexcept nogil:
    cdef spank_option option
    cdef int error
    log_enter(spank, b"slurm_spank_init", argc)
    option.name = <char *>b"qpu"
    option.arginfo = <char *>b"names"
    option.usage = <char *>b"Comma separated list of QPU resources to use."
    option.has_arg = 1
    option.val = 0
    option.cb = keep_qpu_option
    error = spank_option_register(spank, &option)
    if error != ESPANK_SUCCESS:
        slurm_error(b"%s: cannot register --qpu: %s", PLUGIN_LOG_NAME, spank_strerror(error))
    return log_leave(b"slurm_spank_init")


cdef public int slurm_spank_init_post_opt(spank_t spank, int argc, char **argv) noexcept nogil:
    cdef const char *names
    cdef const char *refusal = NULL
    log_enter(spank, b"slurm_spank_init_post_opt", argc)
    if spank_remote(spank) == 1:
        names = requested_qpus(spank)
        if names != NULL and read_step(spank, &step):
            slurm_debug(b"%s, %x", PLUGIN_LOG_NAME, step.step_id)
            if is_acquiring_step(spank, &refusal):
                acquire(spank, names, argc, argv)
            elif refusal != NULL:
                refuse(refusal, argc, argv)
    return log_leave(b"slurm_spank_init_post_opt")


cdef public int slurm_spank_task_init(spank_t spank, int argc, char **argv) noexcept nogil:
    """Give the task its log level and tell the user what went wrong.

    A failed job ends here by leaving the forked child: a plugstack line that says `optional` makes
    Slurm ignore the hook's return value.
    """
    log_enter(spank, b"slurm_spank_task_init", argc)
    if spank_remote(spank) == 1 and qpu_option.length > 0:
        set_rust_log(spank)
        if is_first_task(spank):
            report(&messages)
        if must_fail:
            _exit(1)
    return log_leave(b"slurm_spank_task_init")


cdef public int slurm_spank_exit(spank_t spank, int argc, char **argv) noexcept nogil:
    log_enter(spank, b"slurm_spank_exit", argc)
    if must_release:
        release(spank, argc, argv)
    release_bytes(&messages)
    release_bytes(&qpu_option)
    return log_leave(b"slurm_spank_exit")
