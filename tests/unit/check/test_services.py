# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs beside slurmd is found as it is: units as systemd says, the server by a worker."""

import os
import socket
import sys
from pathlib import Path

import pytest

from spank_qrmi.check import services
from tests.unit.check.conftest import CheckedNode
from tests.unit.served_workers import silent_server, worker_server

TARGET, TIMER = "spank-qrmi.target", "spank-qrmi-release.timer"
SOCKET, RELEASE = "spank-qrmi-worker-server.socket", "spank-qrmi-release.service"


@pytest.fixture
def systemd(node: CheckedNode, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What systemd says of units, by their names; it does not answer for none."""
    monkeypatch.setattr(services, "_BOOTED", node.folder)
    said = dict.fromkeys((TARGET, TIMER, SOCKET), "loaded active enabled")
    said[RELEASE] = "loaded inactive static"

    def answer(*_: str) -> str:
        names = ("LoadState", "ActiveState", "UnitFileState")
        blocks = [
            [f"Id={unit}", *map("=".join, zip(names, words.split(), strict=False))]
            for unit, words in said.items()
        ]
        return "\n\n".join(map("\n".join, blocks))

    monkeypatch.setattr(services, "_systemctl", answer)
    return said


def test_units(node: CheckedNode, systemd: dict[str, str]) -> None:
    for unit, words, expected in (
        (RELEASE, "loaded inactive static", None),
        (TARGET, "loaded inactive disabled", "is disabled: nothing is released after"),
        (TARGET, "not-found inactive", "is not-found"),
        (TIMER, "loaded inactive static", "is inactive"),
        (SOCKET, "loaded failed static", "is failed"),
        (RELEASE, "loaded failed static", "has failed"),
    ):
        usual, systemd[unit] = systemd[unit], words
        told = [each for each in node.told("units") if not each.startswith("right ")]
        systemd[unit] = usual
        assert len(told) == (expected is not None), (unit, words)
        assert all(each.startswith(f"doubtful {unit}: {expected}") for each in told), told
    # It may not answer.
    systemd.clear()
    [told] = node.told("units")
    assert told.startswith(f"doubtful {TARGET}: is not known")


def test_units_are_not_missed_where_the_server_is_the_sites_own(
    node: CheckedNode, systemd: dict[str, str]
) -> None:
    systemd[TARGET] = "not-found inactive"
    node.write_plugstack(node.line("--worker-server=none"))
    [told] = node.told("units")
    assert told.startswith("right ")
    [told] = node.told("worker server")
    assert told == "right no worker server is asked: --worker-server=none"


@pytest.fixture
def served(node: CheckedNode, open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A server that has workers of this environment ready; its socket."""
    real = Path(sys.prefix, "bin", "python")
    node.link.unlink()
    node.link.symlink_to(real)
    monkeypatch.setattr(sys, "executable", str(real))
    path = open_folder / "socket"
    node.write_plugstack(node.line(f"--worker-server={path}"))
    return path


def test_server_gives_workers_of_its_own_environment(node: CheckedNode, served: Path) -> None:
    with worker_server(served.parent):
        for _ in range(2):
            told = node.told("worker server")
            assert told == [f"right {served}: has workers ready"]
        node.link.unlink()
        node.link.symlink_to(node.interpreter)
        [other] = node.told("worker server")
    assert other.startswith(f"doubtful {served}: gives no worker for {node.interpreter}")


def test_server_that_does_not_answer(
    node: CheckedNode, served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "_SERVER_SECONDS", 0.2)
    with silent_server(served):
        [told] = node.told("worker server")
    assert told == f"doubtful {served}: no worker server (timed out): jobs wait a moment longer"


def test_server_of_another_user_is_wrong(node: CheckedNode, served: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(served))
        served.chmod(0o777)
        # Who listens is who called listen(2): unix(7), SO_PEERCRED.
        os.seteuid(65534)
        try:
            listener.listen()
        finally:
            os.seteuid(0)
        [told] = node.told("worker server")
    assert told == f"wrong {served}: is served by user 65534"
