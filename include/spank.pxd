# SPDX-License-Identifier: GPL-3.0-or-later
# slurm/spank.h: the part the plugins use, checked against Slurm 22.05.8 to 26.05.5.

from libc.stdint cimport uint32_t

cdef extern from "slurm/spank.h" nogil:
    ctypedef struct spank_handle:
        pass
    ctypedef spank_handle *spank_t

    ctypedef int spank_err_t
    ctypedef enum spank_item_t:
        S_JOB_UID
        S_JOB_GID
        S_JOB_SUPPLEMENTARY_GIDS
        S_JOB_ID
        S_JOB_STEPID
        S_JOB_NODEID
        S_JOB_LOCAL_TASK_COUNT
        S_JOB_ARGV
        S_JOB_ENV
        S_TASK_ID
        S_TASK_EXIT_STATUS
        S_SLURM_RESTART_COUNT

    ctypedef int (*spank_opt_cb_f)(int val, const char *optarg, int remote) noexcept nogil

    cdef struct spank_option:
        char *name
        char *arginfo
        char *usage
        int has_arg
        int val
        spank_opt_cb_f cb

    cdef enum:
        ESPANK_SUCCESS

    int spank_remote(spank_t spank)
    const char *spank_strerror(spank_err_t error)
    spank_err_t spank_option_register(spank_t spank, spank_option *option)
    spank_err_t spank_get_item(spank_t spank, spank_item_t item, ...)
    spank_err_t spank_setenv(spank_t spank, const char *name, const char *value, int overwrite)

    void slurm_error(const char *format, ...)
    void slurm_info(const char *format, ...)
    void slurm_debug(const char *format, ...)
