# SPDX-License-Identifier: GPL-3.0-or-later
# What spank_qrmi.so and its job library both know by name.

cdef extern from *:
    """
    #define PLUGIN_LOG_NAME "spank_qrmi_c"
    #define QPU_OPTION_FALLBACK "SLURM_SPANK__SLURM_SPANK_OPTION_spank_qrmi_qpu"
    """
    const char *QPU_OPTION_FALLBACK
