# SPDX-License-Identifier: GPL-3.0-or-later
"""`make soak ATTACK=1`: one user's jobs, whose endpoint refuses or hangs, against all others.

Prints what they have left in the journal, and what that costs whoever reads and releases it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from loopback.cluster import SlurmCluster
from loopback.errors import ClusterError
from loopback.hostile_service import HostileService, orphan_of
from loopback.installation import Installation
from loopback.site import Site
from loopback.waiting import wait_until
from spank_qrmi.state.journal import Journal
from spank_qrmi.state.quota import MOST_OF_USER

QPU = "--qpu=ibm_sherbrooke"
JOBS_AT_ONCE = 8
QUEUE_SECONDS = 300.0
RELEASE_SECONDS = 20
STATUS_SECONDS = 10.0
LARGEST_ENTRY_BYTES = 16 * 1024
VARIABLES, VARIABLE_BYTES = 7, 115_000
HOSTILE_UID = 1001


class Attack:
    """One attack on a running cluster and site; `folder` takes the journal."""

    def __init__(
        self, cluster: SlurmCluster, site: Site, installation: Installation, folder: Path
    ) -> None:
        self._cluster = cluster
        self._site = site
        self._installation = installation
        self._state_directory = folder / "journal"
        self._problems: list[str] = []

    def run(self, jobs: int, hanging: int) -> list[str]:
        """Print the figures; return what must not be, in words."""
        words = (
            *("optional", self._installation.plugin, self._site.config_path),
            *(f"--state-dir={self._state_directory}", "--release-timeout=4", "--usage=none"),
        )
        self._cluster.write_plugstack(" ".join(map(str, words)))
        with HostileService(hangs=False) as service:
            self._fill(jobs, service)
            self._look(jobs)
        with HostileService(hangs=True) as service:
            self._hold_up(hanging, service)
        return self._problems

    def _fill(self, jobs: int, service: HostileService) -> None:
        """Run jobs that export much, whose sessions cannot be closed."""
        exported = {f"ibm_sherbrooke_{key}": value for key, value in service.values.items()}
        exported |= {
            f"ibm_sherbrooke_QRMI_{number}": "x" * VARIABLE_BYTES for number in range(VARIABLES)
        }
        for _ in range(jobs):
            wait_until(
                self._cluster.queue,
                QUEUE_SECONDS,
                "room for another job",
                accept=lambda queue: len(queue) < JOBS_AT_ONCE,
            )
            self._cluster.submit("true", QPU, "--no-requeue", env=exported)
        self._cluster.wait_for_empty_queue(QUEUE_SECONDS)

    def _look(self, jobs: int) -> None:
        sizes = [path.stat().st_size for path in self._state_directory.glob("*.json")]
        print(f"entries of {jobs} jobs   {len(sizes)}, {sum(sizes)} bytes, largest {max(sizes)}")
        self._demand(len(sizes) <= MOST_OF_USER, f"{len(sizes)} entries of one user")
        self._demand(max(sizes) <= LARGEST_ENTRY_BYTES, "a large entry")
        started = time.monotonic()
        status = self._command("status", "--json")
        seconds = time.monotonic() - started
        shown = len(json.loads(status.stdout)["entries"]) if status.returncode == 0 else 0
        print(f"status                {shown} entries in {seconds:.2f} s")
        self._demand(shown == len(sizes) and seconds < STATUS_SECONDS, "status fails or is slow")
        state = self._cluster.submit("true", QPU).wait().state
        print(f"job at the site       {state}, {len(self._site.open_sessions())} sessions open")
        self._demand(state == "COMPLETED" and not self._site.open_sessions(), "a job at the site")

    def _hold_up(self, hanging: int, service: HostileService) -> None:
        """Leave entries that hang, and two that do not, and release them as the timer does."""
        values = self._site.environment_of("ibm_sherbrooke")
        host = os.uname().nodename
        entries = [
            orphan_of(number, HOSTILE_UID, service.values, "t", host=host, is_users=True)
            for number in range(hanging)
        ]
        entries += [
            orphan_of(
                10_000_000 + number,
                *(0, values, self._site.open_session_of_a_user("ibm_sherbrooke")),
                host=host,
                is_users=False,
            )
            for number in range(2)
        ]
        for entry in entries:
            with Journal(self._state_directory).begin(entry):
                pass
        started = time.monotonic()
        self._command("release", "--orphaned", "--due", f"--timeout={RELEASE_SECONDS}")
        left = len(self._site.open_sessions())
        seconds = time.monotonic() - started
        print(f"{hanging} entries that hang  release in {seconds:.1f} s, {left} others left open")
        self._demand(not left, "what another user has left is still open")

    def _demand(self, is_well: bool, problem: str) -> None:
        if not is_well:
            self._problems.append(problem)

    def _command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        program = self._installation.environment / "bin" / "spank-qrmi"
        state = f"--state-dir={self._state_directory}"
        return self._cluster.run(str(program), *words, state, check=False)


def main() -> int:
    """Run the attack on a cluster of its own; return 1 if it did harm."""
    parser = argparse.ArgumentParser(prog="make soak ATTACK=1")
    parser.add_argument("--jobs", type=int, default=464)
    parser.add_argument("--hanging", type=int, default=72)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="spank-qrmi-attack-", dir="/tmp"))
    folder.chmod(0o755)
    installation = Installation(folder)
    installation.make("install")
    with Site(folder) as site, SlurmCluster(folder / "cluster") as cluster:
        try:
            problems = Attack(cluster, site, installation, folder).run(
                options.jobs, options.hanging
            )
        except ClusterError as error:
            problems = [str(error)]
    installation.make("uninstall")
    if problems:
        print("make soak ATTACK=1: this must not be:", *problems, f"logs: {folder}", sep="\n")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
