# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting the plugins that this package carries where Slurm finds them, and taking them away.

Beside the plugins goes `spank_qrmi.python`, a link whose text is this environment's interpreter:
that is how a plugin finds its worker. What was written is listed in the environment itself, so that
exactly that can be taken away.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import orjson

from spank_qrmi.errors import QrmiError

INTERPRETER_LINK = "spank_qrmi.python"
EXAMPLE_NAME = "qrmi_config.json.example"


class InstallationError(QrmiError):
    """The plugins cannot be put in place or taken away."""


def install_plugins(plugin_directory: Path, config_directory: Path, root: Path) -> list[Path]:
    """Install plugins, link and example configuration below `root`; return what was written.

    A library in use is replaced by a new file, so that running jobs keep the one they have loaded.
    Raises InstallationError.
    """
    libraries = sorted(Path(__file__).parent.glob("plugin/*.so"))
    if not libraries:
        raise InstallationError("this package carries no plugins: install it from its wheel")
    plugins, configs = _below(root, plugin_directory), _below(root, config_directory)
    written: list[Path] = []
    try:
        try:
            for directory in (plugins, configs):
                written += make_directories(directory)
            for library in libraries:
                written.append(_replace_file(library, plugins / library.name, 0o755))
            written.append(_replace_link(_interpreter(root), plugins / INTERPRETER_LINK))
            example = Path(sys.prefix, "share", "spank-qrmi", EXAMPLE_NAME)
            written.append(_replace_file(example, configs / EXAMPLE_NAME, 0o644))
        finally:
            # Half an installation must be possible to take away as well.
            _record(Path("/", path.relative_to(root)) for path in written)
    except OSError as error:
        message = f"cannot write {error.filename}: {error.strerror}"
        raise InstallationError(message) from error
    return written


def uninstall_plugins(root: Path) -> list[Path]:
    """Take away what `install_plugins` wrote below `root`; return it. Raises InstallationError."""
    removed = []
    try:
        # Folders are listed before what is in them.
        for path in (_below(root, each) for each in reversed(_recorded())):
            if remove(path):
                removed.append(path)
        _record_path().unlink(missing_ok=True)
    except OSError as error:
        message = f"cannot remove {error.filename}: {error.strerror}"
        raise InstallationError(message) from error
    return removed


def make_directories(directory: Path) -> list[Path]:
    """Create a folder with its parents; return those that were not there, outermost first."""
    missing = [each for each in (directory, *directory.parents) if not each.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


def remove(path: Path) -> bool:
    """Remove a file or an empty folder; return False for what is gone or still in use by others."""
    if path.is_dir() and not path.is_symlink():
        if any(path.iterdir()):
            return False
        path.rmdir()
        return True
    if not path.is_symlink() and not path.exists():
        return False
    path.unlink()
    return True


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to(path.anchor)


def _interpreter(root: Path) -> Path:
    """Return this environment's interpreter as it will be called once `root` is the system's."""
    interpreter = Path(sys.executable)
    if root != Path("/") and interpreter.is_relative_to(root):
        return Path("/", interpreter.relative_to(root))
    return interpreter


def _replace_file(source: Path, target: Path, mode: int) -> Path:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(descriptor)
    try:
        shutil.copyfile(source, temporary)
        Path(temporary).chmod(mode)
        Path(temporary).replace(target)
    except OSError:
        Path(temporary).unlink()
        raise
    return target


def _replace_link(text: Path, target: Path) -> Path:
    temporary = target.with_name(f".{target.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(text)
    temporary.replace(target)
    return target


def _record_path() -> Path:
    return Path(sys.prefix, "share", "spank-qrmi", "installed.json")


def _record(paths: Iterable[Path]) -> None:
    """Remember what was written, now or by an earlier installation over which this one went."""
    known = dict.fromkeys([*_recorded(), *paths])
    _record_path().write_bytes(orjson.dumps([str(path) for path in known]))


def _recorded() -> list[Path]:
    try:
        return [Path(name) for name in orjson.loads(_record_path().read_bytes())]
    except FileNotFoundError:
        return []
    except ValueError as error:
        message = f"{_record_path()} cannot be read: {error}"
        raise InstallationError(message) from error
