# SPDX-License-Identifier: GPL-3.0-or-later
"""What Slurm's own files say of this node: plugstack.conf, and values of slurm.conf.

They are read as slurmd reads them (spank(8), slurm.conf(5)), so that no argument of plugstack.conf
has to be given twice.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from spank_qrmi.errors import ConfigError
from spank_qrmi.numbers_in_text import parse_number

USUAL_FOLDERS = (
    *("etc/slurm", "etc/slurm-llnl", "usr/local/etc", "usr/local/etc/slurm", "opt/slurm/etc"),
    # Where a node has its copy that slurmctld hands out the configuration to.
    *("run/slurm/conf", "var/spool/slurmd/conf-cache", "var/spool/slurm/d/conf-cache"),
)
"""Where slurm.conf may be without SLURM_CONF."""

MODES = ("required", "optional")
"""How a line of plugstack.conf begins that loads a plugin."""

LONGEST_LINE_BYTES = 4095
"""slurmd cuts a longer one of plugstack.conf in two."""

_MOST_INCLUDES = 16
_LONGEST_SECONDS = 65533
_COMMENT = re.compile(r"(?<!\\)#.*")
_CONTINUED = re.compile(r"\\\n")
_PAIR = re.compile(r'(?P<key>[A-Za-z]\w*)\s*=\s*(?:"(?P<quoted>[^"]*)"|(?P<plain>\S*))')
_INCLUDE = re.compile(r"\s*include\s+(?P<path>\S+)", re.IGNORECASE)


@dataclass(frozen=True)
class PluginLine:
    """One line of plugstack.conf; `place` is its file and number, `arguments` may hold secrets."""

    place: str
    is_required: bool
    path: str
    arguments: tuple[str, ...] = field(repr=False)

    @property
    def library(self) -> str:
        """The plugin's file name."""
        return PurePath(self.path).name


@dataclass(frozen=True)
class TextLine:
    """One line of plugstack.conf as it is written; it may hold secrets."""

    file: Path
    number: int
    text: str = field(repr=False)

    @property
    def place(self) -> str:
        """Its file and number."""
        return f"{self.file}:{self.number}"

    @property
    def words(self) -> list[str]:
        """What slurmd makes of it: a comment begins anywhere, even in a word."""
        return self.text.partition("#")[0].split()

    @property
    def is_include(self) -> bool:
        """Whether it names other files."""
        return self.words[:1] == ["include"] and len(self.words) > 1


def find_slurm_conf() -> Path | None:
    """Return the slurm.conf that SLURM_CONF names, else one where it usually is."""
    return next((path for path in _slurm_confs(Path("/")) if path.is_file()), None)


def _slurm_confs(root: Path) -> list[Path]:
    """Return where slurm.conf may be; the one that is named stands alone."""
    named = os.environ.get("SLURM_CONF")
    return [Path(named)] if named else [root / each / "slurm.conf" for each in USUAL_FOLDERS]


def read_slurm_conf(path: Path) -> dict[str, str]:
    """Return the values of slurm.conf by their keys in lower case; of several the last counts.

    Lines of nodes and partitions are there too, as if each key stood alone. Raises ConfigError.
    """
    values: dict[str, str] = {}
    _add_values(values, path, path.parent, _MOST_INCLUDES)
    return values


def _add_values(values: dict[str, str], path: Path, folder: Path, includes_left: int) -> None:
    """Add what a file says; what it includes is in `folder`, that of slurm.conf."""
    for line in _CONTINUED.sub("", _read(path)).splitlines():
        text = _COMMENT.sub("", line)
        include = _INCLUDE.match(text)
        if include is None:
            for pair in _PAIR.finditer(text):
                values[pair["key"].lower()] = pair["quoted"] or pair["plain"] or ""
        elif includes_left:
            name = include["path"].replace("%c", values.get("clustername", ""))
            _add_values(values, folder / name, folder, includes_left - 1)


def epilog_seconds(slurm_conf: Path) -> int | None:
    """Return how long Slurm lets an epilog take before it drains the node, None: as it likes.

    EpilogTimeout is Slurm's from 25.05 on. Raises ConfigError.
    """
    values = read_slurm_conf(slurm_conf)
    limits = (values.get(key, "") for key in ("epilogtimeout", "prologepilogtimeout"))
    return next(filter(None, (parse_number(each, _LONGEST_SECONDS) for each in limits)), None)


def find_plugstack(slurm_conf: Path, root: Path = Path("/")) -> Path:
    """Return the path of the plugstack.conf that slurm.conf leads to; raise ConfigError.

    What files name is below `root`.
    """
    named = read_slurm_conf(slurm_conf).get("plugstackconfig") if slurm_conf.is_file() else None
    return _below(root, slurm_conf.parent, named or "plugstack.conf")


def plugstack_of_node(named: Path | None = None) -> Path | None:
    """Return the plugstack.conf of this node, or the one that is named; raise ConfigError.

    None where there is no slurm.conf to lead to one.
    """
    slurm_conf = find_slurm_conf()
    return named or (find_plugstack(slurm_conf) if slurm_conf else None)


def read_plugstacks(root: Path) -> list[PluginLine]:
    """Return the plugins' lines of every plugstack.conf that a Slurm below `root` may read."""
    paths = dict.fromkeys(find_plugstack(each, root).resolve() for each in _slurm_confs(root))
    return [line for path in paths for line in read_plugstack(path, root)]


def read_plugstack(path: Path, root: Path = Path("/")) -> list[PluginLine]:
    """Return the plugins' lines in the order in which they are loaded; raise ConfigError.

    A file that is not there is an empty one, to Slurm too; one that includes itself counts once.
    """
    lines = [
        PluginLine(line.place, mode == "required", library, tuple(arguments))
        for line in walk_plugstack(path, root)
        for mode, library, *arguments in [line.words]
        if mode in MODES
    ]
    return list(dict.fromkeys(lines))


def walk_plugstack(path: Path, root: Path = Path("/")) -> Iterator[TextLine]:
    """Yield every line of two words or more, as slurmd comes by it; raise ConfigError.

    The lines of an included file follow the one that includes it.
    """
    if path.exists():
        yield from _walk(path, root, _MOST_INCLUDES)


def _walk(path: Path, root: Path, includes_left: int) -> Iterator[TextLine]:
    for number, text in enumerate(_read(path).splitlines(), start=1):
        line = TextLine(path, number, text)
        if len(line.words) > 1:
            yield line
        if line.is_include and includes_left:
            for included in included_files(line, root):
                yield from _walk(included, root, includes_left - 1)


def included_files(line: TextLine, root: Path = Path("/")) -> list[Path]:
    """Return the files that an `include` names."""
    return _files_like(_below(root, line.file.absolute().parent, line.words[1]))


def _below(root: Path, folder: Path, name: str) -> Path:
    """Return the place of what a file in `folder` names, in the system below `root`."""
    return root / name.lstrip("/") if name.startswith("/") else folder / name


def _files_like(pattern: PurePath) -> list[Path]:
    """Return what glob(3) finds: no hidden file."""
    found = Path("/").glob(str(pattern.relative_to("/")))
    return sorted(path for path in found if not path.name.startswith("."))


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "surrogateescape")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
