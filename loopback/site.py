# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated QPU site as a process of its own, and its control endpoints."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from loopback.processes import Daemon
from loopback.waiting import wait_until
from spank_qrmi.clients import qrun_variables as qrun_names
from spank_qrmi_simulator.site import APP_ID_CLIENT_ID, APP_ID_SECRET
from spank_qrmi_simulator.vendors import VENDORS

START_SECONDS = 60.0
# A job that is cancelled while it is suspended ends after KillWait.
RELEASE_SECONDS = 120.0

SECRETS = {kind: text for vendor in VENDORS for kind, text in vendor.secrets.items()}
"""A text that is in every secret of a kind, and nowhere else."""


class Site:
    """A running simulator; `config_path` is the qrmi_config.json that makes plugins use it."""

    def __init__(
        self,
        folder: Path,
        *,
        munge_socket: Path | None = None,
        program: Sequence[str] = ("-m", "spank_qrmi_simulator"),
    ) -> None:
        """Start it, with its files in `folder`, and wait until it answers.

        At `munge_socket` listens the munged that reads what Warden is sent.
        `program` is what Python runs: the simulator, or one with the same behaviour.
        """
        self.config_path = folder / "qrmi_config.json"
        self._process = Daemon(
            "simulator",
            [
                *(sys.executable, *program),
                *("--write-config", str(self.config_path)),
                *(() if munge_socket is None else ("--munge-socket", str(munge_socket))),
            ],
            folder / "simulator.log",
            os.environ,
        )
        self.url = wait_until(self._announced_url, START_SECONDS, "ready simulator")
        # A proxy of the machine is not meant for loopback.
        self._client = httpx.Client(base_url=f"{self.url}/_simulator", trust_env=False)

    def __enter__(self) -> "Site":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process."""
        self._client.close()
        self._process.stop()

    def reset(self) -> None:
        """Forget sessions, requests and faults; every backend is as at the start."""
        self._post("/reset")

    def order_fault(self, kind: str, path: str, **details: object) -> None:
        """Let a fault strike every request whose path matches, or as often as `times` says."""
        self._post("/faults", {"kind": kind, "path": path, "times": None} | details)

    def clear_faults(self) -> None:
        """Withdraw all faults."""
        self._client.delete("/faults").raise_for_status()

    def set_backend_status(self, name: str, status: str) -> None:
        """Change the status that the site gives of a backend or device."""
        self.change_backend(name, status=status)

    def change_backend(self, name: str, **changes: object) -> None:
        """Change what the site says of a backend, device, quantum computer or target."""
        self._post(f"/backends/{name}", changes)

    def warden_orders(self) -> dict[str, dict[str, Any]]:
        """Return for which user and job each session of Warden was opened, by its id."""
        return dict(self._state()["warden_orders"])

    def hold_jobs(self, backend: str) -> None:
        """Let the jobs of an IBM backend start, and stay in the state Running."""
        self.change_backend(backend, holds_jobs=True)

    def sessions(self) -> list[dict[str, Any]]:
        """Return all sessions since the last reset, oldest first."""
        return list(self._state()["sessions"])

    def quantum_jobs(self) -> list[str]:
        """Return the ids of the jobs of Direct Access that nobody has deleted, oldest first."""
        return [each["id"] for each in self._state()["jobs"] if each["kind"] == "direct-access"]

    def qrun_arguments(self) -> tuple[str, ...]:
        """Return the eight arguments of spank_ibm_qrun.so, in their order."""
        environment = self.environment_of("ibm_torino")
        direct_access = {
            name.removeprefix("QRMI_IBM_DA_"): value for name, value in environment.items()
        }
        return (
            APP_ID_CLIENT_ID,
            APP_ID_SECRET,
            *(direct_access[name] for name in ("ENDPOINT", "AWS_ACCESS_KEY_ID")),
            *(direct_access[name] for name in ("AWS_SECRET_ACCESS_KEY", "S3_ENDPOINT")),
            *(direct_access[name] for name in ("S3_BUCKET", "S3_REGION")),
        )

    def write_qrun_credentials(self, path: Path, **changes: str) -> None:
        """Write the file that spank_ibm_qrun.so takes instead of the eight arguments."""
        keys = [name.removeprefix(qrun_names.PREFIX) for name in qrun_names.SITE_VARIABLES]
        path.touch(mode=0o600)
        path.write_text(json.dumps(dict(zip(keys, self.qrun_arguments(), strict=True)) | changes))

    def open_sessions(self) -> list[str]:
        """Return the ids of the sessions that nobody has closed."""
        return [each["id"] for each in self.sessions() if each["closed_at"] is None]

    def requests(self) -> list[dict[str, Any]]:
        """Return all requests to a vendor since the last reset, in their order."""
        return list(self._state()["requests"])

    def asked(self) -> list[str]:
        """Return the requests as `METHOD path`, in alphabetical order: they come concurrently."""
        return sorted(f"{each['method']} {each['path']}" for each in self.requests())

    def tokens_issued(self) -> int:
        """Return how many bearer tokens were issued since the last reset."""
        return int(self._state()["tokens_issued"])

    def open_session_of_a_user(self, backend: str) -> str:
        """Open a session as a user's own program does; return its id."""
        login = self.environment_of(backend)
        form = {
            "grant_type": "urn:ibm:params:oauth:grant-type:apikey",
            "apikey": login["QRMI_IBM_QRS_IAM_APIKEY"],
        }
        with httpx.Client(base_url=self.url, trust_env=False) as client:
            answer = client.post("/iam/identity/token", data=form).raise_for_status()
            headers = {
                "Authorization": f"Bearer {answer.json()['access_token']}",
                "Service-CRN": login["QRMI_IBM_QRS_SERVICE_CRN"],
            }
            order = {"mode": "batch", "max_ttl": 600, "backend": backend}
            answer = client.post("/runtime/api/v1/sessions", json=order, headers=headers)
            return str(answer.raise_for_status().json()["id"])

    def resources(self) -> list[dict[str, Any]]:
        """Return the entries of the written configuration."""
        return list(json.loads(self.config_path.read_bytes())["resources"])

    def environment_of(self, name: str) -> dict[str, str]:
        """Return what the written configuration says of one resource."""
        return dict(next(one["environment"] for one in self.resources() if one["name"] == name))

    def wait_until_released(self) -> None:
        """Wait until no session is open; raise WaitTimeoutError with those that are."""
        wait_until(
            self.open_sessions,
            RELEASE_SECONDS,
            "end of all sessions",
            accept=lambda sessions: not sessions,
        )

    def _announced_url(self) -> str:
        self._process.check()
        words = self._process.said.split()
        return words[1] if words[:1] == ["ready"] and len(words) > 1 else ""

    def _state(self) -> dict[str, Any]:
        return dict(self._client.get("/state").raise_for_status().json())

    def _post(self, path: str, document: object = None) -> None:
        self._client.post(path, json=document or {}).raise_for_status()
