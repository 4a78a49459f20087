# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting the plugins that this package carries where Slurm finds them, and taking them away.

The commands get links where users find them, beside their manual pages. Beside the plugins goes
`spank_qrmi.python`, a link whose text is this environment's interpreter: that is how a plugin finds
its worker. What was written is listed in the environment itself, so that exactly that can be taken
away.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from spank_qrmi.errors import QrmiError
from spank_qrmi.trust.running_code import INTERPRETER_LINK

# Units and packages call it in sbin, which users need not have in their PATH.
_COMMANDS = (("bin", "qrun"), ("bin", "spank-qrmi"), ("sbin", "spank-qrmi"))


class InstallationError(QrmiError):
    """The plugins cannot be put in place or taken away."""


@dataclass(frozen=True)
class Places:
    """The folders into which an installation goes.

    Below `prefix` lie the commands, their manual pages and the systemd units.
    """

    plugins: Path = Path("/usr/lib64/slurm")
    configuration: Path = Path("/etc/slurm")
    prefix: Path = Path("/usr/local")

    @property
    def log_rotation(self) -> Path:
        """Where logrotate looks, for a configuration below /etc; else a folder beside that.

        logrotate's own configuration has to include such a one.
        """
        folders = (self.configuration, *self.configuration.parents)
        system = next((each for each in folders if each.name == "etc"), self.configuration)
        return system / "logrotate.d"


def install_plugins(places: Places, root: Path) -> list[Path]:
    """Install plugins, links and what goes with them below `root`; return what was written.

    Each file and link is replaced at once by a new one: running jobs keep the plugin that they
    have loaded, and a worker that starts meanwhile is a whole one. Raises InstallationError.
    """
    plugins = sorted(Path(__file__).parents[1].glob("plugin/*.so"))
    if not plugins:
        raise InstallationError("this package carries no plugins: install it from its wheel")
    inside = Places(*(_below(root, folder) for folder in astuple(places)))
    written: list[Path] = []
    try:
        known = _read_records_over(inside, root)
        try:
            for plugin in plugins:
                target = inside.plugins / plugin.name
                written += _write_file(plugin.read_bytes(), target, 0o755)
            for source, target in _shared_files(inside):
                text = source.read_text()
                for word, folder in _placeholders(places).items():
                    text = text.replace(word, str(folder))
                # What is copied from it will hold secrets.
                mode = 0o600 if ".json" in target.suffixes else 0o644
                written += _write_file(text.encode(), target, mode)
            written.append(
                _replace_link(interpreter_below(root), inside.plugins / INTERPRETER_LINK)
            )
            for place, name in _COMMANDS:
                command = interpreter_below(root).with_name(name)
                written += _link_command(command, inside.prefix / place / name, known, root)
            _remove_former(known, written, inside.plugins, root)
        finally:
            # Half an installation must be possible to take away as well.
            _record(known, (Path("/", path.relative_to(root)) for path in written))
    except OSError as error:
        raise InstallationError(f"cannot write {error.filename}: {error.strerror}") from error
    return written


def uninstall_plugins(root: Path) -> list[Path]:
    """Take away what `install_plugins` wrote below `root`; return it. Raises InstallationError."""
    removed = []
    try:
        # Folders are listed before what is in them.
        for path in (_below(root, each) for each in reversed(_read_record(Path(sys.prefix)))):
            if remove(path):
                removed.append(path)
        _record_path(Path(sys.prefix)).unlink(missing_ok=True)
    except OSError as error:
        raise InstallationError(f"cannot remove {error.filename}: {error.strerror}") from error
    return removed


def count_files(paths: Sequence[Path], root: Path) -> tuple[int, list[Path]]:
    """Return how many of these paths are no folders of others, and few folders that hold all those.

    Below `root`, what shares two components, as `/usr/local`, is told by one folder.
    """
    folders = {path.parent for path in paths}
    files = [path for path in paths if path not in folders]
    groups: dict[tuple[str, ...], list[Path]] = {}
    for path in files:
        groups.setdefault(path.parent.relative_to(root).parts[:2], []).append(path.parent)
    return len(files), [Path(os.path.commonpath(group)) for group in groups.values()]


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


