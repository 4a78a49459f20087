# SPDX-License-Identifier: GPL-3.0-or-later
"""What a status says, and how people read it."""

from spank_qrmi.status import QpuState, QpuStatus, state_of_word


def test_words_of_services_that_are_not_online() -> None:
    expected = {
        "": QpuState.UNKNOWN,
        "paused": QpuState.PAUSED,
        "Maintenance": QpuState.PAUSED,
        "offline": QpuState.OFFLINE,
        "INACTIVE": QpuState.OFFLINE,
        "anything": QpuState.OFFLINE,
    }
    assert {word: state_of_word(word) for word in expected} == expected


def test_texts_tell_reason_and_facts() -> None:
    full = QpuStatus(QpuState.PAUSED, "new cryostat", 7, 1, 3, "2026-11-01", "2026-12-01", "12:00")
    facts = (
        "new cryostat (available again at 2026-12-01, waiting jobs 7, free slots 1 of 3, "
        "calibrated at 2026-11-01, as of 12:00)"
    )
    for status, text, problem in (
        (QpuStatus(QpuState.ONLINE), "", ""),
        (QpuStatus(QpuState.ONLINE, "active", waiting_jobs=0), "active", ""),
        (QpuStatus(QpuState.ONLINE, waiting_jobs=4), "waiting jobs 4", ""),
        (QpuStatus(QpuState.ONLINE, "active", free_slots=2), "active (free slots 2)", ""),
        (QpuStatus(QpuState.BUSY, "locked"), "locked", "busy: locked"),
        (QpuStatus(QpuState.UNKNOWN, "no word"), "no word", "not accessible: no word"),
        (full, facts, f"not accessible: {facts}"),
    ):
        assert (status.text, status.problem) == (text, problem), status
