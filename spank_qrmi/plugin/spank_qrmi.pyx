# SPDX-License-Identifier: GPL-3.0-or-later
# cython: language_level=3, cdivision=True
"""spank_qrmi.so: --qpu and --qpu-hold, and what a job with QPUs needs. It translates, the worker decides.

Nothing here may touch Python: the linker drops Cython's module code, so the library has no
reference to libpython, and nothing set up at import time exists. Globals start as zero bytes.
Hooks return 0 whatever happens: a failing hook would drain the node instead of failing the job.
"""

from libc.stdint cimport uint32_t
from libc.stdio cimport snprintf
from libc.stdlib cimport getenv, strtol
from libc.string cimport memset, strchr, strcmp, strlen, strncmp
from posix.types cimport gid_t
from posix.unistd cimport getpid, getuid

from slurm cimport SLURM_BATCH_SCRIPT, SLURM_INTERACTIVE_STEP, SLURM_MAX_NORMAL_STEP_ID
from spank cimport (
    ESPANK_SUCCESS, S_JOB_GID, S_JOB_ID, S_JOB_SUPPLEMENTARY_GIDS, S_JOB_UID, slurm_debug, slurm_error,
    slurm_info, spank_get_item, spank_remote, spank_setenv, spank_t)
from spank_qrmi.plugin.allocation cimport warn_without_shell
from spank_qrmi.plugin.answered_variables cimport are_ours, starts_with
from spank_qrmi.plugin.arguments cimport argument_value, timeout_argument
from spank_qrmi.plugin.byte_buffer cimport ByteBuffer, next_text, free_bytes
from spank_qrmi.plugin.job cimport (
    JobRecord, Step, has_own_log_level, is_first_task, is_users, job_environment, job_state,
    job_variable, load_job, read_step)
from spank_qrmi.plugin.journal cimport holds_entry_of
from spank_qrmi.plugin.log cimport PLUGIN_LOG_NAME, keep_line, log_line, log_unset, report
from spank_qrmi.plugin.message cimport VERDICT_FAIL, Answer, add_number, add_text, is_word
from spank_qrmi.plugin.name_list cimport (
    keep_chosen, keep_unlisted, name_count, problem_of_names, starts_with_listed)
from spank_qrmi.plugin.option cimport find_option, keep_option, register_option
from spank_qrmi.plugin.plugstack_lines cimport (
    PlugstackLines, is_last_call, note_line, warn_of_second_line)
from spank_qrmi.plugin.question cimport add_job_record, ask, begin_conversation, write_request
from spank_qrmi.plugin.submission cimport may_submit, needs_all
from spank_qrmi.plugin.worker_process cimport Conversation
from unix cimport _exit, malloc_trim, program_invocation_short_name

cdef extern from *:
    """
    #include <slurm/spank.h>
    SPANK_PLUGIN(spank_qrmi, 1)
    #define PLUGIN_LOG_NAME "spank_qrmi_c"
    #define DEFAULT_STATE_DIRECTORY "/var/lib/spank_qrmi"
    #define HOLD_OPTION_FALLBACK "SLURM_SPANK__SLURM_SPANK_OPTION_spank_qrmi_qpu_hold"
    #define QPU_OPTION_FALLBACK "SLURM_SPANK__SLURM_SPANK_OPTION_spank_qrmi_qpu"
    #define WORKER_FAILURE \
        "--qpu: the QPU worker on this node %s; tell the administrator: spank-qrmi check and " \
        "slurmd's log say more"
    #define RELEASE_FAILURE "the QPU worker %s; its release may not have happened"
    #define OWN_JOB_ID "SLURM_QRMI_JOB_ID"
    #define HOLDS_NOTHING "%s: warning: --qpu-hold has no effect without --qpu"
    #define FOR_ALL_COMPONENTS \
        "%s: --%s is for all components of a heterogeneous job: give it to the first"
    #define NO_MEMORY "there is no memory to look for what the job holds"
    #define UNKNOWN_JOB "slurmctld does not tell what kind of job this is; try again"
    #define WHAT_IS_TOO_LONG "the job's QRMI variables are"
    """
    const char *DEFAULT_STATE_DIRECTORY
    const char *FOR_ALL_COMPONENTS
    const char *HOLD_OPTION_FALLBACK
    const char *HOLDS_NOTHING
    const char *NO_MEMORY
    const char *OWN_JOB_ID
    const char *QPU_OPTION_FALLBACK
    const char *RELEASE_FAILURE
    const char *UNKNOWN_JOB
    const char *WHAT_IS_TOO_LONG
    const char *WORKER_FAILURE

