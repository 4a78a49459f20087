# SPDX-License-Identifier: GPL-3.0-or-later
"""What the matrix takes over from the machine, and what its table says."""

import os
from pathlib import Path

import pytest
from slurm_matrix.machine import find_python, package_variables
from slurm_matrix.results import Column, Count, format_table, read_junit
from slurm_matrix.sources import copy_sources

from tests.tools.programs import write_program

FILE = "tests/unit/test_one.py"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose programs and home are in a folder of the test's."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def test_newest_python_of_pyenv_behind_its_stand_in(home: Path) -> None:
    write_program(home / "bin" / "python3.10", "exit 127")
    for version in ("3.10.2", "3.10.13", "3.11.7"):
        prefix = home / ".pyenv" / "versions" / version
        write_program(prefix / "bin" / "python3.10", f"echo {prefix}")
    found = find_python("3.10")
    assert found is not None
    prefix = home / ".pyenv" / "versions" / "3.10.13"
    assert (found.prefix, found.interpreter) == (prefix, prefix / "bin" / "python3.10")


def test_python_that_cannot_be_shown_to_a_root(home: Path) -> None:
    for script in ("echo /usr", "exit 1", "true"):
        write_program(home / "bin" / "python3.10", script)
        assert find_python("3.10") is None, script


def test_variables_that_pip_needs_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        os, "environ", {"PIP_CERT": "a", "SSL_CERT_FILE": "b", "no_proxy": "c", "SECRET": "d"}
    )
    assert package_variables() == {"PIP_CERT": "a", "SSL_CERT_FILE": "b"}


def test_copy_holds_the_sources_and_what_was_built(tmp_path: Path) -> None:
    repository, target = tmp_path / "repository", tmp_path / "target"
    names = [Path("Makefile"), Path("tests", "unit", "test_one.py")]
    for name in names:
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text("first")
    copy_sources(repository, names, target)
    for stray in ("build/lib.so", ".venv/python", "x.egg-info/y", "gone/old.py", "tests/old.py"):
        (target / stray).parent.mkdir(parents=True, exist_ok=True)
        (target / stray).touch()
    (repository / "Makefile").write_text("second")
    os.utime(repository / "Makefile", ns=(1, 1))
    unchanged = (target / names[1]).stat()

    copy_sources(repository, names, target)

    files = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert files == {*map(str, names), "build/lib.so", ".venv/python", "x.egg-info/y"}
    assert not (target / "gone").exists()
    assert (target / "Makefile").read_text() == "second"
    assert (target / names[1]).stat().st_ino == unchanged.st_ino


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
