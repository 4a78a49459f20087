# SPDX-License-Identifier: GPL-3.0-or-later
"""The search for secrets in all that a cluster has written: where they may be, and where they are.

Processes that must hold none are searched too.

A secret is one that the simulated site made up, or one that a test put where secrets belong: into a
configuration, an argument `--env:`, or the variables of a job that it submitted.
"""

import base64
import json
import mmap
import os
import re
import stat
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Any

from loopback.errors import LeakError
from spank_qrmi.redaction import is_secret_name

SHORTEST_SECRET_BYTES = 8
"""Shorter values are ordinary words: they would be found everywhere."""
SHOWN_BEFORE_BYTES = 60

# What tests have put there themselves, and Slurm's copies of a job's script and variables.
_CONFIGURATION = re.compile(r"(^|/)(qrmi_config|credentials|qrun)\.json$")
_PLUGSTACK = re.compile(r"(^|/)plugstack\.conf$")
_JOB_SCRIPT = re.compile(r"(^|/)(jobs/\d+/script|spool/[^/]+/job\d+/slurm_script)$")
_SUBMITTED = re.compile(r"(^|/)state/hash\.\d/job\.\d+/(environment|script)$")
_JOURNAL = re.compile(r"(^|/)journal/(tokens/)?[^/]+$")
# The simulated site is the vendors' own.
_VENDOR = re.compile(r"(^|/)simulator\.(console|log)$")
_OUTPUT = re.compile(r"(^|/)jobs/\d+/stdout$")
# Where a test lets a program write its variables, which it then looks at.
_PRINTED = re.compile(r"(^|/)env-[^/]+$")
# Pages cut what they hold: the rows are searched (tests/slurm/test_accounting.py).
_DATABASE = re.compile(r"(^|/)database/")
_OPEN_PLACES = (_CONFIGURATION, _PLUGSTACK, _JOB_SCRIPT, _PRINTED, _VENDOR, _DATABASE)
_ROOTS_PLACES = (_SUBMITTED, _JOURNAL)
# The installed simulator knows its own secrets, and pip has written it all.
_PROGRAMS = {"site-packages"}
_GROWING = {".log", ".console"}
_ASKS_FOR_QPU = re.compile(rb"--qpu|--q-backend")

_ENV_ARGUMENT = re.compile(r"--env:([^=\s]+)=(\S+)")
_PASSWORD_IN_URL = re.compile(r"://[^/@\s]*:([^/@\s]+)@")


@dataclass(frozen=True)
class Leak:
    """A secret where none may be; `before` is the text that leads to it."""

    path: Path
    offset: int
    kind: str
    form: str
    before: str

    def __str__(self) -> str:
        """Describe the leak, but for the secret."""
        return (
            f"{self.path}: {self.kind} ({self.form}) at byte {self.offset}, after {self.before!r}"
        )


@dataclass(frozen=True)
class _Status:
    # Of content, owner or mode.
    changed_at_ns: int
    size_bytes: int


@dataclass(frozen=True)
class _File:
    """A file as it was found; `name` is its path below the folder that is searched."""

    name: str
    path: Path
    status: _Status