cdef enum:
    DEFAULT_ACQUIRE_TIMEOUT_SECONDS = 120
    DEFAULT_RELEASE_TIMEOUT_SECONDS = 20

# What a step has to do with its job's QPUs: see `Who acquires` in docs/architecture.md.
cdef enum Part:
    PART_NONE
    PART_LEAVES_TO_STEPS
    PART_ACQUIRES
    PART_SHARES
    PART_UNKNOWN

cdef ByteBuffer qpu_option
cdef ByteBuffer hold_option
cdef ByteBuffer messages
cdef Step step
cdef PlugstackLines lines
cdef bint has_first_component
cdef bint must_fail
cdef bint must_release
cdef bint has_reported_worker
cdef bint has_released_job


cdef void log_enter(spank_t spank, const char *hook, int argc) noexcept nogil:
    slurm_debug(b"%s(%d, %d): -> %s argc=%d remote=%d", PLUGIN_LOG_NAME, getpid(), <int>getuid(),
                hook, argc, spank_remote(spank))


cdef int log_leave(const char *hook) noexcept nogil:
    slurm_debug(b"%s(%d,%d): <- %s rc=0", PLUGIN_LOG_NAME, getpid(), <int>getuid(), hook)
    return 0


cdef bint has_configuration(int argc, char **argv) noexcept nogil:
    return argc > 0 and strncmp(argv[0], b"--", 2) != 0


cdef bint is_number(const char *text, uint32_t number) noexcept nogil:
    return text != NULL and strtol(text, NULL, 10) == <long>number


cdef bint is_inside(spank_t spank, uint32_t job_id) noexcept nogil:
    """Whether the step was started from a shell or script for which this job has acquired.

    `--export` hides every variable but Slurm's, and some programs unset just these.
    """
    return (is_number(job_variable(spank, OWN_JOB_ID), job_id)
            or is_number(job_variable(spank, b"QRMI_JOB_ID"), job_id))


cdef bint is_held_by_steps() noexcept nogil:
    return hold_option.length > 0 and strcmp(hold_option.bytes, b"step") == 0


cdef Part part_of_step(spank_t spank) noexcept nogil:
    cdef JobRecord record
    if step.step_id == SLURM_BATCH_SCRIPT or step.step_id == SLURM_INTERACTIVE_STEP:
        return PART_LEAVES_TO_STEPS if is_held_by_steps() else PART_ACQUIRES
    if step.step_id > SLURM_MAX_NORMAL_STEP_ID:
        return PART_NONE
    if is_inside(spank, step.job_id):
        return PART_SHARES
    record = load_job(step.job_id)
    if not record.is_known:
        return PART_UNKNOWN
    if record.het_job_id != 0 and is_inside(spank, record.het_job_id):
        return PART_SHARES
    return PART_ACQUIRES


cdef bint continues_on_failure(int argc, char **argv) noexcept nogil:
    cdef const char *choice = argument_value(argc, argv, b"--on-failure=")
    return choice != NULL and strcmp(choice, b"continue") == 0


cdef bint is_list(const char *name, size_t length) noexcept nogil:
    return (is_word(name, length, b"QRMI_JOB_QPU_RESOURCES")
            or is_word(name, length, b"QRMI_JOB_QPU_TYPES")
            or is_word(name, length, b"SLURM_JOB_QPU_RESOURCES")
            or is_word(name, length, b"SLURM_JOB_QPU_TYPES"))


cdef bint concerns(const char *entry, const char *names, bint shares) noexcept nogil:
    """Whether the worker is to know this variable of the job's: what it does not see, it cannot
    be misled by."""
    cdef const char *equals = strchr(entry, c"=")
    return equals != NULL and (
        starts_with_listed(entry, equals - entry, names, b"_QRMI_")
        or (shares and is_list(entry, equals - entry))
        or is_word(entry, equals - entry, b"QRMI_JOB_ID")
        or is_word(entry, equals - entry, b"SLURM_EXPORT_ENV"))


cdef bint add_job_variables(ByteBuffer *request, spank_t spank, const char *names,
                            bint shares) noexcept nogil:
    cdef char **entry = job_environment(spank)
    while entry != NULL and entry[0] != NULL:
        if concerns(entry[0], names, shares) and not add_text(request, c"e", entry[0]):
            return False
        entry += 1
    return True


