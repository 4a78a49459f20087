# SPDX-License-Identifier: GPL-3.0-or-later
"""Licences are kept in step with QPUs; what cannot be is told once, and tried again."""

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


class Node:
    """A keeper, the slurmctld that it tells, and what is logged."""

    def __init__(self, scontrol: FakeScontrol, lines: list[str]) -> None:
        self.scontrol = scontrol
        self.lines = lines
        self.way = Reservations(SlurmCommands(scontrol.folder))
        self._keeper = LicenseKeeper(self.way, GRACE)

    def keep(self, *qpus: WatchedQpu, now: int = NOW) -> Kept:
        return self._keeper.keep({each.name: each for each in qpus}, now)

    def changes(self) -> list[str]:
        """Return what slurmctld was told to do since the last time."""
        return [call.split()[1] for call in self.scontrol.calls() if "show" not in call]


@pytest.fixture
def node(scontrol: FakeScontrol, lines: list[str]) -> Node:
    return Node(scontrol, lines)


def qpu(name: str, state: QpuState, since: int = NOW, **changes: object) -> WatchedQpu:
    status = QpuStatus(state, f"{state.value} now")
    known = None if state is UNKNOWN else status
    values = {"known": known, "known_at": NOW if known else None, **changes}
    return WatchedQpu(name, ("t",), status, since, **values)  # type: ignore[arg-type]


A_PAUSED, B_PAUSED = qpu("a", PAUSED), qpu("b", PAUSED)


def test_only_what_changed_or_ends_is_told_to_slurmctld(node: Node) -> None:
    node.scontrol.add("qpu_a", 2)
    node.scontrol.add("qpu_b", 1, 1)
    kept = node.keep(qpu("a", ONLINE), B_PAUSED)
    assert kept.counts == {"a": LicenseCount(2, 0), "b": LicenseCount(1, 1)}
    assert kept.is_in_step
    assert node.changes() == ["create"]
    assert node.lines == ["b: 1 of 1 licences qpu_b withheld, 0 before: paused: paused now"]

    node.keep(qpu("a", ONLINE), B_PAUSED)
    assert node.changes() == []
    node.keep(A_PAUSED, qpu("b", ONLINE))
    assert node.changes() == ["create", "delete"]
    assert node.scontrol.reservations() == {"spank_qrmi_qpu_a": "qpu_a:2"}

    node.scontrol.reserve("spank_qrmi_qpu_a", "qpu_a", 2, "EndTime=2020-01-01T00:00:00")
    for _ in range(2):
        node.keep(A_PAUSED, qpu("b", ONLINE))
    assert node.changes() == ["update"]
    assert len(node.lines) == 3


def test_what_administrators_change_is_followed(node: Node) -> None:
    for total in (2, 5, 1):
        node.scontrol.add("qpu_a", total)
        node.keep(A_PAUSED)
        assert node.scontrol.reservations() == {"spank_qrmi_qpu_a": f"qpu_a:{total}"}
    node.way.release_all()
    node.keep(A_PAUSED)
    assert node.scontrol.reservations() == {"spank_qrmi_qpu_a": "qpu_a:1"}


def test_unknown_qpu_is_left_for_the_grace_and_one_of_its_users_is_open(node: Node) -> None:
    for name in ("a", "b", "users"):
        node.scontrol.add(f"qpu_{name}", 2)
    node.scontrol.reserve("spank_qrmi_qpu_b", "qpu_b", 1)
    node.scontrol.reserve("spank_qrmi_qpu_users", "qpu_users", 2)
    qpus = [qpu("a", UNKNOWN), qpu("b", UNKNOWN), qpu("users", UNKNOWN, is_watched=False)]
    for now, (a, b) in ((NOW + GRACE - 1, (0, 1)), (NOW + GRACE, (2, 2))):
        counts = {"a": LicenseCount(2, a), "b": LicenseCount(2, b), "users": LicenseCount(2, 0)}
        assert node.keep(*qpus, now=now).counts == counts
    assert node.changes() == ["delete", "create", "update"]
    assert node.scontrol.reservations() == {
        f"spank_qrmi_qpu_{name}": f"qpu_{name}:2" for name in "ab"
    }


