# SPDX-License-Identifier: GPL-3.0-or-later
"""No installation takes a Python that is too old, or that an ordinary user could replace."""

import grp
import os
import pwd
import stat
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from check_python import trouble_with_paths, trouble_with_version

from spank_qrmi.trust import paths as trusted_paths
from spank_qrmi.trust.paths import steps_to
from tests.tools.programs import ended

PROJECT = Path(__file__).parents[2]
NOGROUP = grp.getgrgid(65534).gr_name
FOLDER, SHARED = stat.S_IFDIR | 0o755, stat.S_IFDIR | 0o2775


def status(mode: int = FOLDER, user: int = 0, group: int = 0) -> SimpleNamespace:
    """Return what lstat says; by default a folder of root's own that is closed."""
    return SimpleNamespace(st_mode=mode, st_uid=user, st_gid=group)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, SimpleNamespace]:
    """Files that are not root's own and closed."""
    known: dict[str, SimpleNamespace] = {}
    monkeypatch.setattr(trusted_paths, "lstat", lambda path: known.get(path, status()))
    return known


def test_version_that_is_too_old() -> None:
    versions = [(3, 10), (3, 14), (4, 0)]
    assert {each: trouble_with_version(each) for each in versions} == dict.fromkeys(versions, "")
    for version in ((2, 7), (3, 6), (3, 9)):
        found = ".".join(map(str, version))
        assert trouble_with_version(version) == (
            f"Python {found} is too old: the worker needs 3.10 or later; "
            "choose another one: make PYTHON=/path/to/python3"
        ), version


def test_path_that_others_cannot_change(known: dict[str, SimpleNamespace]) -> None:
    assert trouble_with_paths(Path("/usr/bin/python3.11"), Path("/usr/lib/python3.11/os.py")) == ""
    # Everybody keeps his own there.
    known["/tmp"] = status(mode=stat.S_IFDIR | 0o1777)
    assert trouble_with_paths(Path("/tmp/python/bin/python3")) == ""
    # Of root's group.
    known["/opt"] = status(mode=SHARED, group=0)
    assert trouble_with_paths(Path("/opt/python/bin/python3")) == ""


@pytest.mark.parametrize(
    ("path", "description", "writer"),
    [
        ("/opt/python/bin/python3", {"user": 4000000}, "user 4000000"),
        ("/opt/python/bin", {"user": 65534}, f"user {pwd.getpwuid(65534).pw_name}"),
        ("/opt/python/bin", {"mode": stat.S_IFDIR | 0o757}, "everybody (mode 0757)"),
        # Who is in it is not listed.
        ("/opt/python", {"mode": SHARED, "group": 65534}, f"group {NOGROUP} (mode 2775)"),
        ("/opt/python/bin/python3", {"mode": 0o775, "group": 4000000}, "group 4000000 (mode 0775)"),
        ("/opt", {"mode": stat.S_IFDIR | 0o1777, "user": 4000000}, "user 4000000"),
    ],
)
def test_path_that_others_may_change(
    known: dict[str, SimpleNamespace], path: str, description: dict[str, int], writer: str
) -> None:
    known[path] = status(**description)
    assert trouble_with_paths(Path("/opt/python/bin/python3")) == (
        f"{path} may be changed by {writer}, and the worker runs as root; "
        "choose another one: make PYTHON=/path/to/python3"
    )


def test_links_on_the_way_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real" / "bin").mkdir(parents=True)
    (tmp_path / "real" / "bin" / "python3").touch()
    (tmp_path / "python").symlink_to("real")
    (tmp_path / "link").symlink_to(tmp_path / "python" / "bin" / "python3")
    steps = steps_to(str(tmp_path / "link"))
    names = ("link", "python", "python/bin/python3", "real")
    assert {"/", str(tmp_path), *(str(tmp_path / name) for name in names)} <= set(steps)


def test_every_path_is_looked_at(known: dict[str, SimpleNamespace]) -> None:
    known["/opt/other"] = status(user=4000000)
    paths = [Path("/opt/python/bin"), Path("/opt/other/bin"), Path("/opt/python/lib")]
    for each in (paths, paths[::-1]):
        assert trouble_with_paths(*each).startswith("/opt/other may be changed by user 4000000")


def test_links_out_of_folders_that_were_looked_at_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "trusted").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "module").touch()
    (tmp_path / "python" / "link").symlink_to("../other/module")

    def said(path: str) -> SimpleNamespace:
        mode = Path(path).lstat().st_mode & ~(stat.S_IWGRP | stat.S_IWOTH)
        return status(mode, user=4000000 if Path(path).name == "other" else 0)

    monkeypatch.setattr(trusted_paths, "lstat", said)
    paths = [tmp_path / "python" / "trusted", tmp_path / "python" / "link"]
    assert "other may be changed by user 4000000" in trouble_with_paths(*paths)
    assert trouble_with_paths(*paths[:1]) == ""


def test_links_that_lead_in_a_circle_come_to_an_end(tmp_path: Path) -> None:
    (tmp_path / "here").symlink_to("there")
    (tmp_path / "there").symlink_to("here")
    assert {str(tmp_path / "here"), str(tmp_path / "there")} <= set(steps_to(f"{tmp_path}/here"))


def test_absolute_path_needs_no_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert list(steps_to("/")) == ["/"]


@pytest.fixture
def open_python(tmp_path: Path) -> Path:
    """A Python that everybody could replace."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "python3").symlink_to("/usr/bin/python3")
    folder.chmod(0o777)
    return folder / "python3"


@pytest.mark.parametrize("target", ["install", "deb", "rpm"])
def test_make_refuses_before_it_builds(tmp_path: Path, open_python: Path, target: str) -> None:
    environment = {name: text for name, text in os.environ.items() if not name.startswith("MAKE")}
    words = ("make", target, f"PYTHON={open_python}", f"DESTDIR={tmp_path / 'root'}")
    done = ended(*words, cwd=PROJECT, env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    check_refusal(done.stderr.splitlines()[0], open_python)
    assert not (tmp_path / "root").exists()


def test_script_of_a_packager_refuses_too_and_takes_away_by_any_python(
    tmp_path: Path, open_python: Path
) -> None:
    def run(action: str) -> subprocess.CompletedProcess[str]:
        return ended(
            *(open_python, PROJECT / "scripts" / "install_environment.py", action),
            *("--destdir", tmp_path / "root", "--environment", "/opt/spank_qrmi"),
            *("--plugindir", "/opt", "--sysconfdir", "/etc", "--prefix", "/usr"),
            *("--wheel", "any.whl", "--pip", open_python),
        )

    done = run("install")
    assert done.returncode == 1
    check_refusal(done.stderr, open_python)
    assert not (tmp_path / "root").exists()
    nothing = f"error: nothing is installed in {tmp_path}/root/opt/spank_qrmi\n"
    assert run("uninstall").stderr == nothing


def check_refusal(error: str, python: Path) -> None:
    assert error.startswith(f"error: {python}: {python.parents[1]}")
    assert "may be changed by" in error
    assert error.rstrip().endswith(
        "the worker runs as root; choose another one: make PYTHON=/path/to/python3"
    )
