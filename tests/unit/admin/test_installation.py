# SPDX-License-Identifier: GPL-3.0-or-later
"""Installing the plugins below a folder and taking exactly that away, by the command itself."""

import runpy
import stat
import sys
from importlib.metadata import version
from pathlib import Path
from unittest.mock import Mock

import pytest

import spank_qrmi
from spank_qrmi.admin import command as cli
from spank_qrmi.admin import installation
from spank_qrmi.admin.command import main
from spank_qrmi.admin.installation import Places, remove
from spank_qrmi.errors import UntrustedPathError

MODULE = Path(installation.__file__).relative_to(Path(spank_qrmi.__file__).parent)
PLUGINS = ("spank_ibm_qrun.so", "spank_qrmi.so")
SHARE = Path("share", "spank-qrmi")
SHARED = {
    "qrmi_config.json.example": "{}",
    "plugstack.conf.example": "optional @PLUGINDIR@/spank_qrmi.so @SYSCONFDIR@/qrmi_config.json\n",
    "logrotate/spank-qrmi": "/var/log/spank_qrmi/usage.jsonl {}\n",
    "man/qrun.1": "manual\n",
    "man/spank-qrmi.8": "manual\n",
    "systemd/spank-qrmi.service": "ExecStart=@SBINDIR@/spank-qrmi\n",
}


class Machine:
    """A system below a folder, with an environment that carries the package."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.root = folder / "root"
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self.use(self.root / "opt" / "spank_qrmi")
        self.before = self.files()

    def use(self, prefix: Path) -> None:
        """Make an environment, and let it be the one that runs."""
        self.prefix = prefix
        self.package = prefix / "lib" / "spank_qrmi"
        for name, text in SHARED.items():
            path = prefix / SHARE / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (self.package / "plugin").mkdir(parents=True)
        for name in PLUGINS:
            (self.package / "plugin" / name).write_text(f"code of {name}")
        self._monkeypatch.setattr(sys, "prefix", str(prefix))
        self._monkeypatch.setattr(sys, "executable", str(prefix / "bin" / "python"))
        self._monkeypatch.setattr(installation, "__file__", str(self.package / MODULE))

    def files(self) -> dict[str, str]:
        """Return every path below the root with what it is: mode, or text of a link."""
        return {
            str(path.relative_to(self.root)): f"-> {path.readlink()}"
            if path.is_symlink()
            else stat.filemode(path.stat().st_mode)
            for path in self.root.rglob("*")
        }

    def added(self) -> dict[str, str]:
        """Return what is there now and was not in the beginning, the record left out."""
        record = str((self.prefix / SHARE / "installed.json").relative_to(self.root))
        return {
            name: kind
            for name, kind in self.files().items()
            if name not in self.before and name != record
        }

    def install(self, *options: str) -> int:
        return main(["install", "--root", str(self.root), *options])

    def uninstall(self, *options: str) -> int:
        return main(["uninstall", "--root", str(self.root), *options])

    def told(self) -> tuple[str, str]:
        """Return what was printed since the last time, of both outputs."""
        return self._capsys.readouterr()


@pytest.fixture
def machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Machine:
    return Machine(tmp_path, monkeypatch, capsys)


def test_all_is_installed_in_its_place_and_exactly_that_is_taken_away_once(
    machine: Machine,
) -> None:
    (machine.root / "usr" / "lib64").mkdir(parents=True)
    machine.before = machine.files()
    assert machine.install("--verbose") == 0
    added = machine.added()
    assert {name: kind for name, kind in added.items() if not kind.startswith("d")} == {
        "usr/lib64/slurm/spank_ibm_qrun.so": "-rwxr-xr-x",
        "usr/lib64/slurm/spank_qrmi.so": "-rwxr-xr-x",
        "usr/lib64/slurm/spank_qrmi.python": "-> /opt/spank_qrmi/bin/python",
        "etc/slurm/qrmi_config.json.example": "-rw-------",
        "etc/slurm/plugstack.conf.d/spank_qrmi.conf.example": "-rw-r--r--",
        "etc/logrotate.d/spank-qrmi": "-rw-r--r--",
        "usr/local/bin/qrun": "-> /opt/spank_qrmi/bin/qrun",
        "usr/local/bin/spank-qrmi": "-> /opt/spank_qrmi/bin/spank-qrmi",
        "usr/local/lib/systemd/system/spank-qrmi.service": "-rw-r--r--",
        "usr/local/sbin/spank-qrmi": "-> /opt/spank_qrmi/bin/spank-qrmi",
        "usr/local/share/man/man1/qrun.1": "-rw-r--r--",
        "usr/local/share/man/man8/spank-qrmi.8": "-rw-r--r--",
    }
    lines = machine.told()[0].splitlines()
    assert sorted(lines) == sorted(f"installed {machine.root}/{name}" for name in added)

    assert machine.uninstall("--verbose") == 0
    assert machine.files() == machine.before
    lines = machine.told()[0].splitlines()
    assert sorted(lines) == sorted(f"removed {machine.root}/{name}" for name in added)
    assert (machine.uninstall(), machine.told()) == (0, ("", ""))


def test_rule_for_logrotate_lies_where_it_looks() -> None:
    rules = {
        "/etc/slurm": "/etc/logrotate.d",
        "/etc": "/etc/logrotate.d",
        "/usr/local/etc/slurm": "/usr/local/etc/logrotate.d",
        "/opt/slurm": "/opt/slurm/logrotate.d",
    }
    found = {folder: str(Places(configuration=Path(folder)).log_rotation) for folder in rules}
    assert found == rules


@pytest.mark.parametrize("name", ["spank_qrmi", "newer"])
def test_newer_release_takes_over_and_removes_the_earlier_ones_library_at_last(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A step of that release, which loads it at its start, may just have loaded its plugin."""
    plugins = machine.root / "usr/lib64/slurm"
    carried = machine.package / "plugin" / "spank_qrmi_job.so"
    carried.write_text("code")
    machine.install()
    earlier = set(machine.added())
    (plugins / "other_job.so").write_text("of others")
    carried.unlink()
    if name == "newer":
        machine.use(machine.root / "opt" / "newer")
    (machine.package / "plugin" / "spank_qrmi.so").write_text("newer code")
    links = {
        "usr/lib64/slurm/spank_qrmi.python": f"-> /opt/{name}/bin/python",
        "usr/local/bin/qrun": f"-> /opt/{name}/bin/qrun",
        "usr/local/bin/spank-qrmi": f"-> /opt/{name}/bin/spank-qrmi",
        "usr/local/sbin/spank-qrmi": f"-> /opt/{name}/bin/spank-qrmi",
    }
    seen = []

    def watch(path: Path) -> bool:
        found = {each: kind for each, kind in machine.files().items() if kind.startswith("->")}
        seen.append((path, (plugins / "spank_qrmi.so").read_text(), found))
        return remove(path)

    with monkeypatch.context() as patches:
        patches.setattr(installation, "remove", watch)
        assert machine.install() == 0
    assert seen == [(plugins / "spank_qrmi_job.so", "newer code", links)]
    assert not (plugins / "spank_qrmi_job.so").exists()
    assert machine.uninstall() == 0
    assert earlier & set(machine.files()) == {"usr", "usr/lib64", "usr/lib64/slurm"}
    assert [path.name for path in plugins.iterdir()] == ["other_job.so"]


