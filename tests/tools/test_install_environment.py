# SPDX-License-Identifier: GPL-3.0-or-later
"""How `make install` puts environments beside each other and switches between them."""

import os
import sys
import zipfile
from pathlib import Path

import pytest

from scripts import install_environment as install
from tests.tools.programs import ended, write_program

INFORMATION = Path("lib", "python3", "site-packages", "spank_qrmi-1.2.dist-info")


def make_environment(folder: Path, module: str = "value = {1, 2}\n") -> Path:
    for path in (folder / "bin", folder / INFORMATION, folder / "share" / "spank-qrmi"):
        path.mkdir(parents=True)
    (folder / "bin" / "qrun").write_text(f"#!{folder}/bin/python\n")
    (folder / "bin" / "python").symlink_to("/usr/bin/python3")
    (folder / "pyvenv.cfg").write_text(f"command = python3 -m venv {folder}\n")
    (folder / INFORMATION / "RECORD").write_text(f"../../../bin/qrun,sha256=of {folder},1\n")
    (folder / "lib" / "module.py").write_text(module)
    return folder


def test_name_depends_on_the_content_alone(tmp_path: Path) -> None:
    one = make_environment(tmp_path / "one")
    same = make_environment(tmp_path / "other" / "folder")
    different = make_environment(tmp_path / "two", module="value = 3\n")
    assert install.name_of(one) == install.name_of(same) != install.name_of(different)
    assert install.name_of(one).startswith("1.2-")


def test_environment_names_its_place_only(tmp_path: Path) -> None:
    # What pip writes where the path is too long for a first line, as that of a build may be.
    long = "#!/bin/sh\n'''exec' {mark}{path}/bin/python{mark} \"$0\" \"$@\"\n' '''\nimport sys\n"
    contents = []
    for staging in (tmp_path / "one", tmp_path / "second folder"):
        environment = make_environment(staging / "environment")
        scripts = environment / "bin"
        for name, mark in (("long", ""), ("quoted", '"')):
            (scripts / name).write_text(long.format(mark=mark, path=environment))
        install.finish(environment, Path("/opt/final"))
        contents.append(install.content(environment))
    assert contents[0] == contents[1]
    assert (scripts / "qrun").read_text() == "#!/opt/final/bin/python\n"
    for name in ("long", "quoted"):
        assert (scripts / name).read_text() == "#!/opt/final/bin/python\nimport sys\n"
    assert (environment / "pyvenv.cfg").read_text() == "command = python3 -m venv /opt/final\n"
    record = (environment / INFORMATION / "RECORD").read_text()
    assert record.startswith("../../../bin/qrun,sha256=")
    assert record.endswith(f",{len('#!/opt/final/bin/python') + 1}\n")
    [compiled] = environment.glob("lib/__pycache__/*.pyc")
    assert b"/opt/final/lib/module.py" in compiled.read_bytes()


def test_same_content_stays_where_it_is_and_changed_content_is_put_right(tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    new = make_environment(staging / "environment")
    target = make_environment(tmp_path / "target", module="broken")
    (target / install.RECORD_OF_PLUGINS).write_text("record")
    install.place(new, target, staging)
    assert (target / "lib" / "module.py").read_text() == "value = {1, 2}\n"
    assert (target / install.RECORD_OF_PLUGINS).read_text() == "record"
    before = {path: path.lstat().st_ino for path in target.rglob("*")}
    new.symlink_to(target)  # The very same.
    install.place(new, target, tmp_path)
    assert {path: path.lstat().st_ino for path in target.rglob("*")} == before


def test_switching_and_forgetting(tmp_path: Path) -> None:
    assert install.current(tmp_path) == ""
    for name in ("1-a", "2-b", "3-c", ".new-left-over"):
        (tmp_path / name).mkdir()
    (tmp_path / install.CREATED).write_text("")
    for name in ("2-b", "3-c"):
        install.switch(tmp_path, name)
        assert install.current(tmp_path) == name
    install.forget_others(tmp_path, {"3-c", "2-b"})
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"2-b", "3-c", install.CURRENT, install.CREATED}


