# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated site with its object store, as tests of `qrun` use and inspect it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import orjson
from botocore.config import Config

from loopback import waiting
from spank_qrmi_simulator import site as names
from spank_qrmi_simulator.faults import parse_fault
from spank_qrmi_simulator.jobs import Job
from spank_qrmi_simulator.object_store import ObjectStore
from spank_qrmi_simulator.site import Site
from tests.simulator_client import FLIP, sampler_input

PROJECT = Path(__file__).parents[2]
API = "/direct-access"
JOBS = f"{API}/v1/jobs"
SUBMIT = f"{JOBS}$"
ONE_JOB = f"{JOBS}/[^/]+$"
WAIT_SECONDS = 60
WAITING_BACKEND = "ibm_paused"
"""Takes jobs, which wait as long as it is paused."""


class QrunSite:
    """The site that `environment` describes."""

    def __init__(self, site: Site, base_url: str, store: ObjectStore) -> None:
        self.site = site
        self.base_url = base_url
        self.store = store
        self._s3 = boto3.client(
            "s3",
            endpoint_url=store.endpoint,
            region_name=store.region,
            aws_access_key_id=store.access_key_id,
            aws_secret_access_key=store.secret_access_key,
            config=Config(s3={"addressing_style": "path"}, proxies={"http": None}),
        )

    def environment(self, *, with_iam: bool = False, **changes: str) -> dict[str, str]:
        """Return the variables of a job; an empty value unsets."""
        iam = {
            "IAM_APIKEY": names.API_KEY,
            "SERVICE_CRN": names.SERVICE_CRN,
            "IAM_ENDPOINT": f"{self.base_url}/iam",
        }
        app_id = {"APPID_CLIENT_ID": names.APP_ID_CLIENT_ID, "APPID_SECRET": names.APP_ID_SECRET}
        values = {
            "BACKEND": "ibm_torino",
            "PRIMITIVE": "sampler",
            "TIMEOUT_SECONDS": "600",
            "JOB_ID": "job-1",
            "DAAPI_ENDPOINT": f"{self.base_url}{API}",
            **self.store.environment(""),
            **(iam if with_iam else app_id),
            **changes,
        }
        return {f"IBMQRUN_{key}": value for key, value in values.items()}

    def order_fault(self, kind: str, path: str, **more: object) -> None:
        self.site.faults.add(parse_fault({"kind": kind, "path": path, **more}))

    def job(self, job_id: str = "job-1") -> Job | None:
        return self.site.direct_access_jobs.get(job_id)

    def forget(self, job: Job) -> None:
        """Let a job vanish, as if somebody had deleted it."""
        del self.site.direct_access_jobs[job.job_id]

    def jobs(self) -> list[str]:
        return list(self.site.direct_access_jobs)

    def objects(self) -> list[str]:
        listed = self._s3.list_objects_v2(Bucket=self.store.bucket)
        return [one["Key"] for one in listed.get("Contents", [])]

    def put_object(self, key: str, content: bytes) -> None:
        self._s3.put_object(Bucket=self.store.bucket, Key=key, Body=content)

    def object(self, key: str) -> bytes:
        content: bytes = self._s3.get_object(Bucket=self.store.bucket, Key=key)["Body"].read()
        return content

    def asked(self, method: str, path: str) -> int:
        return sum((one.method, one.path) == (method, path) for one in self.site.requests)

    def reset(self) -> None:
        self.site.reset()
        for key in self.objects():
            self._s3.delete_object(Bucket=self.store.bucket, Key=key)

    def assert_nothing_is_left(self) -> None:
        assert (self.jobs(), self.objects()) == ([], [])


def input_file(folder: Path, circuit: str = FLIP, **changes: object) -> str:
    path = folder / "input.json"
    path.write_bytes(orjson.dumps(sampler_input(circuit, **changes)))
    return str(path)


def wait_until(condition: Callable[[], object], what: str) -> None:
    waiting.wait_until(condition, WAIT_SECONDS, what)


@contextmanager
def qrun_process(
    environment: Mapping[str, str], *arguments: str, **options: Any
) -> Iterator["subprocess.Popen[str]"]:
    """Run the command as a process of its own; end it in any case."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    inherited = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    with subprocess.Popen(
        [sys.executable, "-m", "spank_qrmi.qrun", *arguments],
        cwd=PROJECT,
        env={**inherited, **environment},
        text=True,
        **{**streams, **options},
    ) as process:
        try:
            yield process
        finally:
            process.kill()
