# SPDX-License-Identifier: GPL-3.0-or-later
# What the plugins know of the job they run in: from SPANK, and one question to slurmctld.

from libc.stdint cimport uint32_t
from libc.string cimport strcmp, strlen, strncmp

from slurm cimport (
    JOB_RUNNING, JOB_STATE_BASE, JOB_SUSPENDED, NO_VAL, compat_load_job, job_info_msg_t,
    slurm_free_job_info_msg)
from spank cimport (
    ESPANK_SUCCESS, S_JOB_ENV, S_JOB_ID, S_JOB_NODEID, S_JOB_STEPID, S_JOB_UID,
    S_SLURM_RESTART_COUNT, S_TASK_ID, spank_get_item, spank_t)
from posix.types cimport uid_t

cdef struct Step:
    uint32_t job_id
    uint32_t step_id
    uint32_t restart_count
    uint32_t node_index
    uid_t uid

cdef enum JobState:
    JOB_RUNS
    JOB_OVER
    JOB_UNKNOWN

cdef struct JobRecord:
    bint is_known
    bint is_over
    uint32_t het_job_id


cdef inline bint read_step(spank_t spank, Step *step) noexcept nogil:
    """Fill in the step from SPANK; return False where that is not possible."""
    step.restart_count = 0
    step.node_index = 0
    spank_get_item(spank, S_SLURM_RESTART_COUNT, &step.restart_count)
    spank_get_item(spank, S_JOB_NODEID, &step.node_index)
    if step.restart_count == NO_VAL:
        step.restart_count = 0
    return (spank_get_item(spank, S_JOB_ID, &step.job_id) == ESPANK_SUCCESS
            and spank_get_item(spank, S_JOB_STEPID, &step.step_id) == ESPANK_SUCCESS
            and spank_get_item(spank, S_JOB_UID, &step.uid) == ESPANK_SUCCESS)


cdef inline int local_task(spank_t spank) noexcept nogil:
    """Return the task's number on this node, -1 where there is no task."""
    cdef int task = -1
    if spank_get_item(spank, S_TASK_ID, &task) != ESPANK_SUCCESS:
        return -1
    return task


cdef inline bint is_first_task(spank_t spank) noexcept nogil:
    return local_task(spank) <= 0


cdef inline job_info_msg_t *ask_for_job(uint32_t job_id) noexcept nogil:
    """Ask slurmctld; return what has the job's record first and is to be freed, NULL if it does
    not answer.

    Never called in user_init, where it ends slurmstepd, nor in the epilog, where it crashes it.
    """
    cdef job_info_msg_t *reply = NULL
    if compat_load_job(&reply, job_id) != 0 or reply == NULL:
        return NULL
    if reply.record_count == 0:
        slurm_free_job_info_msg(reply)
        return NULL
    return reply


cdef inline JobRecord load_job(uint32_t job_id) noexcept nogil:
    """Return what the plugins decide by; `is_known` is False if slurmctld does not answer."""
    cdef JobRecord record
    cdef job_info_msg_t *reply = ask_for_job(job_id)
    cdef uint32_t state
    record.is_known = record.is_over = False
    record.het_job_id = 0
    if reply == NULL:
        return record
    state = reply.job_array[0].job_state & JOB_STATE_BASE
    record.is_known = True
    record.is_over = state != JOB_RUNNING and state != JOB_SUSPENDED
    record.het_job_id = reply.job_array[0].het_job_id
    slurm_free_job_info_msg(reply)
    return record


cdef inline JobState job_state(uint32_t job_id) noexcept nogil:
    """Ask slurmctld whether the job was cancelled or ran out of time meanwhile."""
    cdef JobRecord record = load_job(job_id)
    if not record.is_known:
        return JOB_UNKNOWN
    return JOB_OVER if record.is_over else JOB_RUNS


cdef inline char **job_environment(spank_t spank) noexcept nogil:
    """Return Slurm's own array: valid until the next change of the environment, NULL if none."""
    cdef char **environment = NULL
    if spank_get_item(spank, S_JOB_ENV, &environment) != ESPANK_SUCCESS:
        return NULL
    return environment


cdef inline const char *job_variable(spank_t spank, const char *name) noexcept nogil:
    """Return the value in the job's environment, on loan like the array itself; NULL if unset."""
    cdef char **entry = job_environment(spank)
    cdef size_t length = strlen(name)
    while entry != NULL and entry[0] != NULL:
        if strncmp(entry[0], name, length) == 0 and entry[0][length] == c"=":
            return entry[0] + length + 1
        entry += 1
    return NULL


cdef inline bint has_own_log_level(spank_t spank) noexcept nogil:
    """Whether the user chose RUST_LOG: the default, which a step inherits, counts as not chosen."""
    cdef const char *level = job_variable(spank, b"RUST_LOG")
    return level != NULL and strcmp(level, b"info") != 0


cdef inline bint is_users(spank_t spank, const char *name) noexcept nogil:
    """Whether the user has this variable and no `--env:` changes it."""
    return strcmp(name, b"RUST_LOG") == 0 and has_own_log_level(spank)
