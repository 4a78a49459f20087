# SPDX-License-Identifier: GPL-3.0-or-later
# One of a plugin's options: registered, its value checked, kept, and found where Slurm hides it.

from libc.stdio cimport snprintf
from libc.string cimport strlen

from spank cimport (
    ESPANK_SUCCESS, slurm_debug, slurm_error, spank_opt_cb_f, spank_option, spank_option_register,
    spank_strerror, spank_t)
from spank_qrmi.plugin.byte_buffer cimport ByteBuffer, append_text
from spank_qrmi.plugin.job cimport job_variable
from spank_qrmi.plugin.log cimport PLUGIN_LOG_NAME, keep_line
from spank_qrmi.plugin.printable cimport printable_bytes

ctypedef const char *(*problem_f)(const char *value) noexcept nogil


cdef inline void register_option(spank_t spank, const char *name, const char *value_name,
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


cdef inline const char *problem_of_text(const char *text) noexcept nogil:
    cdef size_t length = strlen(text)
    if printable_bytes(text, length) < length:
        return b"holds a control character or bytes that are not UTF-8"
    return NULL


cdef inline bint replace_text(ByteBuffer *kept, const char *value) noexcept nogil:
    kept.length = 0
    return append_text(kept, value, strlen(value), strlen(value) + 1)


cdef inline void keep_problem(ByteBuffer *problems, const char *name,
                              const char *problem) noexcept nogil:
    cdef char line[256]
    snprintf(line, sizeof(line), b"--%s %s", name, problem)
    keep_line(problems, b"%s", line)


cdef inline int keep_option(ByteBuffer *kept, const char *name, const char *value, bint is_remote,
                            problem_f problem_of, ByteBuffer *problems) noexcept nogil:
    """Keep the last value given; refuse at submission what can never work.

    On the node Slurm would log a refused value as it stands, and start the job without the option:
    there the problem is kept, for which the step must fail.
    """
    cdef const char *problem = problem_of(value)
    if problem == NULL and not replace_text(kept, value):
        problem = b"cannot be kept: no memory"
    if problem != NULL and is_remote:
        keep_problem(problems, name, problem)
        return 0
    if problem != NULL:
        slurm_error(b"%s: --%s %s", PLUGIN_LOG_NAME, name, problem)
        return -1
    slurm_debug(b"%s: --%s=[%s]", PLUGIN_LOG_NAME, name, value)
    return 0


cdef inline const char *find_option(spank_t spank, ByteBuffer *kept, const char *name,
                                    const char *variable, problem_f problem_of,
                                    ByteBuffer *problems) noexcept nogil:
    """Keep the option's value and return it, NULL for a job that was not given one of use.

    Up to Slurm 23.11 `sbatch --export` with NONE or a list hides the option from the batch step;
    `variable`, the job control variable of the same option, is always there.
    """
    cdef const char *value
    if kept.length == 0 and problems.length == 0:
        value = job_variable(spank, variable)
        if value != NULL and value[0] != 0:
            keep_option(kept, name, value, True, problem_of, problems)
    return kept.bytes if kept.length > 0 else NULL
