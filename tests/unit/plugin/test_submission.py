# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plugins tell at submission, of the published catalog and of options; what is refused."""

import copy
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spank_qrmi.catalog.entries import Catalog, CatalogEntry
from spank_qrmi.catalog.files import publish
from spank_qrmi.catalog.lines import MAX_LINES_BYTES
from spank_qrmi.catalog.nearest import nearest_name
from spank_qrmi.status import QpuState
from tests.unit.catalog.sample import entry
from tests.unit.outcomes import trying
from tests.unit.plugin_host import CONFIG, FALLBACK, VALGRIND, PluginHost, Report, needs_valgrind

NOTHING_IS_SUBMITTED = (
    "--qpu: nothing is submitted: the job would have {}; `spank-qrmi qpus` shows which QPUs there "
    "are"
)
NO_QPU = NOTHING_IS_SUBMITTED.format("no QPU")
NOT_ALL = NOTHING_IS_SUBMITTED.format("not all of its QPUs")
NO_QPU_QX = "--qpu: no QPU is called qx"

QPUS = (
    entry("ibm_torino"),
    entry("ibm_quebec", QpuState.BUSY, reason="reserved"),
    entry("FRESNEL", QpuState.PAUSED, reason="maintenance", available_at="2026-12-01T08:00Z"),
    entry("garnet", QpuState.OFFLINE),
)


def run_as(command: str, host: PluginHost, **orders: Any) -> Report:
    """Load the plugin into a command of Slurm's: the fake host, called by its name."""
    named = copy.copy(host)
    named.program = host.folder / command
    if not named.program.is_symlink():
        named.program.symlink_to(host.program)
    return named.run(remote=0, **orders)


class LoginNode:
    """Slurm's commands where the catalog is, as far as the plugin sees them."""

    def __init__(self, host: PluginHost, folder: Path) -> None:
        self.host = host
        self.folder = folder
        self.lines = folder / "qpus.txt"
        self.arguments = [CONFIG, f"--catalog={folder}"]

    def publish(self, *entries: CatalogEntry, seconds_left: int = 3600) -> None:
        now = int(time.time())
        publish(Catalog(now - 7200, now + seconds_left, entries), self.folder)

    def told(
        self,
        names: str | Sequence[str],
        *more: str,
        command: str = "sbatch",
        is_refused: bool = False,
        **orders: Any,
    ) -> list[str]:
        """Return what a command for these QPUs tells its user; it goes on unless it `is_refused`.

        These are errors then, and warnings else. The plugin has `more` arguments in plugstack.conf.
        """
        step = {"options": names, "arguments": [*self.arguments, *more], **orders}
        report = run_as(command, self.host, ends_command=is_refused, **step)
        level, other = ("error", "info") if is_refused else ("info", "error")
        assert report.texts("set") + report.logged(other) == []
        return report.logged(level)


def warned(*texts: str) -> list[str]:
    return [f"warning: --qpu: {each}" for each in texts]


