# SPDX-License-Identifier: GPL-3.0-or-later
"""The public `qrmi` client as users install it, each release in a virtual environment of its own.

They are kept in build/clients, so that only the first run has to download them.
"""

import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path(__file__).parents[2] / "build" / "clients"

# Release 0.18.0 imports a module that qiskit-ibm-runtime had up to 0.45.
REQUIREMENTS = {
    "0.18.0": ("qrmi[ibm,pasqal]==0.18.0", "qiskit-ibm-runtime<0.46"),
    "newest": ("qrmi[ibm,pasqal]",),
}


def interpreter_of(client: str) -> Path:
    """Return the Python of a client's environment, which is made if it is not there yet."""
    environment = CACHE / client
    interpreter = environment / "bin" / "python"
    ready = environment / "ready"
    wanted = "\n".join(REQUIREMENTS[client])
    if ready.exists() and ready.read_text() == wanted:
        return interpreter
    shutil.rmtree(environment, ignore_errors=True)
    _run(sys.executable, "-m", "venv", environment)
    _run(interpreter, "-m", "pip", "install", "--quiet", *REQUIREMENTS[client])
    ready.write_text(wanted)
    return interpreter


def _run(*command: object) -> None:
    done = subprocess.run(
        [str(word) for word in command], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
