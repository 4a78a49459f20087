# SPDX-License-Identifier: GPL-3.0-or-later
# cython: language_level=3, cdivision=True
"""spank_qrmi.so as every job of the node loads it: the option, the log lines, and two questions: does
the job ask for a QPU, and does it hold one when it is over? All else is in spank_qrmi_job.so.

Nothing here may touch Python: the linker drops Cython's module code, so the library has no
reference to libpython, and nothing set up at import time exists. Globals start as zero bytes.
Hooks return 0 whatever happens: a failing hook would drain the node instead of failing the job.
"""

from libc.stdint cimport uint32_t
from posix.unistd cimport getpid, getuid

from spank cimport (
    ESPANK_SUCCESS, S_JOB_ID, slurm_debug, slurm_error, spank_get_item, spank_option,
    spank_option_register, spank_remote, spank_strerror, spank_t)
from spank_qrmi.plugin.arguments cimport argument_value
from spank_qrmi.plugin.job cimport job_variable
from spank_qrmi.plugin.job_library cimport (
    PLUGIN_LOG_NAME, JobLibrary, end_task, function_of, pass_on, unload)
from spank_qrmi.plugin.journal cimport holds_entry_of
from spank_qrmi.plugin.qrmi_names cimport QPU_OPTION_FALLBACK

cdef extern from *:
    """
    #include <slurm/spank.h>
    SPANK_PLUGIN(spank_qrmi, 1)
    #define JOB_LIBRARY "spank_qrmi_job.so"
    #define JOB_LIBRARY_PATH "$ORIGIN/" JOB_LIBRARY
    #define DEFAULT_STATE_DIRECTORY "/var/lib/spank_qrmi"
    """
    const char *DEFAULT_STATE_DIRECTORY

ctypedef int (*keep_qpus_f)(const char *names, bint is_later_component) noexcept nogil

cdef JobLibrary job_library
cdef bint is_wanted
cdef bint has_first_component


cdef void log_enter(spank_t spank, const char *hook, int argc) noexcept nogil:
    slurm_debug(b"%s(%d, %d): -> %s argc=%d remote=%d", PLUGIN_LOG_NAME, getpid(), <int>getuid(),
                hook, argc, spank_remote(spank))


cdef int log_leave(const char *hook) noexcept nogil:
    slurm_debug(b"%s(%d,%d): <- %s rc=0", PLUGIN_LOG_NAME, getpid(), <int>getuid(), hook)
    return 0


cdef int keep_qpus(int value, const char *names, int remote) noexcept nogil:
    global is_wanted
    cdef keep_qpus_f keep = <keep_qpus_f>function_of(&job_library, b"job_library_keep_qpus")
    is_wanted = True
    return -1 if keep == NULL else keep(names, has_first_component and not remote)


cdef public int slurm_spank_init(spank_t spank, int argc, char **argv) noexcept nogil:
    cdef spank_option option
    cdef int error
    log_enter(spank, b"slurm_spank_init", argc)
    option.name = <char *>b"qpu"
    option.arginfo = <char *>b"names"
    option.usage = <char *>b"Comma separated list of QPU resources to use."
    option.has_arg = 1
    option.val = 0
    option.cb = keep_qpus
    error = spank_option_register(spank, &option)
    if error != ESPANK_SUCCESS:
        slurm_error(b"%s: cannot register --qpu: %s", PLUGIN_LOG_NAME, spank_strerror(error))
    return log_leave(b"slurm_spank_init")


cdef public int slurm_spank_init_post_opt(spank_t spank, int argc, char **argv) noexcept nogil:
    global has_first_component, is_wanted
    log_enter(spank, b"slurm_spank_init_post_opt", argc)
    if spank_remote(spank) == 1:
        is_wanted = is_wanted or job_variable(spank, QPU_OPTION_FALLBACK) != NULL
        if is_wanted:
            pass_on(&job_library, b"job_library_init_post_opt", spank, argc, argv)
    else:
        has_first_component = True
    return log_leave(b"slurm_spank_init_post_opt")


cdef public int slurm_spank_task_init(spank_t spank, int argc, char **argv) noexcept nogil:
    log_enter(spank, b"slurm_spank_task_init", argc)
    if is_wanted and spank_remote(spank) == 1:
        if job_library.is_broken:
            end_task(b"--qpu")
        pass_on(&job_library, b"job_library_task_init", spank, argc, argv)
    return log_leave(b"slurm_spank_task_init")


cdef public int slurm_spank_exit(spank_t spank, int argc, char **argv) noexcept nogil:
    log_enter(spank, b"slurm_spank_exit", argc)
    if job_library.handle != NULL:
        pass_on(&job_library, b"job_library_exit", spank, argc, argv)
        unload(&job_library)
    return log_leave(b"slurm_spank_exit")


cdef public int slurm_spank_job_epilog(spank_t spank, int argc, char **argv) noexcept nogil:
    """Slurm runs it on every node of a job once all steps there have ended, in a process of its own,
    without any other hook before it."""
    cdef const char *state_directory = argument_value(argc, argv, b"--state-dir=")
    cdef uint32_t job_id = 0
    log_enter(spank, b"slurm_spank_job_epilog", argc)
    if state_directory == NULL:
        state_directory = DEFAULT_STATE_DIRECTORY
    if (spank_get_item(spank, S_JOB_ID, &job_id) == ESPANK_SUCCESS
            and holds_entry_of(state_directory, job_id)):
        pass_on(&job_library, b"job_library_job_epilog", spank, argc, argv)
    return log_leave(b"slurm_spank_job_epilog")
