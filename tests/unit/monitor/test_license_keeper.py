# SPDX-License-Identifier: GPL-3.0-or-later
"""Licences are kept in step with QPUs; what cannot be is told once, and tried again."""

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

import pytest

from spank_qrmi.monitor.license_keeper import Kept, LicenseCount, LicenseKeeper
from spank_qrmi.monitor.reservations import Reservations
from spank_qrmi.monitor.watched import WatchedQpu
from spank_qrmi.status import QpuState, QpuStatus
from spank_qrmi.trust import slurm_commands
from spank_qrmi.trust.slurm_commands import SlurmCommands
from tests.unit.fake_scontrol import FakeScontrol

NOW, GRACE = 1000, 90
ONLINE, PAUSED, UNKNOWN = QpuState.ONLINE, QpuState.PAUSED, QpuState.UNKNOWN


@pytest.fixture
def keeper(commands: SlurmCommands, lines: list[str]) -> LicenseKeeper:
    return LicenseKeeper(Reservations(commands), GRACE)


def qpu(name: str, state: QpuState, since: int = NOW, **changes: object) -> WatchedQpu:
    status = QpuStatus(state, f"{state.value} now")
    known = None if state is UNKNOWN else status
    values = {"known": known, "known_at": NOW if known else None, **changes}
    return WatchedQpu(name, ("t",), status, since, **values)  # type: ignore[arg-type]


def by_name(*qpus: WatchedQpu) -> Mapping[str, WatchedQpu]:
    return {each.name: each for each in qpus}


def changes(scontrol: FakeScontrol) -> list[str]:
    return [call.split()[1] for call in scontrol.calls() if "show" not in call]


def test_only_what_changed_is_told_to_slurmctld(
    keeper: LicenseKeeper, scontrol: FakeScontrol, lines: list[str]
) -> None:
    scontrol.add("qpu_a", 2)
    scontrol.add("qpu_b", 1, 1)
    kept = keeper.keep(by_name(qpu("a", ONLINE), qpu("b", PAUSED)), NOW)
    assert kept.counts == {"a": LicenseCount(2, 0), "b": LicenseCount(1, 1)}
    assert kept.is_in_step
    assert changes(scontrol) == ["create"]
    assert lines == ["b: 1 of 1 licences qpu_b withheld, 0 before: paused: paused now"]

    keeper.keep(by_name(qpu("a", ONLINE), qpu("b", PAUSED)), NOW)
    assert changes(scontrol) == []
    keeper.keep(by_name(qpu("a", PAUSED), qpu("b", ONLINE)), NOW)
    assert changes(scontrol) == ["create", "delete"]
    assert scontrol.reservations() == {"spank_qrmi_qpu_a": "qpu_a:2"}
    assert len(lines) == 3


def test_what_was_taken_away_by_hand_comes_back(
    keeper: LicenseKeeper, scontrol: FakeScontrol
) -> None:
    scontrol.add("qpu_a", 2)
    for _ in range(2):
        keeper.keep(by_name(qpu("a", PAUSED)), NOW)
        assert scontrol.reservations() == {"spank_qrmi_qpu_a": "qpu_a:2"}
        keeper._way.release_all()


def test_total_that_changes_in_slurm_conf(keeper: LicenseKeeper, scontrol: FakeScontrol) -> None:
    for total in (2, 5, 1):
        scontrol.add("qpu_a", total)
        keeper.keep(by_name(qpu("a", PAUSED)), NOW)
        assert scontrol.reservations() == {"spank_qrmi_qpu_a": f"qpu_a:{total}"}


def test_qpu_that_was_never_known_is_left_as_it_is_for_the_grace(
    keeper: LicenseKeeper, scontrol: FakeScontrol
) -> None:
    for name in ("a", "b"):
        scontrol.add(f"qpu_{name}", 2)
    scontrol.reserve("spank_qrmi_qpu_b", "qpu_b", 1)
    qpus = by_name(qpu("a", UNKNOWN), qpu("b", UNKNOWN))
    assert keeper.keep(qpus, NOW + GRACE - 1).counts["b"] == LicenseCount(2, 1)
    assert changes(scontrol) == []
    keeper.keep(qpus, NOW + GRACE)
    assert scontrol.reservations() == {"spank_qrmi_qpu_a": "qpu_a:2", "spank_qrmi_qpu_b": "qpu_b:2"}


def test_qpu_whose_users_bring_credentials_is_open(
    keeper: LicenseKeeper, scontrol: FakeScontrol
) -> None:
    scontrol.add("qpu_a", 2)
    scontrol.reserve("spank_qrmi_qpu_a", "qpu_a", 2)
    kept = keeper.keep(by_name(qpu("a", UNKNOWN, since=0, is_watched=False)), NOW)
    assert kept.counts == {"a": LicenseCount(2, 0)}
    assert scontrol.reservations() == {}


def test_slots_of_others_are_remembered(keeper: LicenseKeeper, scontrol: FakeScontrol) -> None:
    scontrol.add("qpu_a", 3)
    status = QpuStatus(ONLINE, free_slots=1, total_slots=3)
    qpus = by_name(WatchedQpu("a", ("t",), status, NOW, NOW, status, NOW))
    for used in (0, 1):
        scontrol.add("qpu_a", 3, used)
        kept = keeper.keep(qpus, NOW)
        assert scontrol.reservations() == {"spank_qrmi_qpu_a": "qpu_a:2"}
        qpus = kept.qpus
        assert qpus["a"].slots_of_others == 2


