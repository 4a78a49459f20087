# SPDX-License-Identifier: GPL-3.0-or-later
# The ids of a step's quantum jobs: one for each of its tasks here, which both slurmstepd and the
# task can tell without a word between them; and what slurmstepd knows of each.

from libc.stdint cimport uint32_t
from libc.stdio cimport snprintf
from libc.signal cimport SIGKILL
from libc.string cimport memcpy
from posix.wait cimport WEXITSTATUS, WIFEXITED, WIFSIGNALED

from spank_qrmi.plugin.byte_buffer cimport ByteBuffer, append_bytes
from unix cimport getrandom

cdef enum:
    SEED_BYTES = 16
    JOB_ID_BYTES = 37
    MOST_TASKS = 65536
    SHELL_SIGNAL_BASE = 128

cdef enum TaskState:
    TASK_RUNS
    TASK_ENDED
    TASK_KILLED
    TASK_CLEARED

cdef struct QuantumJobs:
    unsigned char seed[SEED_BYTES]
    ByteBuffer states  # a TaskState for each task of the step on this node


cdef inline bint draw_job_ids(QuantumJobs *jobs, uint32_t task_count) noexcept nogil:
    """Give each task of the step its id; return False if the system has no random numbers."""
    cdef char state = TASK_RUNS
    jobs.states.length = 0
    if getrandom(jobs.seed, SEED_BYTES, 0) != SEED_BYTES:
        return False
    while jobs.states.length < task_count:
        if not append_bytes(&jobs.states, &state, 1, MOST_TASKS):
            return False
    return True


cdef inline bint has_job_id(const QuantumJobs *jobs, int task) noexcept nogil:
    return task >= 0 and <size_t>task < jobs.states.length


cdef inline void write_job_id(const QuantumJobs *jobs, int task, char *text) noexcept nogil:
    """Write the id of a task's quantum job: UUID version 4 (RFC 9562), JOB_ID_BYTES with its NUL.

    The task's number on the node changes the last four bytes, so ids of one seed never collide;
    each node and each step has a seed of its own.
    """
    cdef unsigned char id[SEED_BYTES]
    cdef int i
    memcpy(id, jobs.seed, SEED_BYTES)
    for i in range(4):
        id[SEED_BYTES - 1 - i] ^= <unsigned char>(<uint32_t>task >> (8 * i))
    id[6] = <unsigned char>((id[6] & 0x0F) | 0x40)
    id[8] = <unsigned char>((id[8] & 0x3F) | 0x80)
    snprintf(text, JOB_ID_BYTES,
             b"%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
             id[0], id[1], id[2], id[3], id[4], id[5], id[6], id[7], id[8], id[9], id[10], id[11],
             id[12], id[13], id[14], id[15])


cdef inline bint has_running_task(const QuantumJobs *jobs) noexcept nogil:
    cdef size_t i
    for i in range(jobs.states.length):
        if jobs.states.bytes[i] == TASK_RUNS:
            return True
    return False


cdef inline bint must_clear(const QuantumJobs *jobs, size_t task, bint is_step_over) noexcept nogil:
    """Whether the task's quantum job may still be on the service and nobody wants it any more."""
    cdef char state = jobs.states.bytes[task]
    return (state == TASK_ENDED or state == TASK_KILLED
            or (is_step_over and state == TASK_RUNS))


cdef inline TaskState ended_state(int status) noexcept nogil:
    """Return the state of a task that ended with this wait status, itself or as a shell tells it.

    qrun ends by no signal but SIGKILL. A script that ends by another, as one that is cancelled, may
    have had a qrun, which Slurm then kills without waiting for it.
    """
    if (WIFSIGNALED(status)
            or (WIFEXITED(status) and WEXITSTATUS(status) == SHELL_SIGNAL_BASE + SIGKILL)):
        return TASK_KILLED
    return TASK_ENDED
