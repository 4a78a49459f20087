# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose MUNGE credential it is, and whether it is still good: asked of munged by unmunge(1)."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field

LONGEST_SECONDS = 10.0
_PROBLEMS = {15: "expired", 16: "expired", 17: "replayed"}  # The codes of munge.h.


@dataclass(frozen=True)
class Decoded:
    """What a credential tells: `uid`, and why it is not good, empty if it is."""

    uid: int = -1
    problem: str = ""


Decode = Callable[[str], Decoded]
"""Reads a credential, each but once."""

UNDECODABLE = Decoded(problem="undecodable")


@dataclass(frozen=True)
class Unmunge:
    """Asks the munged of this machine, at its usual socket if it has no `socket`."""

    socket: str | None = None

    def __call__(self, credential: str) -> Decoded:
        """Read a credential."""
        command = ["unmunge", "--no-output", "--numeric", "--keys=STATUS,UID", "--metadata=-"]
        if self.socket is not None:
            command.append(f"--socket={self.socket}")
        try:
            ended = subprocess.run(  # noqa: S603 (its input is no argument)
                command,
                input=credential.encode("ascii", "replace"),
                capture_output=True,
                timeout=LONGEST_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return UNDECODABLE
        told = dict(
            line.split(":", 1) for line in ended.stdout.decode().splitlines() if ":" in line
        )
        uid = told.get("UID", "").strip()
        if ended.returncode == 0 and uid.isdecimal():
            return Decoded(int(uid))
        return Decoded(problem=_PROBLEMS.get(ended.returncode, UNDECODABLE.problem))


@dataclass
class AnyMunge:
    """Takes every text that looks like a credential for one of root's: where no munged runs."""

    seen: set[str] = field(default_factory=set)

    def __call__(self, credential: str) -> Decoded:
        """Read a credential."""
        if not credential.startswith("MUNGE:") or not credential.endswith(":"):
            return UNDECODABLE
        if credential in self.seen:
            return Decoded(problem="replayed")
        self.seen.add(credential)
        return Decoded(0)
