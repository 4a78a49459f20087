# SPDX-License-Identifier: GPL-3.0-or-later
# cython: language_level=3, cdivision=True
"""All of spank_ibm_qrun.so, and how to begin anew: Slurm has a process for a step."""

include "spank_qrmi/plugin/spank_ibm_qrun.pyx"
include "fuzz/plugin/claims.pxi"


cdef public void forget_step() noexcept nogil:
    global has_early_cleanup_failed, is_asked, is_concerned, must_fail, submission_mark
    memset(&step, 0, sizeof(step))
    memset(&lines, 0, sizeof(lines))
    memset(&quantum_jobs, 0, sizeof(quantum_jobs))
    has_early_cleanup_failed = is_asked = is_concerned = must_fail = False
    submission_mark = 0
