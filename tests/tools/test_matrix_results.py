# SPDX-License-Identifier: GPL-3.0-or-later
"""The matrix's table says what the tests gave, and nothing is well by being left out."""

from pathlib import Path

from slurm_matrix.results import Column, Count, format_table, read_junit

FILE = "tests/unit/test_one.py"


def case(name: str, outcome: str = "", file: str = FILE) -> str:
    return f'<testcase file="{file}" classname="c" name="{name}">{outcome}</testcase>'


def test_report_is_counted_by_file(tmp_path: Path) -> None:
    cases = (
        case("a"),
        # A test may fail, and then its clean-up.
        *(case("b", "<failure/>"), case("b", "<error/>")),
        case("c", "<skipped/>"),
        case("d", file="tests/unit/test_two.py"),
    )
    path = tmp_path / "junit.xml"
    path.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    assert read_junit(path) == {FILE: Count(1, 1, 1), "tests/unit/test_two.py": Count(1)}


def test_what_is_not_well() -> None:
    for column in (
        Column(["a"], {}),
        Column(["a"], {FILE: Count(1, 1, 0)}),
        Column(["a"], {FILE: Count(1, 0, 1)}),
        Column(["a"], {FILE: Count(1, 0, 0)}, "pytest: 1"),
        Column(["a"], trouble="build failed"),
        Column(["a"], is_unavailable=True),
    ):
        assert not column.is_good, column


def test_table() -> None:
    columns = [
        Column(
            ["sid", "Slurm 26.05.5"], {FILE: Count(12), "tests/slurm/test_help.py": Count(1, 2)}
        ),
        Column(["noble"], {FILE: Count(3, 0, 4)}),
        Column(["trixie"], trouble="build failed"),
        Column(["Python 3.10"], is_unavailable=True),
    ]

    assert format_table(columns).splitlines() == [
        "                          sid            noble            trixie        Python 3.10",
        "                          Slurm 26.05.5",
        "tests/slurm/test_help.py  1/2            -                -             -",
        "tests/unit/test_one.py    12/0           3/0 (4 skipped)  -             -",
        "all                       13/2           3/0 (4 skipped)  build failed  not available",
    ]