def test_slots_of_others_are_remembered(node: Node) -> None:
    node.scontrol.add("qpu_a", 3)
    status = QpuStatus(ONLINE, free_slots=1, total_slots=3)
    found = WatchedQpu("a", ("t",), status, NOW, NOW, status, NOW)
    for used in (0, 1):
        node.scontrol.add("qpu_a", 3, used)
        found = node.keep(found).qpus["a"]
        assert node.scontrol.reservations() == {"spank_qrmi_qpu_a": "qpu_a:2"}
        assert found.slots_of_others == 2


def test_licences_that_are_missing_are_told_once(node: Node) -> None:
    node.scontrol.add("qpu_q12", 1)
    qpus = [*(qpu(f"q{number:02}", PAUSED) for number in range(13))]
    for _ in range(2):
        kept = node.keep(*qpus)
        assert kept.counts == {"q12": LicenseCount(1, 1)}
    names = ", ".join(f"qpu_q{number:02}" for number in range(10))
    assert [line for line in node.lines if "no licences" in line] == [
        f"slurmctld has no licences {names} and 2 more: nothing makes jobs wait for these QPUs; "
        "spank-qrmi monitor --print-licenses prints what to add"
    ]
    node.scontrol.remove("qpu_q12")
    node.keep(*qpus)
    assert "and 3 more" in node.lines[-1]


def test_slurmctld_that_is_gone_is_told_once_and_tried_again(node: Node) -> None:
    node.scontrol.add("qpu_a", 1)
    complaint = "Unable to contact slurm controller (connect failure)"
    node.scontrol.order("show", complaint)
    for _ in range(3):
        assert node.keep(A_PAUSED) == Kept({"a": A_PAUSED}, is_in_step=False)
    assert node.lines == [f"licences stay as they are: scontrol --oneliner show: {complaint}"]
    assert len(node.scontrol.calls()) == 3
    node.scontrol.clear_orders()
    assert node.keep(A_PAUSED).is_in_step
    assert node.scontrol.reservations() == {"spank_qrmi_qpu_a": "qpu_a:1"}


def test_refusal_keeps_no_other_qpu_and_slurmctld_that_hangs_is_asked_no_more(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_commands, "COMMAND_SECONDS", 1.0)
    for name in ("a", "b"):
        node.scontrol.add(f"qpu_{name}", 1)
    for order, withheld_of_b, changes in (
        ("hang", 0, ["create"]),
        ("Access/permission denied", 1, ["create", "create"]),
    ):
        node.scontrol.order("licenses=qpu_a", order)
        kept = node.keep(A_PAUSED, B_PAUSED)
        assert kept.counts == {"a": LicenseCount(1, 0), "b": LicenseCount(1, withheld_of_b)}
        assert not kept.is_in_step
        assert node.changes() == changes
    assert node.lines[1] == (
        "a: licences stay as they are: scontrol create reservation: Access/permission denied"
    )


def test_reservation_of_others_limits_and_is_told(node: Node) -> None:
    node.scontrol.add("qpu_a", 3)
    node.scontrol.reserve("maintenance", "qpu_a", 2)
    for _ in range(2):
        assert node.keep(A_PAUSED).counts == {"a": LicenseCount(3, 1)}
    assert node.scontrol.reservations() == {"maintenance": "qpu_a:2", "spank_qrmi_qpu_a": "qpu_a:1"}
    assert node.lines[0] == (
        "a: of 3 licences qpu_a only 1 can be withheld, 3 should be: other reservations have them"
    )
    assert len(node.lines) == 2


def test_licence_of_two_qpus_or_none_is_told_and_left(node: Node) -> None:
    node.scontrol.add("qpu_a_1", 1)
    node.scontrol.add("qpu_gone", 2)
    node.scontrol.reserve("spank_qrmi_qpu_gone", "qpu_gone", 2)
    for _ in range(2):
        node.keep(qpu("a:1", PAUSED), qpu("a@1", PAUSED))
    assert node.scontrol.reservations() == {"spank_qrmi_qpu_gone": "qpu_gone:2"}
    assert node.lines == [
        "2 licences qpu_gone stay withheld, of a QPU that is not in the configuration: "
        "spank-qrmi monitor --release-all gives back all",
        "a:1 and a@1 would have the same licence qpu_a_1, which stays as it is: rename all but one",
    ]