def interpreter_below(root: Path) -> Path:
    """Return this environment's interpreter as it will be called once `root` is the system's."""
    interpreter = Path(sys.executable)
    if root != Path("/") and interpreter.is_relative_to(root):
        return Path("/", interpreter.relative_to(root))
    return interpreter


def _shared_files(places: Places) -> list[tuple[Path, Path]]:
    """Return what the environment carries for other folders, with its place there."""
    share = Path(sys.prefix, "share", "spank-qrmi")
    plugstack = places.configuration / "plugstack.conf.d" / "spank_qrmi.conf.example"
    files = [
        (share / "qrmi_config.json.example", places.configuration / "qrmi_config.json.example"),
        (share / "plugstack.conf.example", plugstack),
    ]
    for page in sorted(share.glob("man/*")):
        files.append((page, places.prefix / "share" / "man" / f"man{page.suffix[1:]}" / page.name))
    for rule in sorted(share.glob("logrotate/*")):
        files.append((rule, places.log_rotation / rule.name))
    for unit in sorted(share.glob("systemd/*")):
        files.append((unit, places.prefix / "lib" / "systemd" / "system" / unit.name))
    return files


def _placeholders(places: Places) -> dict[str, Path]:
    return {
        "@PLUGINDIR@": places.plugins,
        "@SYSCONFDIR@": places.configuration,
        "@SBINDIR@": places.prefix / "sbin",
    }


def _write_file(content: bytes, target: Path, mode: int) -> list[Path]:
    created = make_directories(target.parent)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(descriptor, mode)
        Path(temporary).replace(target)
    except OSError:
        Path(temporary).unlink()
        raise
    return [*created, target]


def _replace_link(text: Path, target: Path) -> Path:
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
        link = Path(scratch, target.name)
        link.symlink_to(text)
        link.replace(target)
    return target


def _link_command(text: Path, target: Path, known: Iterable[Path], root: Path) -> list[Path]:
    """Make a command reachable, unless it already lies there; never replace somebody else's."""
    if target == Path(sys.executable).with_name(target.name):
        return []
    created = make_directories(target.parent)
    is_there = target.is_symlink() or target.exists()
    is_ours = Path("/", target.relative_to(root)) in known or (
        target.is_symlink() and target.readlink() == text
    )
    if is_there and not is_ours:
        raise InstallationError(
            f"{target} is somebody else's: remove it, or choose another prefix for commands"
        )
    return [*created, _replace_link(text, target)]


def _remove_former(known: list[Path], written: list[Path], plugins: Path, root: Path) -> None:
    """Remove, and forget, libraries of another release that this one does not have.

    Called last: a step may have loaded a plugin of that release just before it was replaced, and
    then loads that plugin's libraries.
    """
    for path in list(known):
        target = _below(root, path)
        if target.parent == plugins and target.suffix == ".so" and target not in written:
            remove(target)
            known.remove(path)


def _record_path(environment: Path) -> Path:
    return environment / "share" / "spank-qrmi" / "installed.json"


def _record(known: Iterable[Path], paths: Iterable[Path]) -> None:
    """Remember what was written, now or by an earlier installation over which this one went."""
    names = dict.fromkeys(str(path) for path in [*known, *paths])
    _record_path(Path(sys.prefix)).write_text(json.dumps(list(names)))


def _read_records_over(places: Places, root: Path) -> list[Path]:
    """Return what this environment has written, and the one whose links lie where ours will."""
    links = [places.plugins / INTERPRETER_LINK]
    links += [places.prefix / folder / name for folder, name in _COMMANDS]
    recorded = _read_record(Path(sys.prefix))
    for link in links:
        if link.is_symlink():
            earlier = _read_record(_below(root, link.readlink()).parents[1])
            if Path("/", link.relative_to(root)) in earlier:
                recorded += earlier
    return list(dict.fromkeys(recorded))


def _read_record(environment: Path) -> list[Path]:
    record = _record_path(environment)
    try:
        return [Path(name) for name in json.loads(record.read_bytes())]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except ValueError as error:
        raise InstallationError(f"{record} cannot be read: {error}") from error
