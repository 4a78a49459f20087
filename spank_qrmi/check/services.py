# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs beside slurmd: the units of systemd, and the server that has workers ready."""

import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from spank_qrmi.check.finding import Finding, doubtful, right, wrong
from spank_qrmi.check.node import Node
from spank_qrmi.configuration.common_plugstack import (
    DEFAULT_WORKER_SERVER,
    WORKER_SERVER,
    last_value,
)
from spank_qrmi.worker.server import START, STARTED

_TARGET = "spank-qrmi.target"
_TIMER = "spank-qrmi-release.timer"
_SOCKET = "spank-qrmi-worker-server.socket"
_RELEASE = "spank-qrmi-release.service"
_ENABLE = f"systemctl enable --now {_TARGET}"
_BOOTED = Path("/run/systemd/system")
"""Is there where systemd is the first process: sd_booted(3)."""

_SYSTEMCTL_SECONDS = 10
# As the plugin: plugin/worker_server.pxd.
_SERVER_SECONDS = 5.0
_CREDENTIALS = struct.Struct("3i")
_ROOT = 0


def check_units(node: Node) -> Iterator[Finding]:
    """Look whether systemd releases what is left behind, and has the worker server."""
    if not _BOOTED.is_dir():
        yield right(
            "no systemd runs here: spank-qrmi release --orphaned does what its timer does elsewhere"
        )
        return
    units = _states_of(_TARGET, _TIMER, _SOCKET, _RELEASE)
    target = units.get(_TARGET, {})
    if target.get("LoadState") == "not-found" and _named_server(node) is not None:
        yield right(f"{_TARGET}: is no unit here; plugstack.conf names a worker server of your own")
    elif target.get("UnitFileState") != "enabled":
        state = target.get("UnitFileState") or target.get("LoadState") or "not known"
        yield doubtful(
            f"{_TARGET}: is {state}: nothing is released after a crash or outage", _ENABLE
        )
    else:
        for name in (_TIMER, _SOCKET):
            state = units.get(name, {}).get("ActiveState", "not known")
            if state != "active":
                yield doubtful(f"{name}: is {state}", f"systemctl restart {_TARGET}")
        if units.get(_RELEASE, {}).get("ActiveState") == "failed":
            yield doubtful(f"{_RELEASE}: has failed", f"journalctl -u {_RELEASE}")
        yield right(f"{_TARGET}: is enabled")


def _states_of(*units: str) -> dict[str, dict[str, str]]:
    """Return properties of units by their names; nothing if systemd does not answer."""
    found = {}
    for block in _systemctl(*units).split("\n\n"):
        pairs = dict(line.partition("=")[::2] for line in block.splitlines())
        found[pairs.get("Id", "")] = pairs
    return found


def _systemctl(*units: str) -> str:
    command = ["systemctl", "show", "--property=Id,LoadState,ActiveState,UnitFileState", *units]
    try:
        printed = subprocess.run(  # noqa: S603 (fixed words, looked for in fixed folders)
            command,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SYSTEMCTL_SECONDS,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return printed.decode("utf-8", "replace")


def _named_server(node: Node) -> str | None:
    for line in node.lines:
        named = last_value(line.arguments, WORKER_SERVER.name)
        if named is not None:
            return named
    return None


def check_worker_server(node: Node) -> Iterator[Finding]:
    """Look whether the server gives workers: one is taken, and ends unused."""
    named = _named_server(node)
    path = DEFAULT_WORKER_SERVER if named is None else named
    if path == "none":
        yield right("no worker server is asked: --worker-server=none")
        return
    interpreter = next(filter(None, map(node.interpreter, node.lines)), None)
    if interpreter is None:
        return
    start = _ENABLE if named is None else f"spank-qrmi worker-server --socket {path}"
    try:
        uid, is_started = _ask_for_worker(path, interpreter)
    except OSError as error:
        if named is None and not _BOOTED.is_dir():
            yield right(f"{path}: no worker server: slurmstepd starts each worker itself")
        else:
            reason = error.strerror or error
            yield doubtful(f"{path}: no worker server ({reason}): jobs wait a moment longer", start)
        return
    if uid != _ROOT:
        yield wrong(f"{path}: is served by user {uid}", "end that process, and remove the socket")
    elif not is_started:
        yield doubtful(
            f"{path}: gives no worker for {interpreter}: jobs start their own, and wait for it",
            "end the server: it may run in an environment that was replaced",
        )
    else:
        yield right(f"{path}: has workers ready")


def _ask_for_worker(path: str, interpreter: Path) -> tuple[int, bool]:
    """Return which user serves, and whether a worker was started; raise OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.settimeout(_SERVER_SECONDS)
        server.connect(path)
        credentials = server.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, uid, _ = _CREDENTIALS.unpack(credentials)
        if uid != _ROOT:
            return uid, False
        ours, theirs = socket.socketpair()
        with ours, theirs, Path(os.devnull).open("wb") as nothing:
            order = START + os.fsencode(interpreter)
            socket.send_fds(server, [order], [theirs.fileno(), nothing.fileno()])
            theirs.close()
            is_started = server.recv(1) == STARTED
        if is_started:
            # It tells how the worker has ended, to which nothing was said.
            with suppress(OSError):
                server.recv(16)
        return uid, is_started
