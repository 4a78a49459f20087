# SPDX-License-Identifier: GPL-3.0-or-later
"""The service `spank-qrmi monitor` of one cluster, as an administrator runs it."""

import itertools
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess

from loopback.cluster import SlurmCluster
from loopback.installation import Installation
from loopback.processes import Daemon

_NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class MonitorCommand:
    """The command on one cluster, with options that each call of it gets."""

    cluster: SlurmCluster
    installation: Installation
    folder: Path
    options: Sequence[str] = field(default=())

    def run(self, *options: str, check: bool = False) -> CompletedProcess[str]:
        """Run it to its end; raise CommandError if it (`check`) fails."""
        return self.cluster.run(*self._words, *options, check=check)

    @contextmanager
    def running(self, *options: str) -> Iterator["RunningMonitor"]:
        """Have it running; it ends as systemd ends it."""
        running = self.start(*options)
        try:
            yield running
        finally:
            running.stop()

    def start(self, *options: str) -> "RunningMonitor":
        """Start it."""
        log = self.folder / f"monitor-{next(_NUMBERS)}.log"
        words = [*self._words, *options]
        return RunningMonitor(Daemon("monitor", words, log, self.cluster.environment))

    @property
    def _words(self) -> list[str]:
        program = self.installation.environment / "bin" / "spank-qrmi"
        return [str(program), "monitor", *self.options]


@dataclass(frozen=True)
class RunningMonitor:
    """A monitor that was started."""

    daemon: Daemon

    @property
    def lines(self) -> list[str]:
        """What it has logged so far."""
        return self.daemon.said.splitlines()

    def kill(self) -> None:
        """End it as a crash does."""
        self.daemon.stop(signal.SIGKILL)

    def stop(self) -> None:
        """End it as systemd does."""
        self.daemon.stop()
