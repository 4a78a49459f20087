# SPDX-License-Identifier: GPL-3.0-or-later
"""Which QPU a wrong name may be meant for."""

import pytest

from spank_qrmi.catalog.nearest import nearest_name

KNOWN = ("ibm_torino", "ibm_torina", "FRESNEL", "qa")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ibm_torinp", "ibm_torino"),
        ("ibm_torna", "ibm_torina"),
        ("ibm_tori", "ibm_torino"),
        ("ibm_tor", None),
        ("iibm_torinoo", "ibm_torino"),
        ("fresnel", "FRESNEL"),
        ("Fresnle", "FRESNEL"),
        ("qb", "qa"),
        ("QA", "qa"),
        ("xb", None),
        ("q", None),
        ("ibm_sherbrooke", None),
    ],
)
def test_nearest_name(name: str, expected: str | None) -> None:
    assert nearest_name(name, KNOWN) == expected
