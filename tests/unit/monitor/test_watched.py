# SPDX-License-Identifier: GPL-3.0-or-later
"""What is remembered of a QPU from round to round, and which status counts."""

import pytest

from spank_qrmi.monitor.observations import Observation, Round, round_from_json
from spank_qrmi.monitor.watched import WatchedQpu, after_round
from spank_qrmi.status import QpuState, QpuStatus

ONLINE = QpuStatus(QpuState.ONLINE, "fine", waiting_jobs=2)
PAUSED = QpuStatus(QpuState.PAUSED, "maintenance")
SILENT = QpuStatus(QpuState.UNKNOWN, "no answer")
NOTHING = QpuStatus(QpuState.UNKNOWN, "says nothing")
GRACE = 90


def seen(status: QpuStatus, name: str = "a") -> Round:
    return Round((Observation(name, ("t", "u"), status, status is not SILENT, seconds=0.5),))


def rounds(*pairs: tuple[int, Round]) -> WatchedQpu:
    """Return the QPU after rounds at these times."""
    qpus: dict[str, WatchedQpu] = {}
    for now, each in pairs:
        qpus = after_round(qpus, each, now)
    return qpus["a"]


def test_since_is_the_states_answered_at_the_answers() -> None:
    assert rounds((10, seen(ONLINE))) == WatchedQpu(
        *("a", ("t", "u"), ONLINE, 10, 10, ONLINE, 10), seconds=0.5
    )
    assert rounds((10, seen(SILENT))) == WatchedQpu("a", ("t", "u"), SILENT, 10, seconds=0.5)
    qpu = rounds((10, seen(ONLINE)), (20, seen(ONLINE)), (30, seen(SILENT)), (40, seen(SILENT)))
    assert (qpu.since, qpu.answered_at, qpu.known, qpu.known_at) == (30, 20, ONLINE, 20)
    assert rounds((10, seen(ONLINE)), (20, seen(PAUSED))).since == 20
    qpu = rounds((10, seen(ONLINE)), (20, seen(NOTHING)))
    assert (qpu.answered_at, qpu.known_at) == (20, 10)
    # A clock that is put back prolongs nothing.
    qpu = rounds((5000, seen(ONLINE)), (10, seen(SILENT)), (10 + GRACE, seen(SILENT)))
    assert (qpu.since, qpu.status_in_force(10 + GRACE, GRACE)) == (10, SILENT)


def test_what_was_known_counts_until_the_grace_is_over() -> None:
    for statuses, before, after in (
        ([ONLINE, SILENT], ONLINE, SILENT),
        ([PAUSED, SILENT], PAUSED, SILENT),
        ([ONLINE, NOTHING], ONLINE, NOTHING),
        # The word of the service counts at once.
        ([ONLINE, SILENT, PAUSED], PAUSED, PAUSED),
        # What was never known is left until then.
        ([SILENT, SILENT], None, SILENT),
    ):
        qpu = rounds(*((10 * at, seen(status)) for at, status in enumerate(statuses, 1)))
        in_force = (qpu.status_in_force(99, GRACE), qpu.status_in_force(100, GRACE))
        assert in_force == (before, after), statuses


def test_round_that_failed_leaves_all_unknown_and_one_without_a_qpu_forgets_it() -> None:
    former = after_round({}, seen(ONLINE), 10)
    qpus = after_round(former, Round(failure="no configuration"), 20)
    assert qpus["a"].status == QpuStatus(QpuState.UNKNOWN, "no configuration")
    assert (qpus["a"].types, qpus["a"].known_at) == (("t", "u"), 10)
    assert after_round(former, seen(PAUSED, "b"), 20).keys() == {"b"}


def test_half_a_round_is_none() -> None:
    for content in (b"", b"{", b"{}", b"[]", b'{"observations": [{}]}'):
        with pytest.raises((ValueError, KeyError, TypeError)):
            pytest.fail(f"{content!r} was taken: {round_from_json(content)}")
