# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalog as lines, for the plugin."""

from spank_qrmi.catalog.lines import lines_of
from spank_qrmi.status import QpuState
from tests.unit.catalog.sample import PAUSED, catalog, entry

FIRST_LINE = "spank-qrmi-catalog 1 1700000000 1700000090\n"


def lines(*entries: object) -> str:
    text = lines_of(catalog(*entries)).decode()  # type: ignore[arg-type]
    assert text.startswith(FIRST_LINE)
    return text.removeprefix(FIRST_LINE)


def test_one_line_for_each_qpu_and_whom_it_is_for() -> None:
    assert lines() == ""
    assert lines(entry(), PAUSED) == (
        "qa\tonline\t-\t-\t\n"
        "qb\tpaused\t1000,1001\t\tmaintenance, available again at 2023-11-15T08:00Z\n"
    )
    # Everybody is written only where neither kind is named.
    assert lines(entry(uids=(7,))) == "qa\tonline\t7\t\t\n"
    assert lines(entry(gids=(8,))) == "qa\tonline\t\t8\t\n"
    assert lines(entry(uids=())) == "qa\tonline\t\t\t\n"


def test_no_text_breaks_a_line_or_is_long() -> None:
    assert lines(entry("q\ta\n", QpuState.OFFLINE, reason="a\tb\x1b\n")) == (
        "q?a?\toffline\t-\t-\ta?b??\n"
    )
    told = lines(entry(reason="x" + "ü" * 200)).split("\t")[4].strip()
    assert told == "x" + "ü" * 99