def test_one_line_tells_how_many_files_are_where(machine: Machine) -> None:
    machine.install()
    files = [kind for kind in machine.added().values() if not kind.startswith("d")]
    folders = ("usr/lib64/slurm", "etc/slurm", "usr/local", "etc/logrotate.d")
    places = [f"{machine.root}/{name}" for name in folders]
    assert machine.told()[0] == f"installed {len(files)} files below {', '.join(places)}\n"
    machine.uninstall()
    places = [places[2], places[0], places[3], places[1]]
    assert machine.told()[0] == f"removed {len(files)} files below {', '.join(places)}\n"


def test_what_belongs_to_others_stays_and_so_do_the_commands_themselves(machine: Machine) -> None:
    command = machine.prefix / "bin" / "qrun"
    command.parent.mkdir()
    command.write_text("the command itself")
    before = set(machine.files())
    assert machine.install("--plugindir", "/lib/slurm", "--prefix", "/opt/spank_qrmi") == 0
    assert command.read_text() == "the command itself"
    for name in ("lib/slurm/other.so", "etc/slurm/qrmi_config.json"):
        (machine.root / name).write_text("of others")
    (machine.root / "lib/slurm/spank_qrmi.so").unlink()
    assert machine.uninstall() == 0
    assert command.read_text() == "the command itself"
    assert sorted(set(machine.files()) - before) == [
        *("etc", "etc/slurm", "etc/slurm/qrmi_config.json"),
        *("lib", "lib/slurm", "lib/slurm/other.so"),
    ]


def test_command_of_somebody_else_is_not_replaced(machine: Machine) -> None:
    def assert_it_stays() -> None:
        before = machine.files()
        assert machine.install() == 1
        what_to_do = "remove it, or choose another prefix for commands"
        assert machine.told()[1] == f"spank-qrmi: {command} is somebody else's: {what_to_do}\n"
        assert machine.uninstall() == 0
        assert machine.files() == before

    command = machine.root / "usr/local/bin/qrun"
    command.parent.mkdir(parents=True)
    other = machine.root / "other"
    command.symlink_to(other)
    assert_it_stays()
    other.write_text("of others")
    assert_it_stays()
    command.unlink()
    command.write_text("of others")
    assert_it_stays()


