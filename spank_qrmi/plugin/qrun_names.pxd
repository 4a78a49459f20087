# SPDX-License-Identifier: GPL-3.0-or-later
# What spank_ibm_qrun.so and its job library both know by name.

from spank_qrmi.plugin.bare_text cimport text_after

cdef extern from *:
    """
    #define PLUGIN_LOG_NAME "spank_ibm_qrun"
    #define OPTION_FALLBACK "SLURM_SPANK__SLURM_SPANK_OPTION_spank_ibm_qrun_"
    #define BACKEND_FALLBACK OPTION_FALLBACK "q_backend"
    #define PRIMITIVE_FALLBACK OPTION_FALLBACK "q_primitive"
    """
    const char *BACKEND_FALLBACK
    const char *OPTION_FALLBACK
    const char *PRIMITIVE_FALLBACK


cdef inline bint is_for_every_job(int argc, char **argv) noexcept nogil:
    cdef const char *rest
    cdef int i
    for i in range(argc):
        rest = text_after(argv[i], b"--always")
        if rest != NULL and rest[0] == 0:
            return True
    return False
