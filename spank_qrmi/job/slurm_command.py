# SPDX-License-Identifier: GPL-3.0-or-later
"""Running scontrol as root: which program, with what environment, and for how long."""

import os
import subprocess
from pathlib import Path

from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import ConfigError, SlurmError
from spank_qrmi.redaction import printable
from spank_qrmi.trust.files import check_trusted

USUAL_FOLDERS = (Path("/usr/bin"), Path("/usr/local/bin"), Path("/opt/slurm/bin"))
"""Where Slurm's commands usually are."""

# A site's own settings of a user's commands do not count.
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
_LONGEST_COMPLAINT = 300


def run_scontrol(deadline: Deadline, slurm_conf: str, *arguments: str) -> str:
    """Return what scontrol prints; raise SlurmError with its complaint if it fails.

    Arguments are handed over as they are: there is no shell.
    """
    environment = dict(_ENVIRONMENT)
    named = slurm_conf or os.environ.get("SLURM_CONF")
    if named:
        environment["SLURM_CONF"] = named
    what = f"scontrol {arguments[0]}"
    if deadline.has_passed():
        raise SlurmError(f"{what}: no time was left for it")
    try:
        done = subprocess.run(  # noqa: S603 (a path that was checked)
            [_path_of_scontrol(), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environment,
            cwd="/",
            timeout=deadline.remaining_seconds(),
            check=False,
        )
    except OSError as error:
        raise SlurmError(f"{what}: cannot be started: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{what}: did not end in time") from error
    if done.returncode != 0:
        complaint = " ".join(done.stderr.decode("utf-8", "replace").split())
        text = printable(complaint[:_LONGEST_COMPLAINT])
        raise SlurmError(f"{what}: {text or f'ended with status {done.returncode}'}")
    return done.stdout.decode("utf-8", "surrogateescape")


def _path_of_scontrol() -> str:
    path = next(filter(Path.is_file, (each / "scontrol" for each in USUAL_FOLDERS)), None)
    if path is None:
        raise SlurmError(f"there is no scontrol in {', '.join(map(str, USUAL_FOLDERS))}")
    try:
        check_trusted(path)
    except ConfigError as error:
        raise SlurmError(f"scontrol is not run as root: {error}") from error
    return str(path)