def test_files_are_replaced_by_way_of_names_that_cannot_be_foreseen(machine: Machine) -> None:
    """Whoever put a link under such a name would choose what root writes to."""
    library = machine.root / "usr/lib64/slurm/spank_qrmi.so"
    library.parent.mkdir(parents=True)
    traps = [library.with_name(f".spank_qrmi.{kind}.new") for kind in ("so", "python")]
    for trap in traps:
        trap.symlink_to("elsewhere")
    machine.install()
    # Who has loaded a library keeps it.
    with library.open() as in_use:
        (machine.package / "plugin" / "spank_qrmi.so").write_text("newer code")
        assert machine.install() == 0
        assert (in_use.read(), library.read_text()) == ("code of spank_qrmi.so", "newer code")
    assert machine.added()["usr/lib64/slurm/spank_qrmi.python"].endswith("/bin/python")
    assert [trap.readlink() for trap in traps] == [Path("elsewhere")] * 2
    assert set(machine.root.rglob(".*")) == set(traps)


def test_two_installations_name_their_folders_and_are_taken_away_at_once(machine: Machine) -> None:
    machine.install()
    machine.install("--plugindir", "/lib/slurm", "--sysconfdir", "/conf", "--prefix", "/usr")
    line = machine.root / "conf/plugstack.conf.d/spank_qrmi.conf.example"
    assert line.read_text() == "optional /lib/slurm/spank_qrmi.so /conf/qrmi_config.json\n"
    unit = machine.root / "usr/lib/systemd/system/spank-qrmi.service"
    assert unit.read_text() == "ExecStart=/usr/sbin/spank-qrmi\n"
    assert machine.uninstall() == 0
    assert machine.files() == machine.before


def test_sbin_may_be_bin(machine: Machine) -> None:
    """As on systems that have merged the two."""
    local = machine.root / "usr" / "local"
    (local / "bin").mkdir(parents=True)
    (local / "sbin").symlink_to("bin")
    before = machine.files()
    assert [machine.install(), machine.install()] == [0, 0]
    assert sorted(path.name for path in (local / "bin").iterdir()) == ["qrun", "spank-qrmi"]
    assert machine.uninstall() == 0
    assert machine.files() == before


def test_interpreter_is_named_as_it_will_be_called(monkeypatch: pytest.MonkeyPatch) -> None:
    for root, folder in (("/", ""), ("/stage", "/stage"), ("/stage", "")):
        monkeypatch.setattr(sys, "executable", f"{folder}/opt/env/bin/python")
        assert installation.interpreter_below(Path(root)) == Path("/opt/env/bin/python"), root


def test_installation_that_fails_leaves_nothing_or_can_be_taken_away(machine: Machine) -> None:
    example = machine.prefix / SHARE / "qrmi_config.json.example"
    example.unlink()
    before = machine.files()
    assert machine.install() == 1
    cannot = f"spank-qrmi: cannot write {example}: No such file or directory\n"
    assert machine.told() == ("", cannot)
    assert machine.uninstall() == 0
    assert machine.files() == before
    machine.told()
    for library in machine.package.glob("plugin/*"):
        library.unlink()
    assert machine.install() == 1
    lacks = "spank-qrmi: this package carries no plugins: install it from its wheel\n"
    assert machine.told() == ("", lacks)
    assert machine.files().keys() <= before.keys()


def test_what_cannot_be_written_removed_or_read_is_named(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    (machine.root / "usr").write_text("a file")
    assert machine.install() == 1
    text = machine.told()[1]
    assert text.startswith(f"spank-qrmi: cannot write {machine.root}/usr/lib64")
    assert text.endswith(": Not a directory\n")
    (machine.root / "usr").unlink()
    machine.install()
    machine.told()
    with monkeypatch.context() as patches:
        patches.setattr(Path, "unlink", refuse)
        assert machine.uninstall() == 1
    path = machine.root / "usr/local/sbin/spank-qrmi"
    assert machine.told()[1] == f"spank-qrmi: cannot remove {path}: Permission denied\n"
    record = machine.prefix / SHARE / "installed.json"
    record.write_text("{")
    assert machine.uninstall() == 1
    assert str(record) in machine.told()[1]


def test_node_gets_no_plugins_whose_worker_would_not_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse = Mock(side_effect=UntrustedPathError("open to all"))
    monkeypatch.setattr(cli, "refuse_untrusted_code", refuse)
    monkeypatch.setattr(cli, "install_plugins", lambda *_: pytest.fail("installed"))
    assert main(["install"]) == 1
    assert capsys.readouterr() == ("", "spank-qrmi: open to all\n")


def test_version_is_told_and_misuse_ends_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    for options, status in (("--version", 0), ("-V", 0), ("", 2), ("a", 2), ("install --a", 2)):
        with pytest.raises(SystemExit) as ended:
            main(options.split())
        assert ended.value.code == status, options
        printed = capsys.readouterr()
        if status == 0:
            assert printed.out == f"{version('spank-qrmi')}\n", options
        else:
            assert "usage: spank-qrmi" in printed.err, options


def test_package_runs_as_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["spank-qrmi", "qpus", "--catalog=/nowhere"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("spank_qrmi", run_name="__main__")
    assert ended.value.code == 2
