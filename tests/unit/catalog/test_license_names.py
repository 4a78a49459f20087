# SPDX-License-Identifier: GPL-3.0-or-later
"""One licence for each QPU, by a name that slurm.conf can hold."""

from spank_qrmi.catalog.license_names import license_name_of


def test_license_of_a_qpu() -> None:
    expected = {
        "ibm_torino": "qpu_ibm_torino",
        "FRESNEL-1.2": "qpu_FRESNEL-1.2",
        "a:b": "qpu_a_b",
        "grün@x|y;z": "qpu_gr_n_x_y_z",
    }
    assert {name: license_name_of(name) for name in expected} == expected