def forms_of(secret: str) -> dict[bytes, str]:
    """Return each spelling in which a secret may be written, with its name."""
    raw = secret.encode()
    in_json = json.dumps(secret)[1:-1]
    in_url = urllib.parse.quote(secret, safe="")
    forms = {
        raw: "as it is",
        in_json.encode(): "in JSON",
        in_json.replace("/", r"\/").encode(): "in JSON with escaped slashes",
        in_json.replace("/", r"\u002f").encode(): "in JSON with escaped slashes",
        in_json.replace("/", r"\u002F").encode(): "in JSON with escaped slashes",
        in_url.encode(): "in a URL",
        re.sub("%..", lambda match: match[0].lower(), in_url).encode(): "in a URL",
        urllib.parse.quote_plus(secret).encode(): "in a form",
        raw.hex().encode(): "in hexadecimal digits",
    }
    for shift in range(3):
        # Only the digits that no neighbour of the secret has a part in.
        start, end = -(-shift * 8 // 6), (shift + len(raw)) * 8 // 6
        encoded = base64.b64encode(bytes(shift) + raw)[start:end]
        forms[encoded] = "in Base64"
        forms[encoded.translate(bytes.maketrans(b"+/", b"-_"))] = "in Base64 of URLs"
    # What a secret without special characters looks like in several ways is named by the first.
    return forms | {raw: "as it is"}


class LeakSearch:
    """Finds the secrets in the files below a folder; one that has not changed is read only once."""

    def __init__(self, folder: Path, secrets: Mapping[str, str]) -> None:
        """Begin with these secrets, by their kind."""
        self._folder = folder
        self._kinds: dict[str, str] = {}
        self._forms: dict[bytes, tuple[str, str]] = {}
        self._known: dict[str, _Status] = {}
        for kind, secret in secrets.items():
            self._add(kind, secret)

    def check(self) -> None:
        """Raise LeakError if something was written since the last search that holds a secret."""
        if leaks := self.find():
            raise LeakError("\n".join(map(str, leaks)))

    def find(self) -> list[Leak]:
        """Return the leaks in what was written since the last search."""
        changed = [file for file in self._files() if self._known.get(file.name) != file.status]
        for file in changed:
            self._learn(file)
        leaks = [leak for file in changed for leak in self._leaks_in(file)]
        self._known |= {file.name: file.status for file in changed}
        return leaks

    def check_memory(self, pids: Iterable[int]) -> None:
        """Raise LeakError if one of these processes holds a secret."""
        if leaks := self.find_in_memory(pids):
            raise LeakError("\n".join(map(str, leaks)))

    def find_in_memory(self, pids: Iterable[int]) -> list[Leak]:
        """Return the secrets in the memory of processes, how they were called included."""
        return [
            leak
            for pid in pids
            for start, content in written_memory_of(pid)
            for leak in self._leaks_among(content, Path("/proc", str(pid), "mem"), start)
        ]

    def _add(self, kind: str, secret: str) -> None:
        if len(secret.encode()) < SHORTEST_SECRET_BYTES or secret in self._kinds:
            return
        self._kinds[secret] = kind
        for text, form in forms_of(secret).items():
            self._forms.setdefault(text, (kind, form))

    def _files(self) -> Iterator[_File]:
        for folder, folders, names in os.walk(self._folder):
            folders[:] = sorted(set(folders) - _PROGRAMS)
            for name in sorted(names):
                path = os.path.join(folder, name)  # noqa: PTH118 (there are thousands)
                if status := _status(path):
                    yield _File(path.removeprefix(f"{self._folder}/"), Path(path), status)

    def _learn(self, file: _File) -> None:
        for places, read in _READERS.items():
            if places.search(file.name):
                text = _content(file.path).decode(errors="replace")
                for variable, secret in _secrets_among(read(text)):
                    self._add(f"value of {variable}", secret)

    def _leaks_in(self, file: _File) -> Iterator[Leak]:
        if _may_hold_secrets(file):
            return
        known = self._known.get(file.name)
        # A log only grows, unless it was made anew.
        searched_bytes = known.size_bytes if known and file.path.suffix in _GROWING else 0
        if searched_bytes > file.status.size_bytes:
            searched_bytes = 0
        yield from self._leaks_among(_content(file.path), file.path, searched_bytes=searched_bytes)

    def _leaks_among(
        self, content: bytes, path: Path, start: int = 0, *, searched_bytes: int = 0
    ) -> Iterator[Leak]:
        """Find the secrets in what begins at `start` of a file."""
        for text, (kind, form) in self._forms.items():
            # Half of it may have been there before.
            offset = content.find(text, max(0, searched_bytes - len(text) + 1))
            if offset >= 0:
                shown = content[max(0, offset - SHOWN_BEFORE_BYTES) : offset]
                yield Leak(path, start + offset, kind, form, shown.decode(errors="replace"))


def written_memory_of(pid: int) -> Iterator[tuple[int, bytes]]:
    """Return all that a process may have written to memory, in pieces with their addresses.

    Its arguments and its environment are among them: they lie on its stack.
    """
    process = Path("/proc", str(pid))
    with process.joinpath("mem").open("rb", buffering=0) as memory:
        for line in process.joinpath("maps").read_text().splitlines():
            addresses, rights = line.split()[:2]
            if "w" in rights:
                start, end = (int(word, 16) for word in addresses.split("-"))
                yield from _read_between(memory, start, end)


def _read_between(memory: RawIOBase, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    while start < end:
        memory.seek(start)
        try:
            content = memory.read(end - start) or b""
        except OSError:
            # The guard of a thread's stack, which newer C libraries keep within its map.
            content = b""
        yield start, content
        start += len(content) or mmap.PAGESIZE


def _status(path: str) -> _Status | None:
    """Return what changes when a file does; nothing if it is gone, or is no file."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        # A running daemon's scratch file.
        return None
    return _Status(status.st_ctime_ns, status.st_size) if stat.S_ISREG(status.st_mode) else None


def _may_hold_secrets(file: _File) -> bool:
    if any(places.search(file.name) for places in _OPEN_PLACES):
        return True
    if any(places.search(file.name) for places in _ROOTS_PLACES):
        return _is_roots_alone(file.path)
    return bool(_OUTPUT.search(file.name)) and _asks_for_qpu(file.path.parent)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _is_roots_alone(path: Path) -> bool:
    """Tell whether nobody else can open the file, nor see that it is there; or it is gone."""
    try:
        statuses = path.lstat(), path.parent.lstat()
    except FileNotFoundError:
        return True
    return all(status.st_uid == 0 and not status.st_mode & 0o077 for status in statuses)


def _asks_for_qpu(job_folder: Path) -> bool:
    given = (_content(job_folder / name) for name in ("script", "options"))
    return any(_ASKS_FOR_QPU.search(text) for text in given)


def _secrets_among(variables: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for name, value in variables:
        if is_secret_name(name):
            yield name, value
        elif password := _PASSWORD_IN_URL.search(value):
            yield name, password[1]


def _secrets_in_configuration(text: str) -> Iterator[tuple[str, str]]:
    try:
        document = json.loads(text)
    except ValueError:
        # Some tests write nonsense on purpose.
        return
    yield from _pairs_in(document)


def _pairs_in(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, one in value.items():
            if isinstance(one, str):
                yield name, one
            else:
                yield from _pairs_in(one)
    elif isinstance(value, list):
        for one in value:
            yield from _pairs_in(one)


def _secrets_in_plugstack(text: str) -> Iterator[tuple[str, str]]:
    yield from _ENV_ARGUMENT.findall(text)


def _secrets_in_variables(text: str) -> Iterator[tuple[str, str]]:
    for variable in text.split("\0"):
        name, _, value = variable.partition("=")
        if "_QRMI_" in name or name.startswith("IBMQRUN_"):
            yield name, value


_READERS: Mapping[re.Pattern[str], Callable[[str], Iterator[tuple[str, str]]]] = {
    _CONFIGURATION: _secrets_in_configuration,
    _PLUGSTACK: _secrets_in_plugstack,
    _SUBMITTED: _secrets_in_variables,
}
