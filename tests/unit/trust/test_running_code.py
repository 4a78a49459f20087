# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that others than root could change are not for a process of root's."""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from spank_qrmi.errors import UntrustedPathError
from spank_qrmi.trust import running_code
from tests.unit.trust.test_files import NOBODY, give_away, needs_root


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with one module, which are all that is imported."""
    package = tmp_path / "package"
    package.mkdir()
    for name in ("module.py", "module.pyc"):
        (package / name).touch()
    module = SimpleNamespace(
        __file__=str(package / "module.py"), __cached__=str(package / "module.pyc")
    )
    process = SimpleNamespace(
        executable="/usr/bin/env",
        path=[str(tmp_path), str(tmp_path / "missing")],
        modules={"package.module": module, "sys": SimpleNamespace()},
    )
    monkeypatch.setattr(running_code, "sys", process)
    return package


def open_to_a_group(path: Path) -> None:
    os.chown(path, 0, NOBODY)
    path.chmod(0o775)


def open_to_all(path: Path) -> None:
    path.chmod(path.stat().st_mode | 0o002)


def assert_refused_once(change: Callable[[], object], text: str) -> None:
    running_code.refuse_untrusted_code()
    change()
    with pytest.raises(UntrustedPathError, match=text):
        running_code.refuse_untrusted_code()


@needs_root
@pytest.mark.parametrize(
    ("change", "who"),
    [
        (give_away, f"user (nobody|{NOBODY})"),
        (open_to_a_group, r"group \w+ \(mode 0775\)"),
        (open_to_all, r"everybody \(mode 0\d+\)"),
        # A sticky bit keeps nobody from adding or writing.
        (lambda path: path.chmod(0o1777), r"everybody \(mode 1777\)"),
    ],
)
@pytest.mark.parametrize("name", ["", "module.py", "module.pyc"])
def test_package_that_others_may_change(
    package: Path, name: str, change: Callable[[Path], None], who: str
) -> None:
    expected = f"^{package / name} may be changed by {who}, and the worker runs as root: remove it"
    assert_refused_once(lambda: change(package / name), expected)


def test_byte_code_that_was_never_written(package: Path) -> None:
    module = running_code.sys.modules["package.module"]
    module.__cached__ = str(package / "__pycache__" / "module.pyc")
    running_code.refuse_untrusted_code()


def test_without_root_anything_goes(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_to_all(package)
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    running_code.refuse_untrusted_code()


@needs_root
def test_link_or_interpreter_that_others_may_change(package: Path, tmp_path: Path) -> None:
    interpreter, elsewhere = tmp_path / "python", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (package / "module.py").rename(elsewhere / "module.py")
    (package / "module.py").symlink_to(elsewhere / "module.py")
    assert_refused_once(lambda: give_away(elsewhere), f"^{elsewhere} may be changed by user ")
    os.chown(elsewhere, 0, 0)
    interpreter.touch()
    running_code.sys.executable = str(interpreter)  # type: ignore[attr-defined]
    assert_refused_once(lambda: give_away(interpreter), f"^{interpreter} may be changed by user ")
