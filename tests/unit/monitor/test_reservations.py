# SPDX-License-Identifier: GPL-3.0-or-later
"""Reservations are read, made, changed and deleted; those of others are not touched."""

from datetime import datetime, timedelta, timezone

import pytest

from spank_qrmi.errors import SlurmError
from spank_qrmi.monitor.licenses import License
from spank_qrmi.monitor.reservations import Reservations
from spank_qrmi.trust import slurm_commands
from spank_qrmi.trust.slurm_commands import SlurmCommands, SlurmTimeoutError
from tests.unit.fake_scontrol import FakeScontrol


@pytest.fixture
def reservations(commands: SlurmCommands, scontrol: FakeScontrol) -> Reservations:
    """Those of a slurmctld that has four licences of a QPU."""
    scontrol.add("qpu_a", 4)
    return Reservations(commands)


def test_licences_are_read_with_what_is_withheld(
    reservations: Reservations, scontrol: FakeScontrol
) -> None:
    scontrol.remove("qpu_a")
    assert (reservations.read(), len(scontrol.calls())) == ({}, 2)
    scontrol.add("qpu_a", 4, 1)
    scontrol.add("matlab", 9)
    scontrol.reserve("spank_qrmi_qpu_a", "qpu_a", 2)
    # Others keep what they have reserved.
    scontrol.reserve("maintenance", "qpu_a", 1)
    assert reservations.read() == {
        "qpu_a": License(4, 1, withheld=2, most_withheld=3),
        "matlab": License(9, 0, withheld=0, most_withheld=9),
    }
    assert scontrol.calls() == [
        "scontrol --oneliner show licenses",
        "scontrol --oneliner show reservations",
    ]


def test_reservation_is_made_changed_and_deleted(
    reservations: Reservations, scontrol: FakeScontrol
) -> None:
    for count in (4, 1, 0, 0):
        reservations.read()
        reservations.withhold("qpu_a", count)
        expected = {"spank_qrmi_qpu_a": f"qpu_a:{count}"} if count else {}
        assert scontrol.reservations() == expected
    assert [call for call in scontrol.calls() if "show" not in call] == [
        "scontrol create reservation reservationname=spank_qrmi_qpu_a licenses=qpu_a:4 "
        "flags=LICENSE_ONLY user=root starttime=now duration=infinite",
        "scontrol update reservation=spank_qrmi_qpu_a licenses=qpu_a:1 endtime=now+365days",
        "scontrol delete reservation=spank_qrmi_qpu_a",
    ]


def test_reservation_of_others_is_left_alone(
    reservations: Reservations, scontrol: FakeScontrol
) -> None:
    for each in ("qpu_b", "matlab"):
        scontrol.add(each, 9)
    for name, licence, rest in (
        ("maintenance", "qpu_a", "NodeCnt=0"),
        ("spank_qrmi_matlab", "matlab", "NodeCnt=0"),
        ("spank_qrmi_qpu_a", "qpu_b", "NodeCnt=0"),
        ("spank_qrmi_qpu_a", "qpu_a:1,qpu_b", "NodeCnt=0"),
        ("spank_qrmi_qpu_a", "qpu_a", "NodeCnt=3"),
    ):
        scontrol.reserve(name, licence, 3, rest)
        before = scontrol.reservations()
        assert all(each.withheld == 0 for each in reservations.read().values()), licence
        assert reservations.release_all() == [], licence
        assert scontrol.reservations() == before, licence
    with pytest.raises(SlurmError, match="Duplicate reservation name"):
        reservations.withhold("qpu_a", 3)
    assert scontrol.reservations() == before


def test_reservation_is_prolonged_before_it_ends(
    reservations: Reservations, scontrol: FakeScontrol
) -> None:
    now = datetime.now(timezone.utc)
    late, soon = (f"{now + timedelta(days):%Y-%m-%dT%H:%M:%S}" for days in (300, 20))
    for end, is_due in {late: False, soon: True, "Unknown": False}.items():
        scontrol.reserve("spank_qrmi_qpu_a", "qpu_a", 2, f"EndTime={end} NodeCnt=0")
        assert reservations.read()["qpu_a"].is_due == is_due, end
    # One of nothing is due too.
    scontrol.reserve("spank_qrmi_qpu_a", "qpu_a", 0)
    assert reservations.read()["qpu_a"] == License(4, 0, 0, 4, is_due=True)


def test_all_are_given_back_beside_one_that_fails_but_not_after_one_that_hangs(
    reservations: Reservations, scontrol: FakeScontrol, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("qpu_a", "qpu_b"):
        scontrol.add(name, 4)
        scontrol.reserve(f"spank_qrmi_{name}", name, 2)
    with monkeypatch.context() as patches:
        patches.setattr(slurm_commands, "COMMAND_SECONDS", 1.0)
        scontrol.order("delete reservation=spank_qrmi_qpu_a", "hang")
        with pytest.raises(SlurmTimeoutError):
            reservations.release_all()
    assert len(scontrol.reservations()) == 2
    scontrol.order("delete reservation=spank_qrmi_qpu_a", "Access denied")
    with pytest.raises(SlurmError, match="Access denied"):
        reservations.release_all()
    assert scontrol.reservations() == {"spank_qrmi_qpu_a": "qpu_a:2"}
    scontrol.clear_orders()
    assert reservations.release_all() == ["spank_qrmi_qpu_a"]


def test_what_slurmctld_prints_is_read_tolerantly(
    reservations: Reservations, scontrol: FakeScontrol
) -> None:
    """A licence without a count is one, and others may have reserved more than there are."""
    licences = "LicenseName=qpu_a Total=4 Used=x New=1\n\nnonsense\n Total=2\nLicenseName=qpu_b"
    scontrol.order("show licenses", f"print {licences} Total=1\n")
    scontrol.order("show reservations", "print ReservationName=r Licenses=qpu_a,qpu_b:2\n\nA=\n")
    assert reservations.read() == {"qpu_a": License(4, 0, 0, 3), "qpu_b": License(1, 0, 0, 0)}