cdef bint add_groups(ByteBuffer *request, spank_t spank) noexcept nogil:
    """Add the groups that Slurm gives to the job's processes, by number."""
    cdef gid_t gid = 0
    cdef gid_t *gids = NULL
    cdef int count = 0
    cdef int i
    if spank_get_item(spank, S_JOB_GID, &gid) == ESPANK_SUCCESS and not add_number(
            request, c"g", gid):
        return False
    if spank_get_item(spank, S_JOB_SUPPLEMENTARY_GIDS, &gids, &count) == ESPANK_SUCCESS:
        for i in range(count):
            if not add_number(request, c"g", gids[i]):
                return False
    return True


cdef bint add_node(ByteBuffer *request) noexcept nogil:
    """Add which of the step's nodes asks; a step for the whole job has one alone."""
    return step.step_id > SLURM_MAX_NORMAL_STEP_ID or add_number(request, c"n", step.node_index)


cdef bint add_acquisition(ByteBuffer *request, spank_t spank, const char *names,
                          bint shares) noexcept nogil:
    return (add_job_record(request, &step) and add_groups(request, spank) and add_node(request)
            and add_text(request, c"q", names)
            and add_job_variables(request, spank, names, shares))


cdef void refuse(const char *reason, int argc, char **argv) noexcept nogil:
    global must_fail
    keep_line(&messages, b"--qpu: %s", reason)
    must_fail = not continues_on_failure(argc, argv)


cdef bint is_own_variable(const char *name, size_t length) noexcept nogil:
    return (starts_with_listed(name, length, qpu_option.bytes, b"_")
            or starts_with(name, length, b"QRMI_JOB_")
            or starts_with(name, length, b"SLURM_JOB_QPU_")
            or is_word(name, length, b"SLURM_EXPORT_ENV"))


cdef void set_job_variables(spank_t spank, const ByteBuffer *variables) noexcept nogil:
    cdef const char *entry = next_text(variables, NULL)
    cdef char *equals
    cdef int error
    while entry != NULL:
        equals = <char *>strchr(entry, c"=")
        equals[0] = 0
        error = ESPANK_SUCCESS
        if not is_users(spank, entry):
            error = spank_setenv(spank, entry, equals + 1, 1)
        if error != ESPANK_SUCCESS:
            log_unset(entry, error)
        equals[0] = c"="
        entry = next_text(variables, entry)


cdef void set_lists(spank_t spank, const char *resources, const char *types) noexcept nogil:
    spank_setenv(spank, b"QRMI_JOB_QPU_RESOURCES", resources, 1)
    spank_setenv(spank, b"QRMI_JOB_QPU_TYPES", types, 1)
    spank_setenv(spank, b"SLURM_JOB_QPU_RESOURCES", resources, 1)
    spank_setenv(spank, b"SLURM_JOB_QPU_TYPES", types, 1)


cdef void set_basics(spank_t spank, bint shares) noexcept nogil:
    """Set what each step has that asked, whatever it got; an answer's lists take their place."""
    cdef char job_id[16]
    snprintf(job_id, sizeof(job_id), b"%u", step.job_id)
    spank_setenv(spank, OWN_JOB_ID, job_id, 1)
    if not shares:
        set_lists(spank, b"", b"")


cdef void go_without(spank_t spank, const char *refusal, int argc, char **argv) noexcept nogil:
    set_basics(spank, False)
    refuse(refusal, argc, argv)


cdef void narrow(spank_t spank, const char *names_variable, const char *types_variable,
                 const char *chosen) noexcept nogil:
    """Leave in a pair of lists what stands at the place of a chosen name."""
    cdef const char *names = job_variable(spank, names_variable)
    cdef const char *types = job_variable(spank, types_variable)
    cdef ByteBuffer kept_names
    cdef ByteBuffer kept_types
    memset(&kept_names, 0, sizeof(kept_names))
    memset(&kept_types, 0, sizeof(kept_types))
    if (names != NULL and types != NULL and keep_chosen(&kept_names, names, names, chosen)
            and keep_chosen(&kept_types, types, names, chosen)):
        spank_setenv(spank, names_variable, kept_names.bytes, 1)
        spank_setenv(spank, types_variable, kept_types.bytes, 1)
    free_bytes(&kept_names)
    free_bytes(&kept_types)


