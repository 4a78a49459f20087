# SPDX-License-Identifier: GPL-3.0-or-later
"""IBM backends: their status, and the snapshots of real machines in qiskit-ibm-runtime.

The snapshots are read as the files they are: importing the package takes more than a second.
"""

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import orjson

DEFAULT_MODEL = "torino"
"""The machine that a backend is like whose name is none of qiskit-ibm-runtime's fake backends."""


LANES_PER_BACKEND = 5

WORKING_STATUSES = frozenset({"active", "online"})
"""Lower-case statuses in which a backend runs jobs."""


@dataclass
class Backend:
    """An IBM backend and its status, in the words of the API that offers it.

    While it holds jobs, they start and stay in the state Running. `message` is the service's own
    word about it; only the Quantum System API knows of locks and lanes.
    """

    name: str
    status: str
    holds_jobs: bool = False
    message: str = ""
    locked: bool = False
    lanes: int = LANES_PER_BACKEND

    def is_working(self) -> bool:
        """Return whether the backend runs jobs now."""
        return self.status.lower() in WORKING_STATUSES


class NoSnapshotError(Exception):
    """qiskit-ibm-runtime, or its snapshots of machines, are not installed."""


def model_of(backend_name: str) -> str:
    """Return which machine's snapshot describes the backend; raise NoSnapshotError."""
    name = backend_name.removeprefix("ibm_")
    is_plain = name.isascii() and name.isalnum()
    return name if is_plain and (_snapshots() / name).is_dir() else DEFAULT_MODEL


def configuration(backend_name: str) -> dict[str, object]:
    """Return the backend's configuration as the services send it; raise NoSnapshotError."""
    return _document(backend_name, "conf")


def properties(backend_name: str) -> dict[str, object]:
    """Return the backend's properties as the services send them; raise NoSnapshotError."""
    return _document(backend_name, "props")


def _document(backend_name: str, kind: str) -> dict[str, object]:
    model = model_of(backend_name)
    return {**_read(_snapshots() / model / f"{kind}_{model}.json"), "backend_name": backend_name}


@lru_cache(maxsize=16)
def _read(path: Path) -> dict[str, object]:
    try:
        document: dict[str, object] = orjson.loads(path.read_bytes())
    except OSError as error:
        raise NoSnapshotError(str(error)) from error
    return document


def _snapshots() -> Path:
    found = importlib.util.find_spec("qiskit_ibm_runtime")
    if found is None or found.origin is None:
        raise NoSnapshotError("qiskit-ibm-runtime is not installed")
    return Path(found.origin).parent / "fake_provider" / "backends"
