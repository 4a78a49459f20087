# SPDX-License-Identifier: GPL-3.0-or-later
# By what a plugin knows that the job library beside it was built with it.

cdef extern from *:
    """
    #include <slurm/slurm_version.h>
    /* Count it up when the functions change by which a plugin calls its library. */
    #define JOB_LIBRARY_INTERFACE 1ULL
    #define JOB_LIBRARY_BUILD (JOB_LIBRARY_INTERFACE << 32 | SLURM_VERSION_NUMBER)
    """
    unsigned long long JOB_LIBRARY_BUILD