cdef void acquire(spank_t spank, const char *names, bint shares, int argc,
                  char **argv) noexcept nogil:
    """Have the worker acquire and describe the QPUs; keep what the later hooks need.

    A step that `shares` has the QPUs of its lists beside them.
    """
    global has_reported_worker, messages, must_fail, must_release
    cdef Conversation talk
    cdef Answer answer
    cdef ByteBuffer request
    cdef bint is_answered
    cdef long seconds = timeout_argument(argc, argv, b"--acquire-timeout=",
                                         DEFAULT_ACQUIRE_TIMEOUT_SECONDS)
    begin_conversation(&talk, &answer, &request, &step, seconds, argc, argv)
    talk.job_state = job_state
    is_answered = ask(&talk, &request,
                      write_request(&request, &step, b"acquire", seconds, argc, argv)
                      and add_acquisition(&request, spank, names, shares), WHAT_IS_TOO_LONG, &answer)
    is_answered = is_answered and are_ours(
        &answer.variables, is_own_variable, argc, argv, talk.failure, sizeof(talk.failure))
    set_basics(spank, shares)
    if is_answered:
        set_job_variables(spank, &answer.variables)
        messages = answer.messages
        must_fail = answer.verdict == VERDICT_FAIL
        must_release = answer.left > 0
    else:
        keep_line(&messages, WORKER_FAILURE, talk.failure)
        free_bytes(&answer.messages)
        must_fail = True
        must_release = talk.is_started
        has_reported_worker = True
    if continues_on_failure(argc, argv) and not talk.is_undoing:
        must_fail = False
    free_bytes(&answer.variables)


cdef void share(spank_t spank, const char *names, int argc, char **argv) noexcept nogil:
    """Narrow the lists to what `srun --qpu` inside the job names; acquire what the job lacks."""
    cdef const char *inherited = job_variable(spank, QPU_OPTION_FALLBACK)
    cdef const char *held = job_variable(spank, b"SLURM_JOB_QPU_RESOURCES")
    cdef ByteBuffer lacking
    if (held == NULL or job_variable(spank, b"SLURM_JOB_QPU_TYPES") == NULL
            or (inherited != NULL and strcmp(inherited, names) == 0)):
        return
    memset(&lacking, 0, sizeof(lacking))
    if keep_unlisted(&lacking, names, held):
        # They differ where a QPU stands there once for each name of its type.
        narrow(spank, b"QRMI_JOB_QPU_RESOURCES", b"QRMI_JOB_QPU_TYPES", names)
        narrow(spank, b"SLURM_JOB_QPU_RESOURCES", b"SLURM_JOB_QPU_TYPES", names)
        if lacking.bytes[0] != 0:
            acquire(spank, lacking.bytes, True, argc, argv)
    else:
        refuse(NO_MEMORY, argc, argv)
    free_bytes(&lacking)


cdef void log_release_failure(const char *failure) noexcept nogil:
    """Tell it the log, and the job's output too unless that already names the failing worker."""
    cdef char line[1024]
    snprintf(line, sizeof(line), RELEASE_FAILURE, failure)
    log_line(c"i" if has_reported_worker else c"e", line)


cdef bint add_slurm_conf(ByteBuffer *request) noexcept nogil:
    """Add where slurm.conf is: it limits the time of an epilog."""
    cdef const char *path = getenv(b"SLURM_CONF")
    return path == NULL or add_text(request, c"c", path)


cdef bint try_to_release(const char *verb, Conversation *talk, int argc,
                         char **argv) noexcept nogil:
    cdef Answer answer
    cdef ByteBuffer request
    cdef bint is_answered
    cdef long seconds = timeout_argument(argc, argv, b"--release-timeout=",
                                         DEFAULT_RELEASE_TIMEOUT_SECONDS)
    begin_conversation(talk, &answer, &request, &step, seconds, argc, argv)
    is_answered = ask(talk, &request,
                      write_request(&request, &step, verb, seconds, argc, argv)
                      and add_slurm_conf(&request), WHAT_IS_TOO_LONG, &answer)
    if is_answered:
        report(&answer.messages)
    free_bytes(&answer.messages)
    free_bytes(&answer.variables)
    return is_answered


cdef void release(const char *verb, int argc, char **argv) noexcept nogil:
    """Have the worker release what the journal says is held: `release` by this step, `release-job`
    by any step of its job.

    A step that is cancelled may be sent SIGKILL again while it ends, and proctrack/linuxproc counts
    a spawned worker among its tasks. Then another one goes on: to release twice does no harm.
    """
    cdef Conversation talk
    if not try_to_release(verb, &talk, argc, argv) and not (
            talk.is_killed and try_to_release(verb, &talk, argc, argv)):
        log_release_failure(talk.failure)


