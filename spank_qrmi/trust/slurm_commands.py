# SPDX-License-Identifier: GPL-3.0-or-later
"""Running scontrol and sacctmgr as root: which program, with what environment, and for how long."""

import os
import selectors
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import ConfigError, SlurmError
from spank_qrmi.redaction import printable
from spank_qrmi.trust.files import check_trusted

USUAL_FOLDERS = (Path("/usr/bin"), Path("/usr/local/bin"), Path("/opt/slurm/bin"))
"""Where Slurm's commands usually are."""

COMMAND_SECONDS = 15.0
"""Longer than a slurmctld that answers takes; one that is gone is told of sooner, or never."""

MOST_OUTPUT_BYTES = 32 * 1024 * 1024

_CHUNK_BYTES = 65536
_LONGEST_COMPLAINT = 300
# Times are told in UTC. A site's own settings of a user's commands do not count.
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


class SlurmTimeoutError(SlurmError):
    """A command did not end in time: others would not either."""


class SlurmCommands:
    """Slurm's commands in one folder, None: in a usual one.

    They read `slurm_conf`, empty for the file that we would. With a deadline all of them end by it.
    """

    def __init__(
        self, folder: Path | None = None, *, slurm_conf: str = "", deadline: Deadline | None = None
    ) -> None:
        self._folders = USUAL_FOLDERS if folder is None else (folder,)
        self._slurm_conf = slurm_conf
        self._deadline = deadline

    def run(self, program: str, *arguments: str) -> str:
        """Return what a command prints; raise SlurmError with its complaint if it fails.

        Arguments are handed over as they are: there is no shell.
        """
        command = [str(self._path_of(program)), *arguments]
        what = " ".join([program, *arguments[:2]])
        seconds = COMMAND_SECONDS
        if self._deadline is not None:
            seconds = min(seconds, self._deadline.remaining_seconds())
        if seconds <= 0:
            raise SlurmTimeoutError(f"{what}: no time was left for it")
        try:
            process = subprocess.Popen(  # noqa: S603 (a path that was checked)
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**_ENVIRONMENT, **self._own_variables()},
                cwd="/",
            )
        except OSError as error:
            raise SlurmError(f"{what}: cannot be started: {error.strerror}") from error
        try:
            output, complaint = _read_all(process, what, seconds)
            status = process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise _timeout(what, seconds) from error
        finally:
            process.kill()
            process.wait()
            for stream in filter(None, (process.stdout, process.stderr)):
                stream.close()
        if status != 0:
            raise SlurmError(f"{what}: {_line_of(complaint) or f'ended with status {status}'}")
        return output.decode("utf-8", "replace")

    def _path_of(self, program: str) -> Path:
        path = next(filter(Path.is_file, (each / program for each in self._folders)), None)
        if path is None:
            folders = ", ".join(map(str, self._folders))
            raise SlurmError(f"there is no {program} in {folders}")
        try:
            check_trusted(path)
        except ConfigError as error:
            raise SlurmError(f"{program} is not run as root: {error}") from error
        return path

    def _own_variables(self) -> dict[str, str]:
        named = self._slurm_conf or os.environ.get("SLURM_CONF")
        return {"SLURM_CONF": named} if named else {}


def _read_all(process: subprocess.Popen[bytes], what: str, seconds: float) -> Sequence[bytes]:
    """Return all that a process writes to its two pipes."""
    ends_at = time.monotonic() + seconds
    texts = {pipe: bytearray() for pipe in (process.stdout, process.stderr) if pipe is not None}
    with selectors.DefaultSelector() as selector:
        for pipe in texts:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, ends_at - time.monotonic()))
            if not ready:
                raise _timeout(what, seconds)
            for key, _ in ready:
                chunk = os.read(key.fd, _CHUNK_BYTES)
                if not chunk:
                    selector.unregister(key.fileobj)
                    continue
                texts[key.fileobj] += chunk  # type: ignore[index]
            if sum(map(len, texts.values())) > MOST_OUTPUT_BYTES:
                raise SlurmError(f"{what}: printed more than {MOST_OUTPUT_BYTES} bytes")
    return [bytes(text) for text in texts.values()]


def _timeout(what: str, seconds: float) -> SlurmTimeoutError:
    return SlurmTimeoutError(f"{what}: did not end within {seconds:.0f} s")


def _line_of(complaint: bytes) -> str:
    text = " ".join(complaint.decode("utf-8", "replace").split())
    return printable(text[:_LONGEST_COMPLAINT])
