# SPDX-License-Identifier: GPL-3.0-or-later
"""Credentials of this process's user, by which services with the site's MUNGE key know it.

Whoever has one is taken for that user, so root's are made for a call, and for no longer than it may
take. munge(1) makes them; no text of an error, and no log, holds one.
"""

import math
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import CredentialError
from spank_qrmi.redaction import printable
from spank_qrmi.trust.paths import trouble_with

FOLDERS: Sequence[str] = ("/usr/bin", "/bin", "/usr/local/bin")
"""Where the command may be; a PATH could lead to another one."""

LONGEST_SECONDS = 5.0
"""How long one credential may take: a munged that hangs lets munge(1) try for 10 s."""

_LONGEST_LIFE_SECONDS = 300
"""munged's own default."""

_CLOCKS_APART_SECONDS = 60
"""How much a service's clock may differ from the node's: a credential's life is that of both."""

_VARIABLES = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
_NO_MUNGED = 6  # EMUNGE_SOCKET of munge.h
_CREDENTIAL = re.compile(r"MUNGE:[A-Za-z0-9+/=]{1,4096}:")
_LONGEST_SHOWN = 200


@dataclass(frozen=True)
class Munge:
    """The node's MUNGE; `socket` is its munged's, None for the usual one."""

    socket: str | None = None

    def make(self, count: int, deadline: Deadline) -> list[str]:
        """Return so many new credentials of an empty payload; each proves us once.

        Raises CredentialError that says in one line why there are none.
        """
        if count == 0:
            return []
        program = _find_program()
        return [self._make_one(program, deadline) for _ in range(count)]

    def _make_one(self, program: str, deadline: Deadline) -> str:
        left_seconds = deadline.remaining_seconds()
        if left_seconds <= 0:
            raise CredentialError("no time is left to make a MUNGE credential")
        life_seconds = min(_LONGEST_LIFE_SECONDS, math.ceil(left_seconds) + _CLOCKS_APART_SECONDS)
        command = [program, "--no-input", f"--ttl={life_seconds}"]
        if self.socket is not None:
            command.append(f"--socket={self.socket}")
        try:
            ended = subprocess.run(  # noqa: S603 (root's own program, with words of root's)
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                cwd="/",
                env=_VARIABLES,
                timeout=min(LONGEST_SECONDS, left_seconds),
                check=False,
            )
        except subprocess.TimeoutExpired:
            # Its text would hold what came until then.
            raise CredentialError(f"{self._silent_text()} in time: restart it") from None
        except OSError as error:
            raise CredentialError(f"{program} cannot be started: {error.strerror}") from error
        if ended.returncode == _NO_MUNGED:
            raise CredentialError(
                f"{self._silent_text()}: start it, or name its socket by --munge-socket= in "
                "plugstack.conf"
            )
        credential = ended.stdout.decode("ascii", "replace").strip()
        if ended.returncode != 0 or not _CREDENTIAL.fullmatch(credential):
            raise CredentialError(f"{program} made no credential{_reason_in(ended.stderr)}")
        return credential

    def _silent_text(self) -> str:
        place = "its usual socket" if self.socket is None else self.socket
        return f"munged does not answer at {place}"


def _find_program() -> str:
    """Return the command's path; raise CredentialError if there is none that root may start."""
    paths = (f"{folder}/munge" for folder in FOLDERS)
    program = next((path for path in paths if os.access(path, os.X_OK)), None)
    if program is None:
        raise CredentialError(
            f"no munge on this node: install it, so that {FOLDERS[0]}/munge is there"
        )
    if os.geteuid() == 0 and (trouble := trouble_with([program])):
        raise CredentialError(trouble)
    return program


def _reason_in(standard_error: bytes) -> str:
    lines = standard_error.decode("utf-8", "replace").strip().splitlines()
    return f": {printable(lines[0][:_LONGEST_SHOWN])}" if lines else ""
