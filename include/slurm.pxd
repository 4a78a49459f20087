# SPDX-License-Identifier: GPL-3.0-or-later
# slurm/slurm.h: the part the plugins use; what differs between releases is behind slurm_compat.h.

from libc.stdint cimport uint16_t, uint32_t

from libc.time cimport time_t

cdef extern from "slurm_compat.h" nogil:
    ctypedef struct slurm_job_info_t:
        uint32_t job_state
        uint32_t time_limit
        uint32_t het_job_id
        time_t start_time
        char *account
        char *partition
        char *user_name
        uint32_t array_job_id
        uint32_t array_task_id
        uint32_t het_job_offset
        uint16_t restart_cnt

    ctypedef struct job_info_msg_t:
        uint32_t record_count
        slurm_job_info_t *job_array

    int compat_load_job(job_info_msg_t **answer, uint32_t job_id)
    const char *compat_job_licenses(const slurm_job_info_t *job)
    void slurm_free_job_info_msg(job_info_msg_t *answer)

    cdef enum:
        JOB_STATE_BASE
        JOB_RUNNING
        JOB_SUSPENDED
        NO_VAL

    uint32_t SLURM_BATCH_SCRIPT
    uint32_t SLURM_INTERACTIVE_STEP
    uint32_t SLURM_MAX_NORMAL_STEP_ID
