# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of all rows gave, as one table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

BROKEN = ("failure", "error")


@dataclass
class Count:
    """How the tests of one file ended."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        skipped = f" ({self.skipped} skipped)" if self.skipped else ""
        return f"{self.passed}/{self.failed}{skipped}"

    @property
    def is_good(self) -> bool:
        """Whether all tests ran and passed."""
        return self.passed > 0 and self.failed == 0 and self.skipped == 0


@dataclass
class Column:
    """One system's results: title lines, counts by test file, or why there are none."""

    titles: Sequence[str]
    counts: Mapping[str, Count] = field(default_factory=dict)
    trouble: str = ""
    is_unavailable: bool = False

    @property
    def is_good(self) -> bool:
        """Whether the tests ran, and all of them passed."""
        all_good = all(count.is_good for count in self.counts.values())
        return not self.trouble and bool(self.counts) and all_good


def read_junit(path: Path) -> dict[str, Count]:
    """Return the counts by test file of a JUnit report in pytest's family xunit1.

    Raises FileNotFoundError, and ElementTree.ParseError for a report that is not whole.
    """
    cases: dict[tuple[str, str, str], list[str]] = {}
    # The report is our own pytest's.
    for case in ElementTree.parse(path).iter("testcase"):  # noqa: S314
        key = (case.get("file", "?"), case.get("classname", ""), case.get("name", ""))
        # A test that fails, and then its clean-up too, is reported twice.
        cases.setdefault(key, []).extend(child.tag for child in case)
    counts: dict[str, Count] = {}
    for (file, _, _), tags in cases.items():
        count = counts.setdefault(file, Count())
        if any(tag in BROKEN for tag in tags):
            count.failed += 1
        elif "skipped" in tags:
            count.skipped += 1
        else:
            count.passed += 1
    return counts


def format_table(columns: Sequence[Column]) -> str:
    """Return the table: a line for each test file, a column for each system, passed/failed."""
    height = max(len(column.titles) for column in columns)
    headings = [list(column.titles) + [""] * (height - len(column.titles)) for column in columns]
    files = sorted({file for column in columns for file in column.counts})
    lines = [["", *(heading[i] for heading in headings)] for i in range(height)]
    lines += [[file, *(str(column.counts.get(file, "-")) for column in columns)] for file in files]
    lines.append(["all", *(_summary(column) for column in columns)])
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _summary(column: Column) -> str:
    if column.is_unavailable:
        return "not available"
    if column.trouble:
        return column.trouble
    counts = column.counts.values()
    return str(
        Count(
            sum(count.passed for count in counts),
            sum(count.failed for count in counts),
            sum(count.skipped for count in counts),
        )
    )
