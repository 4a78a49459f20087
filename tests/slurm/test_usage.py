# SPDX-License-Identifier: GPL-3.0-or-later
"""Each acquisition of a real job leaves one record, whatever ended it."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import httpx
import pytest

from loopback.job import Job
from loopback.waiting import wait_until
from tests.slurm.both_ways import both_ways
from tests.slurm.product import Product

SESSIONS = "/runtime/api/v1/sessions"
START_SECONDS = 60
RECORD_SECONDS = 60
QPU = "--qpu=ibm_sherbrooke"
ON_N1 = "--nodelist=n1"

pytestmark = [both_ways, pytest.mark.usefixtures("epilog_is_known")]


def start_job(product: Product, *options: str) -> Job:
    job = product.submit("echo here; exec sleep 600", ON_N1, *options)
    wait_until(lambda: "here" in job.stdout, START_SECONDS, "start of the script")
    return job


def records_of(product: Product, count: int) -> list[dict[str, Any]]:
    """Return all records, as many as there are to be; what was told to end is looked at."""

    def look() -> list[dict[str, Any]]:
        done = product.command("release", "--orphaned", "--due")
        assert (done.returncode, done.stderr) == (0, "")
        return product.usage_records()

    records = wait_until(look, RECORD_SECONDS, "record", accept=lambda found: len(found) >= count)
    product.wait_until_released()
    assert len(records) == len(product.usage_records()) == count
    assert len({record["acquisition_id"] for record in records}) == count
    assert product.journal() == []
    return records


def ends_of(records: Sequence[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return sorted((each["resource"], each["result"], each["ended_by"]) for each in records)


def hashes_of_sessions(product: Product) -> list[str]:
    ids = (session["id"] for session in product.site.sessions())
    return sorted(f"sha256:{sha256(each.encode()).hexdigest()[:16]}" for each in ids)


def test_record_of_a_job(product: Product):
    before = int(time.time())
    result = product.run_job("sleep 2", f"{QPU},FRESNEL,ibm_torino", "--job-name=x")
    assert result.state == "COMPLETED"
    product.cluster.wait_for_empty_queue()
    records = {each["resource"]: each for each in records_of(product, 3)}
    assert set(records) == {"FRESNEL", "ibm_sherbrooke", "ibm_torino"}
    for record in records.values():
        assert record["result"] == "released"
        assert (record["step"], record["restart"], record["uid"]) == ("batch", 0, os.getuid())
        assert record["partition"]
        assert record["cluster"] == "loopback"
        assert record["array_job_id"] is None
        assert record["het_job_id"] is None
        created, running, finished = (record[key] for key in ("created", "running", "finished"))
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(before))
        assert at <= created <= running <= finished
        assert record["held_seconds"] >= 1
    assert [records["ibm_sherbrooke"]["session"]] == hashes_of_sessions(product)
    assert [records[name]["session"] for name in ("FRESNEL", "ibm_torino")] == [None, None]
    assert {records[name]["ended_by"] for name in ("FRESNEL", "ibm_torino")} == {"exit"}


def test_steps_of_srun_have_records_of_their_own(product: Product):
    for _ in range(2):
        product.srun(ON_N1, "--qpu=FRESNEL", "true")
    records = records_of(product, 2)
    assert [each["step"] for each in records] == ["0", "0"]
    assert len({each["job_id"] for each in records}) == 2


def test_cancelled_job(product: Product):
    job = start_job(product, f"{QPU},FRESNEL")
    [session_id] = product.site.open_sessions()
    product.site.add_pending_job(session_id)
    job.cancel()
    records = records_of(product, 2)
    jobs = {each["resource"]: each["jobs"] for each in records}
    assert jobs == {"FRESNEL": None, "ibm_sherbrooke": 1}
    assert ends_of(records)[0] == ("FRESNEL", "released", "exit")
    assert {each["job_id"] for each in records} == {job.id}


def test_killed_stepd_and_epilog(product: Product):
    job = start_job(product, f"{QPU},FRESNEL")
    product.kill_stepd(job)
    assert product.usage_records() == []
    job.cancel()
    product.cluster.wait_for_empty_queue()
    assert ends_of(records_of(product, 2))[0] == ("FRESNEL", "released", "epilog")


def test_killed_stepd_and_timer(product: Product):
    job = start_job(product, f"{QPU},FRESNEL")
    product.kill_stepd(job)
    records = records_of(product, 2)
    job.cancel()
    assert ends_of(records) == [
        ("FRESNEL", "released", "timer"),
        ("ibm_sherbrooke", "released", "timer"),
    ]
    product.cluster.wait_for_empty_queue()
    assert len(product.usage_records()) == 2


def test_command(product: Product):
    job = start_job(product, "--qpu=FRESNEL")
    product.command("release", "--job", str(job.id))
    assert ends_of(product.usage_records()) == [("FRESNEL", "released", "command")]
    job.cancel()
    assert len(records_of(product, 1)) == 1


def test_what_the_job_never_had_leaves_no_record(product: Product):
    result = product.run_job("true", "--qpu=ibm_paused,nowhere")
    assert result.state == "FAILED"
    records = records_of(product, 0)
    assert (records, product.site.sessions()) == ([], [])


def test_full_disk_delays_no_job_and_costs_no_record(product: Product):
    product.usage_path.parent.write_text("in the way")
    result = product.run_job("true", "--qpu=FRESNEL", ON_N1)
    assert (result.state, result.stderr) == ("COMPLETED", "")
    product.cluster.wait_for_empty_queue()
    product.cluster.assert_nodes_healthy()
    product.usage_path.parent.unlink()
    assert product.command("release", "--orphaned", "--due").returncode == 0
    assert ends_of(product.usage_records()) == [("FRESNEL", "released", "exit")]
    assert list(product.state_directory.glob("over-*")) == []


def test_tasks_of_an_array(product: Product):
    job = product.submit("true", "--array=3,7", "--qpu=FRESNEL")
    product.cluster.wait_for_empty_queue()
    records = records_of(product, 2)
    assert sorted(each["array_task_id"] for each in records) == [3, 7]
    assert {each["array_job_id"] for each in records} == {job.id}
    assert len({each["job_id"] for each in records}) == 2


HETEROGENEOUS = """\
#SBATCH --nodes=1 --qpu=FRESNEL
#SBATCH hetjob
#SBATCH --nodes=1
true
"""


def test_component_of_a_heterogeneous_job(product: Product):
    job = product.submit(HETEROGENEOUS)
    product.cluster.wait_for_empty_queue()
    [record] = records_of(product, 1)
    assert (record["het_job_id"], record["het_job_offset"]) == (job.id, 0)


def test_worker_killed_while_it_releases(product: Product):
    product.site.order_fault("hang", f"{SESSIONS}/", times=1)
    job = product.submit("true", f"{QPU},FRESNEL", ON_N1)
    product.wait_for_request(f"{SESSIONS}/")
    os.kill(product.wait_for_worker(job), signal.SIGKILL)
    job.wait()
    product.cluster.wait_for_empty_queue()
    assert len(records_of(product, 2)) == 2


def submit_to_warden(product: Product, version: int, shots: int) -> None:
    """Submit a job in the open session, as the user whose it is."""
    munge = ["munge", "--no-input", f"--socket={product.cluster.munge_socket}"]
    made = subprocess.run(munge, capture_output=True, text=True, check=True)
    [session_id] = product.site.open_sessions()
    httpx.post(
        f"{product.site.url}/warden/{version}/jobs",
        json={"sequence": '{"register": [{}]}', "shots": shots},
        headers={"X-Munge-Cred": made.stdout.strip(), "X-Warden-Session": session_id},
        trust_env=False,
    ).raise_for_status()


@pytest.mark.parametrize(
    ("version", "qpu", "told"),
    [(1, "ORION", ("held", None, None)), (2, "VEGA", ("service", 2, 700))],
)
def test_usage_of_wardens_jobs(
    product: Product, version: int, qpu: str, told: tuple[str, int | None, int | None]
):
    """Its version 2 alone tells it, and is asked when no job waits."""
    job = start_job(product, f"--qpu={qpu}")
    for shots in (300, 400):
        submit_to_warden(product, version, shots)
    job.cancel()
    product.cluster.wait_for_empty_queue()
    product.wait_until_released()
    assert product.usage_records() == []
    [record] = records_of(product, 1)
    assert tuple(record[key] for key in ("usage_source", "jobs", "shots")) == told
    assert record["usage"] == (700 if version == 2 else record["held_seconds"])
    assert len([each for each in product.site.asked() if "/accounting/" in each]) == 1
