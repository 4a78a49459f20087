# SPDX-License-Identifier: GPL-3.0-or-later
"""Each acquisition of a real job leaves one record, whatever ended it."""

import os
import time
from hashlib import sha256
from typing import Any

import pytest

from loopback.waiting import wait_until
from tests.slurm.both_ways import both_ways
from tests.slurm.product import Product

RECORD_SECONDS = 60
QPU = "--qpu=ibm_sherbrooke"

pytestmark = pytest.mark.usefixtures("epilog_is_known")


def records_of(product: Product, count: int) -> list[dict[str, Any]]:
    """Return all records, as many as there are to be; what was told to end is looked at."""

    def look() -> list[dict[str, Any]]:
        done = product.spank_qrmi("release", "--orphaned", "--due")
        assert (done.returncode, done.stderr) == (0, "")
        return product.usage_records()

    records = wait_until(look, RECORD_SECONDS, "record", accept=lambda found: len(found) >= count)
    product.wait_until_released()
    assert len(records) == len(product.usage_records()) == count
    assert len({record["acquisition_id"] for record in records}) == count
    assert product.journal() == []
    return records


@both_ways
def test_record_of_a_job(product: Product):
    before = int(time.time())
    result = product.run_job("sleep 1", f"{QPU},FRESNEL,ibm_torino", "--job-name=x")
    assert result.state == "COMPLETED"
    product.cluster.wait_for_empty_queue()
    records = {each["resource"]: each for each in records_of(product, 3)}
    assert set(records) == {"FRESNEL", "ibm_sherbrooke", "ibm_torino"}
    for record in records.values():
        assert record["result"] == "released"
        assert (record["step"], record["restart"], record["uid"]) == ("batch", 0, os.getuid())
        assert record["partition"]
        assert record["cluster"] == "loopback"
        assert (record["array_job_id"], record["het_job_id"]) == (None, None)
        created, running, finished = (record[key] for key in ("created", "running", "finished"))
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(before))
        assert at <= created <= running <= finished
        assert record["held_seconds"] >= 1
    [session] = product.site.sessions()
    shown = f"sha256:{sha256(session['id'].encode()).hexdigest()[:16]}"
    assert records["ibm_sherbrooke"]["session"] == shown
    assert [records[name]["session"] for name in ("FRESNEL", "ibm_torino")] == [None, None]
    assert {records[name]["ended_by"] for name in ("FRESNEL", "ibm_torino")} == {"exit"}


def test_what_slurm_tells_of_steps_arrays_and_heterogeneous_jobs_is_recorded(product: Product):
    product.srun("--qpu=FRESNEL", "true")
    array = product.submit("true", "--array=3,7", "--qpu=FRESNEL")
    components = "#SBATCH --nodes=1 --qpu=FRESNEL\n#SBATCH hetjob\n#SBATCH --nodes=1\ntrue"
    heterogeneous = product.submit(components)
    product.cluster.wait_for_empty_queue()

    records = records_of(product, 4)

    keys = ("step", "array_job_id", "array_task_id", "het_job_id", "het_job_offset")
    assert {tuple(each[key] for key in keys) for each in records} == {
        ("0", None, None, None, None),
        ("batch", array.id, 3, None, None),
        ("batch", array.id, 7, None, None),
        ("batch", None, None, heterogeneous.id, 0),
    }
    assert len({each["job_id"] for each in records}) == 4
