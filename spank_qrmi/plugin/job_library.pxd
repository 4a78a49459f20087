# SPDX-License-Identifier: GPL-3.0-or-later
# The library with all that a job needs which asks for something. It lies beside the plugin and is
# loaded at the first question, so that other jobs pay for neither its memory nor its symbols.

from spank cimport slurm_error, spank_t
from spank_qrmi.plugin.job_library_build cimport JOB_LIBRARY_BUILD
from unix cimport RTLD_NOW, _exit, dlclose, dlerror, dlopen, dlsym

cdef extern from *:
    # Each plugin defines them.
    const char *JOB_LIBRARY
    const char *JOB_LIBRARY_PATH
    const char *PLUGIN_LOG_NAME

cdef struct JobLibrary:
    void *handle
    bint is_broken

ctypedef unsigned long long (*build_f)() noexcept nogil
ctypedef void (*hook_f)(spank_t spank, int argc, char **argv) noexcept nogil


cdef inline const char *problem_of(void *handle) noexcept nogil:
    cdef build_f build
    if handle == NULL:
        return dlerror()
    build = <build_f>dlsym(handle, b"job_library_build")
    if build == NULL or build() != JOB_LIBRARY_BUILD:
        return b"it is of another build than the plugin; install both anew"
    return NULL


cdef inline void unload(JobLibrary *library) noexcept nogil:
    if library.handle != NULL:
        dlclose(library.handle)
        library.handle = NULL


cdef inline bint is_loaded(JobLibrary *library) noexcept nogil:
    """Load it if that was not tried yet; where it cannot be, the log has the reason."""
    cdef const char *problem
    if library.handle == NULL and not library.is_broken:
        library.handle = dlopen(JOB_LIBRARY_PATH, RTLD_NOW)
        problem = problem_of(library.handle)
        if problem != NULL:
            slurm_error(b"%s: cannot load %s, which belongs beside the plugin: %s", PLUGIN_LOG_NAME,
                        JOB_LIBRARY, problem)
            unload(library)
            library.is_broken = True
    return library.handle != NULL


cdef inline void *function_of(JobLibrary *library, const char *name) noexcept nogil:
    """Return the library's function of this name, NULL where it cannot be loaded."""
    return dlsym(library.handle, name) if is_loaded(library) else NULL


cdef inline void pass_on(JobLibrary *library, const char *name, spank_t spank, int argc,
                         char **argv) noexcept nogil:
    """Have the library do its part of a hook."""
    cdef hook_f hook = <hook_f>function_of(library, name)
    if hook != NULL:
        hook(spank, argc, argv)


cdef inline void end_task(const char *option) noexcept nogil:
    """End the forked child of a job that asks for what cannot be done here, whatever it may allow."""
    slurm_error(b"%s: %s: the plugin on this node is not whole; tell the administrator: "
                b"slurmd's log says more", PLUGIN_LOG_NAME, option)
    _exit(1)
