# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the roots, build and test in each, print one table; the exit status says if all is well."""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import ParseError

from clean_root.archives import RELEASES, ArchiveError
from clean_root.inside import run_inside
from clean_root.root import Root, RootError

from slurm_matrix.machine import find_python, package_paths, package_variables
from slurm_matrix.results import Column, format_table, read_junit
from slurm_matrix.sources import copy_sources, sources_of

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("make", "python3")
TESTS = ("tests/slurm", "tests/unit")
# What a worker on another Python has to do: all of its own tests, and one job.
PYTHON_TESTS = (
    "tests/unit",
    "tests/slurm/test_acquisition.py::test_qpus_of_all_vendors",
)
BUILD = """
cd "$SOURCES"
make test-deps
make build wheel .venv/ready
mkdir -p build
echo "Slurm $(slurmd -V | cut -d ' ' -f 2)" >build/versions
.venv/bin/python -V >>build/versions
"""
TEST = """
cd "$SOURCES"
rm -f build/junit.xml
.venv/bin/pytest --numprocesses=4 --dist=loadfile -o junit_family=xunit1 \
    --junitxml=build/junit.xml $TESTS
"""


@dataclass(frozen=True)
class System:
    """A copy of the sources in a root, and the Python it is to run on."""

    name: str
    root: Root
    tests: Sequence[str]
    python: Path = Path("/usr/bin/python3")
    show: Sequence[Path] = ()

    @property
    def log(self) -> Path:
        """Where all output of this system goes."""
        return self.root.folder / "logs" / f"{self.name}.log"

    @property
    def sources(self) -> Path:
        """The copy as the machine sees it."""
        return self.root.system / "srv" / self.name

    def check(self) -> Column:
        """Build and test; return what came of it."""
        try:
            self.prepare()
            return self._build_and_test()
        except (ArchiveError, RootError) as error:
            print(f"{self.name}: {error}", flush=True)
            return Column([self.name], trouble="no root")

    def prepare(self) -> None:
        """Have the root and its copy of the sources; raise ArchiveError or RootError."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_bytes(b"")
        self.root.make(self.log)
        copy_sources(REPOSITORY, sources_of(REPOSITORY), self.sources)

    def _build_and_test(self) -> Column:
        if self.run(BUILD) != 0:
            print(f"{self.name}: the build failed: see {self.log}", flush=True)
            return Column([self.name], trouble="build failed")
        versions = (self.sources / "build" / "versions").read_text().splitlines()
        titles = [self.name, *versions]
        status = self.run(TEST)
        try:
            counts = read_junit(self.sources / "build" / "junit.xml")
        except (FileNotFoundError, ParseError):
            return Column(titles, trouble="tests broke off")
        column = Column(titles, counts)
        if status != 0 and column.is_good:
            column.trouble = f"pytest: {status}"
        return column

    def run(self, script: str, **more: str) -> int:
        """Run a shell script inside, with more variables; return its exit status."""
        variables = {
            "SOURCES": f"/srv/{self.name}",
            "TESTS": " ".join(self.tests),
            "PYTHON": str(self.python),
            # A test that cannot run must fail, not be skipped.
            "REQUIRE_SLURM": "1",
        }
        return run_inside(
            self.root.system,
            ["sh", "-ec", script],
            show=[*self.show, *package_paths()],
            variables=package_variables() | variables | more,
            log=self.log,
        ).returncode


def main() -> int:
    """Check all systems; return 0 if every test ran and passed."""
    options = parse_arguments()
    if os.geteuid() != 0:
        sys.exit("error: make test-slurm-matrix needs root: it makes roots and starts Slurm there")
    columns = []
    for column in check_all(options):
        verdict = "all passed" if column.is_good else column.trouble or "failed"
        if column.is_unavailable:
            verdict = "not available on this machine"
        print(f"{', '.join(column.titles)}: {verdict}", flush=True)
        columns.append(column)
    print(f"\npassed/failed\n{format_table(columns)}")
    return 0 if all(column.is_good or column.is_unavailable for column in columns) else 1


def parse_arguments() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(prog="slurm_matrix", description=__doc__)
    parser.add_argument("releases", nargs="+", choices=RELEASES, metavar="RELEASE")
    parser.add_argument("--cache", type=Path, required=True, help="the folder of the roots")
    parser.add_argument("--pythons", default="", help="such as '3.10 3.12'")
    parser.add_argument("--tests", default=" ".join(TESTS), help="pytest's arguments")
    return parser.parse_args()


def check_all(options: argparse.Namespace) -> Iterator[Column]:
    """Yield one column for each release, and one for each Python that none of them has."""
    cache = options.cache.resolve()
    roots = [Root(suite, RELEASES[suite], cache / suite, PACKAGES) for suite in options.releases]
    found = set()
    for root in roots:
        column = checked(System(root.suite, root, options.tests.split()))
        found.add(".".join(column.titles[-1].removeprefix("Python ").split(".")[:2]))
        yield column
    for version in options.pythons.split():
        if version not in found:
            yield check_python(version, roots)


def check_python(version: str, roots: Sequence[Root]) -> Column:
    """Return the column of a Python that only this machine may have."""
    found = find_python(version)
    if found is None:
        return Column([f"Python {version}"], is_unavailable=True)
    # It was built for this machine: the libraries of the oldest system suit it best.
    root = roots[0]
    name = f"{root.suite}-python{version}"
    return checked(System(name, root, PYTHON_TESTS, found.interpreter, [found.prefix]))


def checked(system: System) -> Column:
    """Check a system, and say how long it took."""
    print(f"{system.name}: log in {system.log}", flush=True)
    started = time.monotonic()
    column = system.check()
    print(f"{system.name}: {time.monotonic() - started:.0f} s", flush=True)
    return column


if __name__ == "__main__":
    sys.exit(main())