cdef void give_back_memory() noexcept nogil:
    """Give the system what slurmstepd does not use while the job runs.

    spank_setenv writes 256 KiB for each variable, of which the C library keeps what it got back.
    """
    malloc_trim(0)


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
    """Set QRMI's log level from srun's, unless the user, or `--env:`, chose one."""
    if not has_own_log_level(spank):
        spank_setenv(spank, b"RUST_LOG", rust_log_level(job_variable(spank, b"SRUN_DEBUG")), 1)


cdef bint is_dropped(const ByteBuffer *kept, const char *name, const char *value,
                     int remote) noexcept nogil:
    """Whether Slurm would drop what a later component of a heterogeneous job asks for.

    It would do so without a word.
    """
    if not has_first_component or remote or (
            kept.length > 0 and strcmp(value, kept.bytes) == 0):
        return False
    slurm_error(FOR_ALL_COMPONENTS, PLUGIN_LOG_NAME, name)
    return True


cdef int keep_qpus(int value, const char *names, int remote) noexcept nogil:
    if is_dropped(&qpu_option, b"qpu", names, remote):
        return -1
    return keep_option(&qpu_option, b"qpu", names, remote, problem_of_names, &messages)


cdef const char *problem_of_hold(const char *choice) noexcept nogil:
    if strcmp(choice, b"job") == 0 or strcmp(choice, b"step") == 0:
        return NULL
    return b"must be job or step"


cdef int keep_hold(int value, const char *choice, int remote) noexcept nogil:
    if is_dropped(&hold_option, b"qpu-hold", choice, remote):
        return -1
    return keep_option(&hold_option, b"qpu-hold", choice, remote, problem_of_hold, &messages)


cdef void begin_step(spank_t spank, int argc, char **argv) noexcept nogil:
    """Give a step that asks for QPUs what is its part of them; fail one whose option is bad."""
    global must_fail
    cdef const char *names
    cdef Part part
    names = find_option(spank, &qpu_option, b"qpu", QPU_OPTION_FALLBACK, problem_of_names,
                        &messages)
    if names != NULL:
        find_option(spank, &hold_option, b"qpu-hold", HOLD_OPTION_FALLBACK, problem_of_hold,
                    &messages)
    must_fail = messages.length > 0
    if names != NULL and not must_fail and read_step(spank, &step):
        slurm_debug(b"%s, %x", PLUGIN_LOG_NAME, step.step_id)
        part = part_of_step(spank)
        if part == PART_LEAVES_TO_STEPS:
            # What another job has handed on is not this one's.
            set_lists(spank, b"", b"")
        elif part == PART_ACQUIRES:
            acquire(spank, names, False, argc, argv)
        elif part == PART_SHARES:
            share(spank, names, argc, argv)
        elif part == PART_UNKNOWN:
            go_without(spank, UNKNOWN_JOB, argc, argv)
        give_back_memory()


cdef bint is_inside_job() noexcept nogil:
    """Whether the command was started from what has its job's QPUs."""
    cdef const char *job_id = getenv(b"SLURM_JOB_ID")
    cdef const char *own_job_id = getenv(OWN_JOB_ID)
    if own_job_id == NULL:
        own_job_id = getenv(b"QRMI_JOB_ID")
    return job_id != NULL and own_job_id != NULL and strcmp(own_job_id, job_id) == 0


cdef bint keep_untold(ByteBuffer *untold, const char *names) noexcept nogil:
    """Keep those QPUs of a step that are not its job's: of these, whoever submitted that was told."""
    cdef const char *told = getenv(QPU_OPTION_FALLBACK)
    cdef const char *held = b""
    cdef ByteBuffer unasked
    cdef bint is_kept
    memset(&unasked, 0, sizeof(unasked))
    if is_inside_job():
        held = getenv(b"SLURM_JOB_QPU_RESOURCES")
    if held == NULL:
        # Then the step takes what it finds.
        held = names
    if told == NULL:
        told = b""
    is_kept = keep_unlisted(&unasked, names, told) and keep_unlisted(untold, unasked.bytes, held)
    free_bytes(&unasked)
    return is_kept


cdef bint may_start_step(const char *names, bint runs_without, int argc,
                         char **argv) noexcept nogil:
    cdef ByteBuffer untold
    cdef bint may_start = True
    memset(&untold, 0, sizeof(untold))
    if keep_untold(&untold, names) and untold.bytes[0] != 0:
        # One that has QPUs of its job goes on with these.
        if name_count(untold.bytes) < name_count(names) and not needs_all(argc, argv):
            runs_without = True
        may_start = may_submit(untold.bytes, runs_without, argc, argv)
    free_bytes(&untold)
    return may_start


