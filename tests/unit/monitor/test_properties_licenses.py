# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever scontrol prints, the monitor reads it, and takes nothing of others for its own."""

from unittest.mock import Mock

from hypothesis import given
from hypothesis import strategies as st

from spank_qrmi.monitor.dynamic_licenses import DynamicLicenses
from spank_qrmi.monitor.licenses import License, WayToWithhold
from spank_qrmi.monitor.reservations import Reservations

WORDS = st.sampled_from(
    [
        *("LicenseName=qpu_a", "LicenseName=qpu_b@s", "Total=3", "Used=1", "LastDeficit=2"),
        *("ReservationName=spank_qrmi_qpu_a", "ReservationName=of_others", "NodeCnt=0"),
        *("Licenses=qpu_a:1", "Licenses=qpu_a:x,", "Licenses=(null)", "Licenses=qpu_a,qpu_b:9"),
        *("EndTime=2026-11-30T02:28:36", "EndTime=0000-99-99T99:99:99", "Total=-1", "="),
    ]
)
LINES = st.lists(WORDS | st.text(max_size=20), max_size=12).map(" ".join)
OUTPUTS = st.lists(LINES, max_size=5).map("\n".join)


def commands_that_print(licenses: str, reservations: str) -> Mock:
    """Return commands that print this when they are asked to show something."""
    outputs = {"licenses": licenses, "reservations": reservations, "--version": "slurm 24.11.5"}
    return Mock(run=Mock(side_effect=lambda _, *words: outputs.get(words[-1], "")))


def read_all(way: WayToWithhold) -> dict[str, License]:
    """Return what is read, all of it of numbers that are possible."""
    found = way.read()
    for each in found.values():
        assert min(each.total, each.used, each.withheld, each.most_withheld) >= 0
    return found


@given(OUTPUTS, OUTPUTS)
def test_reservations(licenses: str, reservations: str) -> None:
    commands = commands_that_print(licenses, reservations)
    way = Reservations(commands)
    for name, found in read_all(way).items():
        assert not found.withheld or f"spank_qrmi_{name}" in reservations
    commands.run.reset_mock()
    way.release_all()
    [_, *changes] = [call.args for call in commands.run.call_args_list]
    assert all(
        change[1] == "delete" and change[2].startswith("reservation=spank_qrmi_qpu_")
        for change in changes
    )


@given(OUTPUTS)
def test_licences_of_slurmdbd(licenses: str) -> None:
    way = DynamicLicenses(commands_that_print(licenses, ""))
    assert all(name.startswith("qpu_") for name in read_all(way))
    way.release_all()
