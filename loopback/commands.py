# SPDX-License-Identifier: GPL-3.0-or-later
"""Slurm's commands, run against one cluster, as root or as an ordinary user."""

import os
import pwd
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loopback.errors import CommandError
from loopback.processes import CLUSTER_MARK

# What an outer Slurm job, or a user's defaults for the commands, would leak into ours.
FOREIGN_PREFIXES = (
    "SLURM",
    "_SLURM",
    "SBATCH_",
    "SALLOC_",
    "SRUN_",
    "SPANK_",
    "SCANCEL_",
    "SINFO_",
    "SQUEUE_",
)
OUR_COMMAND = "spank-qrmi"


class Commands:
    """Runs commands with the environment that points them at one cluster."""

    def __init__(self, slurm_conf: Path, folder: Path) -> None:
        """Commands run in `folder`, which every user can enter.

        Their stderr is in `commands.log`, and all that `spank-qrmi` prints: it shows no secret.
        """
        self._folder = folder
        self._log = folder / "commands.log"
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(FOREIGN_PREFIXES)
        }
        self.environment["SLURM_CONF"] = str(slurm_conf)
        self.environment[CLUSTER_MARK] = str(folder)

    def run(
        self,
        *command: str,
        check: bool = True,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout_seconds: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; raise CommandError if it takes longer or (`check`) fails."""
        process = self.spawn(*command, user=user, env=env, cwd=cwd)
        try:
            stdout, stderr = process.communicate(timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, stderr = process.communicate()
            what = f"{' '.join(command)}: not done after {timeout_seconds:g} s"
            message = f"{what}\n{stdout}{stderr}"
            raise CommandError(message) from None
        except BaseException:
            process.kill()
            process.communicate()
            raise
        said = stdout + stderr if Path(command[0]).name == OUR_COMMAND else stderr
        if said:
            with self._log.open("a") as log:
                log.write(said)
        if check and process.returncode != 0:
            what = f"{' '.join(command)}: exit status {process.returncode}"
            message = f"{what}\n{stdout}{stderr}"
            raise CommandError(message)
        return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)

    def spawn(
        self,
        *command: str,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.Popen[str]:
        """Start a command and return it; the caller reads its output and reaps it."""
        environment = dict(self.environment)
        identity: dict[str, Any] = {}
        if user is not None:
            account = pwd.getpwnam(user)
            environment |= {"HOME": account.pw_dir, "USER": user, "LOGNAME": user}
            identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment | dict(env or {}),
            cwd=cwd or self._folder,
            umask=0o022,
            **identity,
        )