cdef void look_before_submission(int argc, char **argv) noexcept nogil:
    """Tell what becomes of the QPUs that are asked for; end the command if that is certainly nothing.

    Slurm ignores the result of a hook whose line says `optional`. Other commands than srun make a job
    of their own, inside a job too.
    """
    cdef bint runs_without = continues_on_failure(argc, argv)
    cdef bint may_go_on
    warn_without_shell(b"qpu")
    if strcmp(program_invocation_short_name, b"srun") == 0 and getenv(b"SLURM_JOB_ID") != NULL:
        may_go_on = may_start_step(qpu_option.bytes, runs_without, argc, argv)
    else:
        may_go_on = may_submit(qpu_option.bytes, runs_without, argc, argv)
    if not may_go_on:
        _exit(1)


cdef public int slurm_spank_init(spank_t spank, int argc, char **argv) noexcept nogil:
    log_enter(spank, b"slurm_spank_init", argc)
    note_line(&lines, argc, argv, has_configuration(argc, argv))
    if spank_remote(spank) == 1:
        warn_of_second_line(&lines)
    register_option(spank, b"qpu", b"names", b"Comma separated list of QPU resources to use.",
                    keep_qpus)
    register_option(spank, b"qpu-hold", b"job|step",
                    b"Hold QPUs for the job (default) or for each step.", keep_hold)
    return log_leave(b"slurm_spank_init")


cdef public int slurm_spank_init_post_opt(spank_t spank, int argc, char **argv) noexcept nogil:
    global has_first_component
    log_enter(spank, b"slurm_spank_init_post_opt", argc)
    if is_last_call(&lines, &argc, &argv):
        if spank_remote(spank) == 1:
            begin_step(spank, argc, argv)
        elif qpu_option.length > 0 and not has_first_component:
            look_before_submission(argc, argv)
        elif (hold_option.length > 0 and qpu_option.length == 0 and not has_first_component
                and getenv(HOLD_OPTION_FALLBACK) == NULL):
            slurm_info(HOLDS_NOTHING, PLUGIN_LOG_NAME)
        has_first_component = True
    return log_leave(b"slurm_spank_init_post_opt")


cdef public int slurm_spank_task_init(spank_t spank, int argc, char **argv) noexcept nogil:
    """Give the task its log level and tell the user what went wrong.

    A failed job ends here by leaving the forked child: a plugstack line that says `optional` makes
    Slurm ignore the hook's return value.
    """
    log_enter(spank, b"slurm_spank_task_init", argc)
    if (is_last_call(&lines, &argc, &argv) and (qpu_option.length > 0 or must_fail)
            and spank_remote(spank) == 1):
        set_rust_log(spank)
        if is_first_task(spank):
            report(&messages)
        if must_fail:
            _exit(1)
    return log_leave(b"slurm_spank_task_init")


cdef public int slurm_spank_exit(spank_t spank, int argc, char **argv) noexcept nogil:
    log_enter(spank, b"slurm_spank_exit", argc)
    if is_last_call(&lines, &argc, &argv):
        if must_release:
            release(b"release", argc, argv)
        free_bytes(&messages)
        free_bytes(&qpu_option)
        free_bytes(&hold_option)
    return log_leave(b"slurm_spank_exit")


cdef public int slurm_spank_job_epilog(spank_t spank, int argc, char **argv) noexcept nogil:
    """Release what no exit hook could: slurmstepd was killed, or crashed, or waits in the hook.

    Slurm runs it on every node of a job once all steps there have ended, in a process of its own,
    without any other hook before it. slurmctld must not be asked here. A line without the
    configuration has acquired nothing.
    """
    global has_released_job
    cdef const char *state_directory = argument_value(argc, argv, b"--state-dir=")
    log_enter(spank, b"slurm_spank_job_epilog", argc)
    if state_directory == NULL:
        state_directory = DEFAULT_STATE_DIRECTORY
    if (has_configuration(argc, argv) and not has_released_job
            and spank_get_item(spank, S_JOB_ID, &step.job_id) == ESPANK_SUCCESS
            and holds_entry_of(state_directory, step.job_id)):
        has_released_job = True
        spank_get_item(spank, S_JOB_UID, &step.uid)
        release(b"release-job", argc, argv)
    return log_leave(b"slurm_spank_job_epilog")
