# SPDX-License-Identifier: GPL-3.0-or-later
# cython: language_level=3, cdivision=True
"""spank_ibm_qrun.so as every job of the node loads it: the options, the log lines, and a question: does
it concern the job? All else is in spank_ibm_qrun_job.so.

The rules of spank_qrmi.pyx hold here too: no Python, globals start as zero bytes, hooks return 0.
"""

from spank cimport (
    ESPANK_SUCCESS, slurm_debug, slurm_error, spank_opt_cb_f, spank_option, spank_option_register,
    spank_remote, spank_strerror, spank_t)
from spank_qrmi.plugin.job cimport has_variable
from spank_qrmi.plugin.job_library cimport (
    PLUGIN_LOG_NAME, JobLibrary, end_task, function_of, pass_on, unload)
from spank_qrmi.plugin.qrun_names cimport OPTION_FALLBACK, is_for_every_job

cdef extern from *:
    """
    #include <slurm/spank.h>
    SPANK_PLUGIN(spank_ibm_qrun, 1)
    #define JOB_LIBRARY "spank_ibm_qrun_job.so"
    #define JOB_LIBRARY_PATH "$ORIGIN/" JOB_LIBRARY
    """

ctypedef int (*keep_f)(const char *value) noexcept nogil

cdef JobLibrary job_library
cdef bint is_wanted
cdef bint is_for_this_job


cdef void log_enter(spank_t spank, const char *hook, int argc) noexcept nogil:
    slurm_debug(b"%s: -> %s argc=%d remote=%d", PLUGIN_LOG_NAME, hook, argc, spank_remote(spank))


cdef int log_leave(const char *hook) noexcept nogil:
    slurm_debug(b"%s: <- %s rc=0", PLUGIN_LOG_NAME, hook)
    return 0


cdef int keep(const char *function, const char *value) noexcept nogil:
    global is_wanted
    cdef keep_f keep_value = <keep_f>function_of(&job_library, function)
    is_wanted = True
    return -1 if keep_value == NULL else keep_value(value)


cdef int keep_backend(int value, const char *name, int remote) noexcept nogil:
    return keep(b"job_library_keep_backend", name)


cdef int keep_primitive(int value, const char *type, int remote) noexcept nogil:
    return keep(b"job_library_keep_primitive", type)


cdef void register_option(spank_t spank, const char *name, const char *value_name,
                          const char *usage, spank_opt_cb_f callback) noexcept nogil:
    cdef spank_option option
    cdef int error
    option.name = <char *>name
    option.arginfo = <char *>value_name
    option.usage = <char *>usage
    option.has_arg = 1
    option.val = 0
    option.cb = callback
    error = spank_option_register(spank, &option)
    if error != ESPANK_SUCCESS:
        slurm_error(b"%s: cannot register --%s: %s", PLUGIN_LOG_NAME, name, spank_strerror(error))


cdef public int slurm_spank_init(spank_t spank, int argc, char **argv) noexcept nogil:
    log_enter(spank, b"slurm_spank_init", argc)
    register_option(spank, b"q-backend", b"name", b"Name of Qiskit backend.", keep_backend)
    register_option(spank, b"q-primitive", b"type",
                    b"Qiskit primitive type(sampler or estimator).", keep_primitive)
    return log_leave(b"slurm_spank_init")


cdef public int slurm_spank_init_post_opt(spank_t spank, int argc, char **argv) noexcept nogil:
    global is_for_this_job, is_wanted
    log_enter(spank, b"slurm_spank_init_post_opt", argc)
    if spank_remote(spank) == 1:
        is_wanted = is_wanted or has_variable(spank, OPTION_FALLBACK)
        is_for_this_job = is_wanted or is_for_every_job(argc, argv)
        if is_for_this_job:
            pass_on(&job_library, b"job_library_init_post_opt", spank, argc, argv)
    return log_leave(b"slurm_spank_init_post_opt")


cdef public int slurm_spank_task_init(spank_t spank, int argc, char **argv) noexcept nogil:
    log_enter(spank, b"slurm_spank_task_init", argc)
    if is_for_this_job:
        if is_wanted and job_library.is_broken:
            end_task(b"--q-backend")
        pass_on(&job_library, b"job_library_task_init", spank, argc, argv)
    return log_leave(b"slurm_spank_task_init")


cdef public int slurm_spank_task_exit(spank_t spank, int argc, char **argv) noexcept nogil:
    log_enter(spank, b"slurm_spank_task_exit", argc)
    if is_for_this_job:
        pass_on(&job_library, b"job_library_task_exit", spank, argc, argv)
    return log_leave(b"slurm_spank_task_exit")


cdef public int slurm_spank_exit(spank_t spank, int argc, char **argv) noexcept nogil:
    log_enter(spank, b"slurm_spank_exit", argc)
    if job_library.handle != NULL:
        pass_on(&job_library, b"job_library_exit", spank, argc, argv)
        unload(&job_library)
    return log_leave(b"slurm_spank_exit")
