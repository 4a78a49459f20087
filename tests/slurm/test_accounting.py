# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounting keeps no secret of the site, and a user's own only where it keeps what was exported.

slurmdbd keeps all it can of each job here: script, environment, comments and command lines; and
it has licences of QPUs for the monitor.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loopback.configuration import slurm_version
from loopback.leaks import LeakSearch
from loopback.site import SECRETS
from loopback.waiting import wait_until
from tests.slurm.product import UNTIL_FINISHED, Product, finish
from tests.slurm.qrun_product import QrunProduct
from tests.slurm.test_secrets import LINE_SECRETS, OF_USER, SITE_SECRETS, write_secrets
from tests.slurm.watched import (
    PATIENCE_SECONDS,
    SHERBROOKE,
    Watched,
    wait_until_pending_for_licenses,
)

QPUS = "--qpu=ibm_torino,ibm_sherbrooke,FRESNEL"
ENVIRONMENTS = "loopback_job_env_table"
SACCT = {
    "sacct": ("sacct", "--allusers", "--parsable", "--format=ALL"),
    "sacct.json": ("sacct", "--allusers", "--json"),
    "scontrol": ("scontrol", "--details", "show", "jobs"),
}
FIRST_WITH_DYNAMIC_LICENSES = (23, 2)


pytestmark = pytest.mark.usefixtures("accounting_installed")

CLUSTER = {"nodes": 1, "has_accounting": True}


def recorded(
    product: Product, field: str, accept: Callable[[dict[str, str]], bool]
) -> dict[str, str]:
    """Wait until accounting has such a field of the jobs, by their ids; return it."""
    words = ("sacct", "--allusers", "--allocations", "--noheader", "--parsable2")

    def shown() -> dict[str, str]:
        lines = product.cluster.run(*words, f"--format=JobIDRaw,{field}").stdout.splitlines()
        return dict(line.split("|", 1) for line in lines)

    # slurmctld sends what it has to tell now and then.
    return wait_until(shown, PATIENCE_SECONDS, f"{field} of the jobs", accept=accept)


def test_accounting_knows_no_secret_but_what_users_export(product: Product, tmp_path: Path):
    cluster = product.cluster
    write_secrets(product)
    succeeded = product.submit("env -0; srun env -0", QPUS, "--comment=said by the user")
    failed = product.submit("true", "--qpu=ibm_torino,ibm_paused,nowhere", env=OF_USER)
    for job in (succeeded, failed):
        job.wait()
    qrun = QrunProduct(**vars(product))
    qrun.write_plugstack()
    qrun.hold_jobs()
    of_qrun = qrun.submit(f"srun {qrun.stand_in()} killed")
    of_qrun.wait()
    qrun.wait_until_released()
    jobs = {succeeded: "COMPLETED", failed: "FAILED", of_qrun: "FAILED"}
    states = {str(job.id): state for job, state in jobs.items()}
    recorded(product, "State", lambda found: states.items() <= found.items())
    tables = cluster.accounting_tables()
    told = {name: cluster.run(*command).stdout for name, command in SACCT.items()}
    for name, text in (tables | told).items():
        (tmp_path / name).write_text(text)

    assert SITE_SECRETS["QRMI_IBM_DA_AWS_SECRET_ACCESS_KEY"] in succeeded.stdout
    assert "said by the user" in tables["loopback_job_table"]
    assert "srun env -0" in tables["loopback_job_script_table"]
    assert LeakSearch(tmp_path, SECRETS | SITE_SECRETS | LINE_SECRETS).find() == []
    found = LeakSearch(tmp_path, OF_USER).find()
    assert [leak.path.name for leak in found] == [ENVIRONMENTS]


SITES_COMMENT = '{"cost":1.50, "by":"the site"}'


def used_by(comment: str) -> dict[str, Any]:
    """Return what a comment tells of each QPU."""
    found = json.loads(comment).get("spank_qrmi", []) if comment.startswith("{") else []
    return {each["resource"]: each for each in found}


