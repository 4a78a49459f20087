# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated QPU site as a process of its own, with the configuration that leads to it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import IO, Any
from urllib.request import ProxyHandler, Request, build_opener

from loopback.waiting import wait_until

READY_SECONDS = 30.0
STOP_SECONDS = 10.0
_READY = "ready "


class SimulatedSite:
    """`python -m spank_qrmi.simulator`: started on entry, ended on exit."""

    def __init__(self, folder: Path) -> None:
        self.config_path = folder / "qrmi_config.json"
        self.log_path = folder / "simulator.log"
        self.url = ""
        self._output_path = folder / "simulator.out"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "SimulatedSite":
        with self._output_path.open("wb") as output, self.log_path.open("wb") as log:
            self._process = _start(self.config_path, output, log)
        line = wait_until(self._ready_line, READY_SECONDS, "ready simulator")
        self.url = line.removeprefix(_READY).strip()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(STOP_SECONDS)

    def control(self, method: str, path: str, document: object = None) -> Any:
        """Make a request to the simulator's control interface; return its JSON, None if empty."""
        body = None if document is None else json.dumps(document).encode()
        request = Request(  # noqa: S310 (our own server on loopback)
            f"{self.url}/_simulator/{path}",
            data=body,
            method=method,
            headers={"Content-Type": "application/json"},
        )
        # No proxy of the environment may come between us and loopback.
        with build_opener(ProxyHandler({})).open(request, timeout=READY_SECONDS) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def sessions(self) -> list[dict[str, Any]]:
        """Return every session that was ever opened."""
        sessions: list[dict[str, Any]] = self.control("GET", "state")["sessions"]
        return sessions

    def _ready_line(self) -> str:
        if self._process is not None and self._process.poll() is not None:
            message = f"the simulator ended at once: {self.log_path.read_text()}"
            raise RuntimeError(message)
        text = self._output_path.read_text()
        return text if text.startswith(_READY) and text.endswith("\n") else ""


def _start(config_path: Path, output: IO[bytes], log: IO[bytes]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "spank_qrmi.simulator", "--write-config", str(config_path)],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=log,
    )
