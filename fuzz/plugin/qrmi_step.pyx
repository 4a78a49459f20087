# SPDX-License-Identifier: GPL-3.0-or-later
# cython: language_level=3, cdivision=True
"""All of spank_qrmi.so, and how to begin anew: Slurm has a process for a step."""

include "spank_qrmi/plugin/spank_qrmi.pyx"
include "fuzz/plugin/claims.pxi"


cdef public void forget_step() noexcept nogil:
    global has_first_component, has_released_job, has_reported_worker, must_fail, must_release
    memset(&step, 0, sizeof(step))
    memset(&lines, 0, sizeof(lines))
    has_first_component = has_released_job = has_reported_worker = must_fail = must_release = False