def test_folders_that_were_not_there_are_noted_once(tmp_path: Path) -> None:
    folder = tmp_path / "usr" / "lib" / "spank_qrmi"
    install.remember_folders(tmp_path, folder)
    install.remember_folders(tmp_path, folder)
    assert (folder / install.CREATED).read_text() == "usr/lib/spank_qrmi\nusr/lib\nusr\n"


def test_installation_says_what_is_left_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(install, "install", lambda *_: None)
    monkeypatch.setattr(install, "refuse_open_folder", lambda _: None)
    monkeypatch.setattr(os, "umask", lambda _: 0)
    for root, prefix, expected in (
        ("/", "/usr", f"{install.HINT}\n"),
        ("/", "/usr/local", f"{install.HINT}\n"),
        ("/", "/opt/qpu", ""),
        (str(tmp_path), "/usr", ""),
    ):
        command = ["install.py", "install", "--destdir", root, "--environment", "/e"]
        command += ["--plugindir", "/p", "--sysconfdir", "/s", "--prefix", prefix]
        monkeypatch.setattr(sys, "argv", command)
        install.main()
        assert capsys.readouterr().out == expected, (root, prefix)


def test_lock_is_the_wheels_own_without_which_nothing_is_installed(tmp_path: Path) -> None:
    wheel = tmp_path / "spank_qrmi-1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("spank_qrmi/__init__.py", "code")
    with pytest.raises(SystemExit, match=f"carries no {install.LOCK}: name a wheel "):
        install.lock_of(wheel)
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr(f"spank_qrmi-1.2.data/data/{install.LOCK}", "the lock")
    assert install.lock_of(wheel) == b"the lock"


def test_file_with_another_hash_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dependency-1-py3-none-any.whl").write_bytes(b"of somebody")
    lock = f"dependency==1 --hash=sha256:{'0' * 64}\n"
    monkeypatch.setattr(install, "lock_of", lambda _: lock.encode())
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(SystemExit):
        install.make_environment(tmp_path / "environment", tmp_path / "unused", sys.executable)
    assert "DO NOT MATCH THE HASHES" in capfd.readouterr().err
    assert not list(tmp_path.glob("environment/lib/*/site-packages/dependency*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="an installation of root's")
def test_folder_that_a_group_may_change_is_refused(tmp_path: Path) -> None:
    local = tmp_path / "local"
    local.mkdir()
    os.chown(local, 0, 65534)
    local.chmod(0o2775)
    with pytest.raises(SystemExit) as caught:
        install.refuse_open_folder(local / "lib" / "spank_qrmi")
    line = str(caught.value)
    assert line.startswith(f"error: {local} may be changed by group ")
    assert line.endswith(
        "(mode 2775), and the worker runs as root: choose another PREFIX, or remove what others "
        "may have put there and let only root write"
    )
    local.chmod(0o755)
    install.refuse_open_folder(local / "lib" / "spank_qrmi")


def test_files_are_listed_on_request(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "VERBOSE"}
    for variables, option in (([], ""), (["VERBOSE=1"], " --verbose")):
        for target in ("install", "uninstall"):
            words = ("make", "--dry-run", target, *variables)
            done = ended(*words, cwd=install.step.LOGS.parents[1], env=environment)
            assert (done.returncode, "--verbose" in done.stdout) == (0, bool(option)), target
        folder = tmp_path / "spank_qrmi"
        write_program(folder / "1-a" / "bin" / "python", f'echo "$*" >{tmp_path}/called')
        (folder / install.CURRENT).symlink_to("1-a")
        install.uninstall(Path("/"), folder, is_verbose=bool(option))
        assert (tmp_path / "called").read_text() == f"-I -m spank_qrmi uninstall --root /{option}\n"


def test_uninstall_leaves_all_in_place_while_something_is_in_the_way(tmp_path: Path) -> None:
    interpreter = write_program(tmp_path / "1-a" / "bin" / "python", "exit 1")
    (tmp_path / install.CURRENT).symlink_to("1-a")
    with pytest.raises(SystemExit) as caught:
        install.uninstall(Path("/"), tmp_path)
    assert caught.value.code == 1
    assert interpreter.exists()