def test_admin_comment_tells_what_a_job_has_used(product: Product):
    cluster = product.cluster
    product.write_plugstack("--usage=both")
    noted, texted = (
        product.start_job(qpus, then=UNTIL_FINISHED) for qpus in (QPUS, "--qpu=FRESNEL")
    )
    for job, comment in ((noted, SITES_COMMENT), (texted, "text of the site's")):
        cluster.run("scontrol", "update", f"jobid={job.id}", f"admincomment={comment}")
        finish(job)
        assert job.wait().state == "COMPLETED"
    product.wait_until_released()
    names = {"ibm_torino", "ibm_sherbrooke", "FRESNEL"}

    def commented() -> str:
        """Wait until the comment of the first job has all its QPUs; return it."""
        comments = recorded(
            *(product, "AdminComment"),
            lambda found: set(used_by(found.get(str(noted.id), ""))) == names,
        )
        assert comments[str(texted.id)] == "text of the site's"
        return comments[str(noted.id)]

    first = commented()
    assert first.startswith(SITES_COMMENT.removesuffix("}"))
    assert all(each["result"] == "released" for each in used_by(first).values())
    assert cluster.wait_for_log("a text of the site's is there, which is kept as it is", texted)

    # What its service tells later of the session is in the file alone: the job has ended.
    assert product.spank_qrmi("release", "--orphaned", "--due").returncode == 0
    records = {(each["job_id"], each["resource"]): each for each in product.usage_records()}
    assert set(records) == {(noted.id, name) for name in names} | {(texted.id, "FRESNEL")}
    assert records[noted.id, "ibm_sherbrooke"]["usage_source"] == "service"
    assert commented() == first
    assert list(product.state_directory.glob("over-*")) == []


def test_admin_comment_of_a_task_of_an_array_is_its_own(product: Product):
    product.write_plugstack("--usage=admincomment")
    product.submit("true", "--qpu=FRESNEL", "--array=1-2")
    product.cluster.wait_for_empty_queue()

    def of_tasks(comments: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return those of the jobs that have used this QPU alone."""
        return [each for each in map(used_by, comments.values()) if set(each) == {"FRESNEL"}]

    found = recorded(product, "AdminComment", lambda comments: len(of_tasks(comments)) == 2)
    assert len({each["FRESNEL"]["acquisition_id"] for each in of_tasks(found)}) == 2
    assert product.usage_records() == []


def test_licences_of_slurmdbd(watched: Watched):
    """Older releases have none, which is told."""
    options = watched.monitor.options
    monitor = replace(watched.monitor, options=[*options, "--licenses=dbd"])
    if slurm_version() < FIRST_WITH_DYNAMIC_LICENSES:
        done = monitor.run("--once")
        assert done.returncode == 1
        assert "--licenses=dbd needs Slurm 23.02 or later" in done.stderr
        return
    printed = monitor.run("--print-licenses").stdout
    [line] = [line for line in printed.splitlines() if f"name=qpu_{SHERBROOKE} " in line]
    sacctmgr, *words = line.split()
    watched.cluster.run(sacctmgr, "--immediate", *words)
    watched.site.set_backend_status(SHERBROOKE, "maintenance")
    license_name = f"qpu_{SHERBROOKE}@spank_qrmi"
    with monitor.running():
        wait_until(lambda: deficit_of(watched, license_name), PATIENCE_SECONDS, "licence in use")
        waiting = watched.submit("echo ran", f"--qpu={SHERBROOKE}", f"--licenses={license_name}")
        wait_until_pending_for_licenses(waiting)
        watched.site.set_backend_status(SHERBROOKE, "active")
        assert waiting.wait().stdout == "ran\n"
    watched.site.set_backend_status(SHERBROOKE, "maintenance")
    assert monitor.run("--once").returncode == 0
    assert deficit_of(watched, license_name) == 1
    done = monitor.run("--release-all")
    assert (done.returncode, done.stdout) == (0, f"released qpu_{SHERBROOKE}\n")
    wait_until(
        lambda: deficit_of(watched, license_name) == 0, PATIENCE_SECONDS, "licence that is free"
    )


def deficit_of(watched: Watched, license_name: str) -> int:
    shown = watched.cluster.run("scontrol", "--oneliner", "show", "licenses").stdout
    found = re.search(rf"LicenseName={license_name} .*LastDeficit=(\d+)", shown)
    return int(found[1]) if found else 0