def test_licences_that_are_missing_are_told_once(
    keeper: LicenseKeeper, scontrol: FakeScontrol, lines: list[str]
) -> None:
    scontrol.add("qpu_q12", 1)
    qpus = by_name(*(qpu(f"q{number:02}", PAUSED) for number in range(13)))
    for _ in range(2):
        kept = keeper.keep(qpus, NOW)
        assert kept.counts == {"q12": LicenseCount(1, 1)}
    told = [line for line in lines if "no licences" in line]
    assert told == [
        "slurmctld has no licences "
        + ", ".join(f"qpu_q{number:02}" for number in range(10))
        + " and 2 more: nothing makes jobs wait for these QPUs; "
        "spank-qrmi monitor --print-licenses prints what to add"
    ]
    scontrol.remove("qpu_q12")
    keeper.keep(qpus, NOW)
    assert "and 3 more" in lines[-1]


def test_slurmctld_that_is_gone_is_told_once_and_tried_again(
    keeper: LicenseKeeper, scontrol: FakeScontrol, lines: list[str]
) -> None:
    scontrol.add("qpu_a", 1)
    scontrol.order("show", "Unable to contact slurm controller (connect failure)")
    qpus = by_name(qpu("a", PAUSED))
    for _ in range(3):
        assert keeper.keep(qpus, NOW) == Kept(dict(qpus), is_in_step=False)
    assert lines == [
        "licences stay as they are: scontrol --oneliner show: Unable to contact slurm controller "
        "(connect failure)"
    ]
    assert len(scontrol.calls()) == 3
    scontrol.clear_orders()
    assert keeper.keep(qpus, NOW).is_in_step
    assert scontrol.reservations() == {"spank_qrmi_qpu_a": "qpu_a:1"}


def test_one_that_is_refused_does_not_keep_the_others(
    keeper: LicenseKeeper, scontrol: FakeScontrol, lines: list[str]
) -> None:
    for name in ("a", "b"):
        scontrol.add(f"qpu_{name}", 1)
    scontrol.order("licenses=qpu_a", "Access/permission denied")
    kept = keeper.keep(by_name(qpu("a", PAUSED), qpu("b", PAUSED)), NOW)
    assert kept.counts == {"a": LicenseCount(1, 0), "b": LicenseCount(1, 1)}
    assert not kept.is_in_step
    assert lines[0] == (
        "a: licences stay as they are: scontrol create reservation: Access/permission denied"
    )


def test_slurmctld_that_hangs_is_asked_no_more_in_this_round(
    keeper: LicenseKeeper, scontrol: FakeScontrol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_commands, "COMMAND_SECONDS", 1.0)
    for name in ("a", "b"):
        scontrol.add(f"qpu_{name}", 1)
    scontrol.order("create", "hang")
    kept = keeper.keep(by_name(qpu("a", PAUSED), qpu("b", PAUSED)), NOW)
    assert kept.counts == {"a": LicenseCount(1, 0), "b": LicenseCount(1, 0)}
    assert changes(scontrol) == ["create"]


def test_reservation_of_others_limits_and_is_told(
    keeper: LicenseKeeper, scontrol: FakeScontrol, lines: list[str]
) -> None:
    scontrol.add("qpu_a", 3)
    scontrol.reserve("maintenance", "qpu_a", 2)
    for _ in range(2):
        assert keeper.keep(by_name(qpu("a", PAUSED)), NOW).counts == {"a": LicenseCount(3, 1)}
    assert scontrol.reservations() == {"maintenance": "qpu_a:2", "spank_qrmi_qpu_a": "qpu_a:1"}
    assert lines[0] == (
        "a: of 3 licences qpu_a only 1 can be withheld, 3 should be: other reservations have them"
    )
    assert len(lines) == 2


def test_names_that_stand_for_one_licence_are_told_and_left(
    keeper: LicenseKeeper, scontrol: FakeScontrol, lines: list[str]
) -> None:
    scontrol.add("qpu_a_1", 1)
    keeper.keep(by_name(qpu("a:1", PAUSED), qpu("a@1", PAUSED)), NOW)
    assert scontrol.reservations() == {}
    assert lines == [
        "a:1 and a@1 would have the same licence qpu_a_1, which stays as it is: rename all but one"
    ]


def test_what_is_withheld_of_no_qpu_is_told(
    keeper: LicenseKeeper, scontrol: FakeScontrol, lines: list[str]
) -> None:
    scontrol.add("qpu_gone", 2)
    scontrol.reserve("spank_qrmi_qpu_gone", "qpu_gone", 2)
    for _ in range(2):
        keeper.keep({}, NOW)
    assert scontrol.reservations() == {"spank_qrmi_qpu_gone": "qpu_gone:2"}
    assert lines == [
        "2 licences qpu_gone stay withheld, of a QPU that is not in the configuration: "
        "spank-qrmi monitor --release-all gives back all"
    ]


def test_reservation_is_prolonged_in_time(keeper: LicenseKeeper, scontrol: FakeScontrol) -> None:
    scontrol.add("qpu_a", 2)
    ends_at = datetime.now(timezone.utc) + timedelta(days=20)
    scontrol.reserve("spank_qrmi_qpu_a", "qpu_a", 2, f"EndTime={ends_at:%Y-%m-%dT%H:%M:%S}")
    keeper.keep(by_name(qpu("a", PAUSED)), NOW)
    keeper.keep(by_name(qpu("a", PAUSED)), NOW)
    assert changes(scontrol) == ["update"]
