# SPDX-License-Identifier: GPL-3.0-or-later
"""The public `qrmi` client as users install it, each release in a virtual environment of its own.

They are kept in build/clients, so that only the first run has to download them.
"""

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

from loopback.errors import CommandError
from loopback.installation import REPOSITORY

CACHE = REPOSITORY / "build" / "clients"
LOG = REPOSITORY / "build" / "log" / "client.log"

# Release 0.18.0 imports a module that qiskit-ibm-runtime had up to 0.45.
REQUIREMENTS = {
    "0.18.0": ("qrmi[ibm,pasqal]==0.18.0", "qiskit-ibm-runtime<0.46"),
    "newest": ("qrmi[ibm,pasqal]",),
}


def is_installed(client: str) -> bool:
    """Tell whether a client's environment is there already."""
    ready = _ready_mark(client)
    return ready.exists() and ready.read_text() == _wanted(client)


def install_client(client: str) -> Path:
    """Return the folder with a client's `python`, which is made if it is not there yet.

    Raises CommandError if the client cannot be installed.
    """
    environment = CACHE / client
    programs = environment / "bin"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{client}.lock").open("w") as lock:
        # Several runs may want the client at the same time.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_installed(client):
            return programs
        shutil.rmtree(environment, ignore_errors=True)
        shown = ", ".join(REQUIREMENTS[client])
        _run(f"making {environment}", sys.executable, "-m", "venv", environment)
        pip = (programs / "python", "-m", "pip", "--disable-pip-version-check")
        _run(f"installing {shown}", *pip, "install", *REQUIREMENTS[client])
        _ready_mark(client).write_text(_wanted(client))
    return programs


def _ready_mark(client: str) -> Path:
    return CACHE / client / "ready"


def _wanted(client: str) -> str:
    return "\n".join(REQUIREMENTS[client])


def _run(text: str, *command: object) -> None:
    """Tell a step and how far it is, and run its command."""
    step = (sys.executable, REPOSITORY / "scripts" / "step.py", "--log", LOG, text)
    words = [str(word) for word in (*step, *command)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        try:
            errors = process.communicate()[1]
        except BaseException:
            # Killed, it could not end its command.
            process.terminate()
            raise
    if process.returncode != 0:
        raise CommandError(errors)
