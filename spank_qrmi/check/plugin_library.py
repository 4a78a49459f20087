# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plugin's file says of itself, read without loading it: its name and Slurm's release.

Slurm reads the same symbols once it has loaded it (spank.h, SPANK_PLUGIN). The file is ELF of 64
bits, in this machine's byte order (elf(5)).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spank_qrmi.errors import ConfigError

_LARGEST_BYTES = 16 * 1024 * 1024
_LARGEST_COUNT = 10_000
_LONGEST_NAME = 64
_MAGIC = b"\x7fELF\x02"
_PROGRAM = struct.Struct("=IIQQQQQQ")
_SECTION = struct.Struct("=IIQQQQIIQQ")
_SYMBOL = struct.Struct("=IBBHQQ")
_LOAD = 1
_DYNAMIC_SYMBOLS = 11


@dataclass(frozen=True)
class PluginLibrary:
    """The name that a plugin gives itself, and the release of Slurm that alone loads it."""

    name: str
    slurm_release: str


def read_library(path: Path) -> PluginLibrary:
    """Return what a plugin says of itself; raise ConfigError if it is none."""
    if not path.is_file():
        # To open a pipe would wait for its writer.
        raise ConfigError(f"{path}: is no regular file")
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES)
        symbols = dict(_symbols(content))
        name = content[(start := symbols[b"plugin_name"]) : start + _LONGEST_NAME]
        [version] = struct.unpack_from("=I", content, symbols[b"plugin_version"])
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (struct.error, KeyError, ValueError, OverflowError) as error:
        raise ConfigError(f"{path}: is no plugin of Slurm's") from error
    release = f"{version >> 16 & 0xFF:02}.{version >> 8 & 0xFF:02}"
    return PluginLibrary(name.partition(b"\0")[0].decode("ascii", "replace"), release)


def _symbols(content: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield each exported symbol with its place in the file; raise an error of `read_library`'s."""
    if not content.startswith(_MAGIC):
        raise ValueError("no ELF of 64 bits")
    loads = [each for each in _programs(content) if each[0] == _LOAD]
    sections = list(_sections(content))
    for section in sections:
        _, kind, _, _, offset, size, link, *_ = section
        if kind == _DYNAMIC_SYMBOLS and link < len(sections):
            names_at = sections[link][4]
            for number in range(min(size // _SYMBOL.size, _LARGEST_COUNT)):
                name, _, _, index, address, _ = _SYMBOL.unpack_from(
                    content, offset + number * _SYMBOL.size
                )
                place = _place_of(address, loads) if index else None
                if place is not None:
                    yield _text_at(content, names_at + name), place


def _programs(content: bytes) -> Iterator[tuple[int, ...]]:
    [start] = struct.unpack_from("=Q", content, 32)
    size, count = struct.unpack_from("=HH", content, 54)
    for number in range(count):
        yield _PROGRAM.unpack_from(content, start + number * size)


def _sections(content: bytes) -> Iterator[tuple[int, ...]]:
    [start] = struct.unpack_from("=Q", content, 40)
    size, count = struct.unpack_from("=HH", content, 58)
    for number in range(count):
        yield _SECTION.unpack_from(content, start + number * size)


def _text_at(content: bytes, place: int) -> bytes:
    return content[place : place + _LONGEST_NAME].partition(b"\0")[0]


def _place_of(address: int, loads: list[tuple[int, ...]]) -> int | None:
    """Return where in the file lies what is loaded to an address; None if nowhere."""
    for _, _, offset, start, _, size, *_ in loads:
        if start <= address < start + size:
            return offset + address - start
    return None