@pytest.fixture
def login(host: PluginHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoginNode:
    for name in (*HOLDING, "QRMI_JOB_ID", FALLBACK.decode()):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "catalog"
    folder.mkdir()
    login = LoginNode(host, folder)
    login.publish(*QPUS)
    return login


def test_what_is_in_the_way_is_told_and_submission_goes_on(login: LoginNode) -> None:
    for names, warnings in {
        "ibm_torino": [],
        "ibm_quebec": [],
        "ibm_torino, ibm_quebec,,": [],
        "ibm_torino,ibm_torinp": ["no QPU is called ibm_torinp: is it ibm_torino?"],
        "xyz,ibm_torino,xyz": ["no QPU is called xyz"],
        "FRESNEL": ["FRESNEL is paused: maintenance, available again at 2026-12-01T08:00Z"],
        "garnet,fresnel": ["garnet is offline", "no QPU is called fresnel: is it FRESNEL?"],
    }.items():
        assert login.told(names) == warned(*warnings), names
    # The last option counts.
    assert login.told(["xyz", "garnet"]) == warned("garnet is offline")
    assert login.told([]) == []
    # That one is busy is told to who asks for more.
    report = run_as("srun", login.host, options="ibm_quebec", arguments=login.arguments)
    assert "--qpu: ibm_quebec is busy: reserved" in report.logged("debug")


def test_job_that_could_not_have_the_qpus_that_it_needs_is_refused(login: LoginNode) -> None:
    nearest = "--qpu: no QPU is called ibm_torinp: is it ibm_torino?"
    for command in ("sbatch", "salloc", "srun"):
        told = login.told("ibm_torinp,xyz", command=command, is_refused=True)
        assert told == [nearest, "--qpu: no QPU is called xyz", NO_QPU], command
    assert login.told("ibm_torino,qx", "--require=all", is_refused=True) == [NO_QPU_QX, NOT_ALL]
    assert login.told("garnet", "--require=all") == warned("garnet is offline")
    # Where jobs run without QPUs it needs none.
    told = login.told("qx", "--on-failure=continue", "--require=all")
    assert told == warned("no QPU is called qx")


def test_names_of_any_length_kind_and_number_are_looked_for(login: LoginNode) -> None:
    names = [f"q{number:03}" for number in range(250)]
    told = login.told(",".join(["ibm_torino", *names]))
    # Of many the first ones alone are told.
    assert told == warned(*(f"no QPU is called {name}" for name in names[:8]))
    longest = "ü" * 63 + "y"
    login.publish(entry(longest))
    assert login.told(longest) == []
    nearest = f"no QPU is called {longest}z: is it {longest}?"
    assert login.told(f"{longest}z,{longest}") == warned(nearest)
    told = login.told("x" * 60_000, is_refused=True)
    assert told == [f"--qpu: no QPU is called {'x' * 255}", NO_QPU]


# Root may use all QPUs.
AS_USER = ("setpriv", "--reuid=1001", "--regid=2001", "--groups=2002,2003", "--")
OF_MANY = "by_user,by_group,by_other_group,of_others,of_nobody"


@pytest.fixture
def open_login(login: LoginNode, open_folder: Path) -> LoginNode:
    """One where another user can run commands; its QPUs are not for all."""
    program = Path(shutil.copy(login.host.program, open_folder))
    open_folder.chmod(0o755)
    for name in ("step", "catalog"):
        (open_folder / name).mkdir()
    host = PluginHost(open_folder / "step", program, login.host.plugin)
    open_login = LoginNode(host, open_folder / "catalog")
    open_login.publish(
        entry("by_user", uids=(7, 1001)),
        entry("by_group", uids=(7,), gids=(2001,)),
        entry("by_other_group", gids=(1, 2003)),
        entry("of_others", uids=(100, 10011), gids=(200, 20033)),
        entry("of_nobody", uids=()),
    )
    return open_login


def test_qpu_that_the_user_may_not_use_is_none_for_him(open_login: LoginNode) -> None:
    told = open_login.told(OF_MANY, under=AS_USER)
    assert told == warned("you may not use of_others", "you may not use of_nobody")
    told = open_login.told("of_others", under=AS_USER, is_refused=True)
    assert told == ["--qpu: you may not use of_others", NO_QPU]
    assert open_login.told("of_others") == []


def write(*lines: str) -> Callable[[Path], object]:
    """Return what writes a file with these lines, of which {head} is a good first one."""
    text = "\n".join(lines).replace("{head}", f"spank-qrmi-catalog 1 1 {2**40}")
    return lambda path: path.write_bytes(text.encode("utf-8", "surrogateescape"))


GOOD = "qa\tonline\t-\t-\t\n"
UNUSABLE: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "fifo": lambda path: (path.unlink(), os.mkfifo(path)),
    "link": lambda path: path.symlink_to(path.rename(path.with_name("other"))),
    "of others": lambda path: os.chown(path, 65534, 65534),
    "writable by group": lambda path: path.chmod(0o664),
    "writable by all": lambda path: path.chmod(0o646),
    "empty": write(""),
    "without QPUs": write("{head}", ""),
    "too large": write("{head}", GOOD * (MAX_LINES_BYTES // len(GOOD))),
    "without its last end of line": write("{head}", GOOD.strip()),
    "newer": write(f"spank-qrmi-catalog 2 1 {2**40}", GOOD),
    "without its first time": write(f"spank-qrmi-catalog 1  {2**40}", GOOD),
    "with one time": write(f"spank-qrmi-catalog 1 {2**40}", GOOD),
    "with a negative time": write(f"spank-qrmi-catalog 1 -1 {2**40}", GOOD),
    "with three times": write(f"spank-qrmi-catalog 1 1 {2**40} 1", GOOD),
    "with too few fields": write("{head}", "qa\tonline\t-\t-\n"),
    "with too many fields": write("{head}", "qa\tonline\t-\t-\t\t\n"),
    "with an empty name": write("{head}", "\tonline\t-\t-\t\n"),
    "with a long name": write("{head}", "x" * 256 + "\tonline\t-\t-\t\n"),
    "with a control": write("{head}", "q\x1b\tonline\t-\t-\t\n"),
    "with a NUL": write("{head}", "qa\tonline\t-\t-\t\0\n"),
    "with users by name": write("{head}", "qa\tonline\troot\t-\t\n"),
    "with groups by name": write("{head}", "qa\tonline\t-\t-1\t\n"),
}


def test_catalog_that_cannot_be_used_or_is_not_there_or_old_is_no_check(login: LoginNode) -> None:
    for what, make_unusable in UNUSABLE.items():
        with trying(what):
            login.publish(*QPUS)
            assert login.told("qx", is_refused=True) == [NO_QPU_QX, NO_QPU]
            make_unusable(login.lines)
            assert login.told("qx") == []
    login.publish(*QPUS)
    for catalog in ("/none", "../catalog", "/" + "x" * 5000):
        assert login.told("xyz", f"--catalog={catalog}") == [], catalog
    login.publish(*QPUS, seconds_left=-1)
    assert login.told("xyz,garnet") == []


def test_catalog_of_the_plugins_owner_is_trusted(login: LoginNode) -> None:
    """Who could change the plugin needs no catalog."""
    os.chown(login.lines, 65534, 65534)
    os.chown(login.host.plugin, 65534, 65534)
    assert login.told("garnet") == warned("garnet is offline")


def test_text_of_the_catalog_is_shown_as_one_line(login: LoginNode) -> None:
    told = "a\x1b[31m\x7fb\udcff" + "x" * 300
    write("{head}", f"qa\toffline\t-\t-\t{told}\n")(login.lines)
    assert login.told("qa") == warned(f"qa is offline: a?[31m?b?{'x' * 191}")


QPU_OPTION = FALLBACK.decode()
IN_JOB = {"SLURM_JOB_ID": "7"}
HOLDING = {**IN_JOB, "SLURM_QRMI_JOB_ID": "7", "SLURM_JOB_QPU_RESOURCES": "ibm_torino,garnet"}


def test_step_is_told_only_of_qpus_that_are_not_its_jobs(login: LoginNode) -> None:
    for command, variables, is_told in (
        ("srun", {}, True),
        ("srun", IN_JOB, True),
        ("srun", {**IN_JOB, QPU_OPTION: "ibm_torino"}, True),
        ("srun", {**IN_JOB, QPU_OPTION: "garnet"}, False),
        ("srun", {**IN_JOB, QPU_OPTION: "ibm_torino,garnet"}, False),
        ("srun", {QPU_OPTION: "garnet"}, True),
        ("srun", HOLDING, False),
        ("srun", {**HOLDING, "SLURM_JOB_QPU_RESOURCES": "ibm_torino"}, True),
        ("srun", {**HOLDING, "SLURM_JOB_ID": "8"}, True),
        ("srun", {**IN_JOB, "SLURM_QRMI_JOB_ID": "7"}, False),
        ("srun", {**IN_JOB, "QRMI_JOB_ID": "7"}, False),
        ("sbatch", {**HOLDING, QPU_OPTION: "garnet"}, True),
        ("salloc", {**HOLDING, QPU_OPTION: "garnet"}, True),
    ):
        with trying((command, variables)):
            expected = warned("garnet is offline") if is_told else []
            with patch.dict(os.environ, variables):
                assert login.told("garnet", command=command) == expected
    # With a QPU of its job it goes on, unless it needs all.
    with patch.dict(os.environ, HOLDING):
        assert login.told("garnet,qx", command="srun") == warned("no QPU is called qx")
        for names, arguments in (("garnet,qx", ["--require=all"]), ("qx", [])):
            told = login.told(names, *arguments, command="srun", is_refused=True)
            assert told == [NO_QPU_QX, NO_QPU]


def test_line_that_counts_on_nodes_counts_at_submission(login: LoginNode) -> None:
    catalog = f"--catalog={login.folder}"
    for first, second, is_told in (
        ([catalog], [CONFIG], False),
        (["--state-dir=/x"], [CONFIG, catalog], True),
        ([CONFIG, catalog], [CONFIG], True),
        ([catalog], ["--state-dir=/x"], True),
    ):
        told = login.told("garnet", is_listed_twice=1, arguments=first, second_line=second)
        assert told == (warned("garnet is offline") if is_told else []), (first, second)


def test_node_does_not_look_at_the_catalog(login: LoginNode) -> None:
    report = login.host.run(options="xyz", arguments=[*login.arguments, "--worker-server=none"])
    logged = report.texts("log-info") + report.texts("log-error")
    assert not [each for each in logged if "no QPU is called" in each]


@needs_valgrind
@patch.dict(os.environ)
def test_memory_of_a_look_is_used_as_it_should(login: LoginNode, open_login: LoginNode) -> None:
    # What it finds is on stderr, which must be empty.
    watched = (*VALGRIND, "--vgdb=no")
    assert len(open_login.told(OF_MANY, under=(*AS_USER, *watched))) == 2
    os.environ.update(HOLDING)
    step = {"command": "srun", "under": watched}
    assert len(login.told("garnet,ibm_torinp,ibm_quebec,FRESNEL", **step)) == 2
    assert len(login.told("xyz", **step, is_refused=True)) == 2
    write("{head}", GOOD, "qb\tonline\n")(login.lines)
    assert login.told("xyz", **step) == []


LETTERS = st.text("abA", min_size=1, max_size=5)


@settings(
    suppress_health_check=[*settings().suppress_health_check, HealthCheck.function_scoped_fixture]
)
@given(
    known=st.lists(LETTERS, min_size=1, max_size=8, unique=True),
    names=st.lists(LETTERS, min_size=1, max_size=6, unique=True),
)
def test_names_are_meant_for_the_same_ones_as_by_the_command(
    login: LoginNode, known: list[str], names: list[str]
) -> None:
    login.publish(*map(entry, known))
    lost = {name: nearest_name(name, known) for name in names if name not in known}
    told = [
        f"no QPU is called {name}" + ("" if nearest is None else f": is it {nearest}?")
        for name, nearest in lost.items()
    ]
    if len(lost) == len(names):
        errors = [*(f"--qpu: {each}" for each in told), NO_QPU]
        assert login.told(",".join(names), is_refused=True) == errors
    else:
        assert login.told(",".join(names)) == warned(*told)


NO_SHELL = ["--no-shell"]
NO_EFFECT = "has no effect with salloc --no-shell: give it to each srun --jobid=ID"


def test_option_is_told_that_a_salloc_without_a_shell_hands_on_to_no_step(
    host: PluginHost, qrun_host: PluginHost
) -> None:
    for command, words, options, is_told in (
        ("salloc", NO_SHELL, ["a"], True),
        ("salloc", ["-N1", *NO_SHELL, "--qpu=a"], ["a"], True),
        ("salloc", ["--no-s"], ["a"], True),
        ("salloc", ["--no-", "--no-shells", "no-shell"], ["a"], False),
        ("salloc", [], ["a"], False),
        ("salloc", NO_SHELL, [], False),
        ("sbatch", NO_SHELL, ["a"], False),
    ):
        for plugin, option in ((host, "qpu"), (qrun_host, "q-backend")):
            report = run_as(command, plugin, words=words, options=options)
            expected = [f"warning: --{option} {NO_EFFECT}"] if is_told else []
            assert report.logged("info") + report.logged("error") == expected, (command, words)
