# SPDX-License-Identifier: GPL-3.0-or-later
"""Which QPU a wrong name may be meant for."""

from spank_qrmi.catalog.nearest import nearest_name

KNOWN = ("ibm_torino", "ibm_torina", "FRESNEL", "qa")


def test_nearest_name() -> None:
    nearest: dict[str, str | None]
    nearest = {"ibm_torinp": "ibm_torino", "ibm_torna": "ibm_torina", "ibm_tori": "ibm_torino"}
    nearest |= {"iibm_torinoo": "ibm_torino", "fresnel": "FRESNEL", "Fresnle": "FRESNEL"}
    nearest |= {"qb": "qa", "QA": "qa"}
    nearest |= dict.fromkeys(("ibm_tor", "xb", "q", "ibm_sherbrooke"))
    assert {name: nearest_name(name, KNOWN) for name in nearest} == nearest
