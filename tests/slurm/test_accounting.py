# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounting keeps no secret of the site, and a user's own only where it keeps what was exported.

slurmdbd keeps all it can of each job here: script, environment, comments and command lines; and
it has licences of QPUs for the monitor.
"""

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from loopback.cluster import SlurmCluster
from loopback.configuration import slurm_version
from loopback.installation import Installation
from loopback.job import Job
from loopback.leaks import LeakSearch
from loopback.site import SECRETS, Site
from loopback.waiting import wait_until
from tests.slurm.product import Product
from tests.slurm.qrun_product import QrunProduct
from tests.slurm.watched import PATIENCE_SECONDS, SHERBROOKE, Watched, watched_on

QPUS = "--qpu=ibm_torino,ibm_sherbrooke,FRESNEL"
OF_SITE = {
    "variable of a resource": "aws-secret-of-the-site",
    "variable of the node": "token-of-the-plugstack-line",
    "password of a proxy": "proxy-password",
}
OF_USER = {"user's own key": "key-that-the-user-brought"}
ENVIRONMENTS = "loopback_job_env_table"
SACCT = {
    "sacct": ("sacct", "--allusers", "--parsable", "--format=ALL"),
    "sacct.json": ("sacct", "--allusers", "--json"),
    "scontrol": ("scontrol", "--details", "show", "jobs"),
}
# slurmctld sends what it has to tell now and then.
RECORDED_SECONDS = 60.0
FIRST_WITH_DYNAMIC_LICENSES = (23, 2)


@pytest.fixture(scope="module")
def accounted_cluster(
    accounting_installed: None, cluster_folder_of_module: Path
) -> Iterator[SlurmCluster]:
    with SlurmCluster(cluster_folder_of_module, nodes=1, has_accounting=True) as cluster:
        yield cluster


@pytest.fixture
def product(
    accounted_cluster: SlurmCluster, installation: Installation, site: Site
) -> Iterator[Product]:
    folder = Path(tempfile.mkdtemp(prefix="test-", dir=accounted_cluster.folder))
    folder.chmod(0o755)
    product = Product(accounted_cluster, installation, site, folder)
    aws_secret = {"QRMI_IBM_DA_AWS_SECRET_ACCESS_KEY": OF_SITE["variable of a resource"]}
    config = product.write_config(
        product.entry("ibm_torino", **aws_secret),
        product.entry("ibm_paused", **aws_secret),
        product.entry("ibm_sherbrooke"),
        product.entry("FRESNEL"),
    )
    product.write_plugstack(
        f"--env:SITE_TOKEN={OF_SITE['variable of the node']}",
        f"--env:http_proxy=http://proxy-user:{OF_SITE['password of a proxy']}@127.0.0.1:9",
        "--env:no_proxy=127.0.0.1",
        config=config,
    )
    yield product
    accounted_cluster.wait_for_empty_queue()
    accounted_cluster.assert_nodes_healthy()
    product.wait_until_released()


def run_qrun_job(product: Product) -> Job:
    """Run a job whose quantum job is left behind, and wait until that is removed."""
    qrun = QrunProduct(product.cluster, product.installation, product.site, product.folder)
    qrun.write_plugstack()
    qrun.hold_jobs()
    job = qrun.submit(f"srun {qrun.stand_in()} killed")
    job.wait()
    qrun.wait_until_removed()
    return job


def wait_until_recorded(cluster: SlurmCluster, jobs: Mapping[Job, str]) -> None:
    """Wait until accounting knows how each of the jobs has ended."""
    expected = {str(job.id): state for job, state in jobs.items()}

    def recorded() -> dict[str, str]:
        options = ("--allusers", "--allocations", "--noheader", "--parsable2")
        shown = cluster.run("sacct", *options, "--format=JobIDRaw,State").stdout
        return dict(line.split("|") for line in shown.splitlines())

    wait_until(
        recorded,
        RECORDED_SECONDS,
        "record of all jobs",
        accept=lambda found: expected.items() <= found.items(),
    )


def write_all(folder: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        (folder / name).write_text(text)


def test_accounting_knows_no_secret_but_what_users_export(product: Product, tmp_path: Path):
    cluster = product.cluster
    succeeded = product.submit("env -0; srun env -0", QPUS, "--comment=said by the user")
    user_key = {"ibm_torino_QRMI_IBM_DA_IAM_APIKEY": OF_USER["user's own key"]}
    failed = product.submit("true", "--qpu=ibm_torino,ibm_paused,nowhere", env=user_key)
    for job in (succeeded, failed):
        job.wait()
    of_qrun = run_qrun_job(product)
    wait_until_recorded(cluster, {succeeded: "COMPLETED", failed: "FAILED", of_qrun: "FAILED"})
    tables = cluster.accounting_tables()
    write_all(tmp_path, tables)
    write_all(tmp_path, {name: cluster.run(*command).stdout for name, command in SACCT.items()})

    assert OF_SITE["variable of a resource"] in succeeded.stdout
    assert "said by the user" in tables["loopback_job_table"]
    assert "srun env -0" in tables["loopback_job_script_table"]
    assert LeakSearch(tmp_path, SECRETS | OF_SITE).find() == []
    found = LeakSearch(tmp_path, OF_USER).find()
    assert [leak.path.name for leak in found] == [ENVIRONMENTS]


SITES_COMMENT = '{"cost":1.50, "by":"the site"}'


def commented(cluster: SlurmCluster, job: Job, expected: Callable[[str], bool]) -> str:
    """Wait until sacct shows such an AdminComment of a job; return it."""
    options = ("--allusers", "--allocations", "--noheader", "--parsable2", f"--jobs={job.id}")

    def shown() -> str:
        return cluster.run("sacct", *options, "--format=AdminComment").stdout.rstrip("\n")

    return wait_until(shown, RECORDED_SECONDS, "AdminComment", accept=expected)


def used_by(comment: str) -> dict[str, Any]:
    """Return what a comment tells of each QPU."""
    found = json.loads(comment).get("spank_qrmi", []) if comment.startswith("{") else []
    return {each["resource"]: each for each in found}


def test_admin_comment_tells_what_a_job_has_used(product: Product):
    cluster = product.cluster
    product.write_plugstack("--usage=both", config=product.folder / "qrmi_config.json")
    script = f"echo here; until [ -e {product.folder}/go ]; do sleep 0.1; done"
    noted = product.submit(script, QPUS)
    texted = product.submit(script, "--qpu=FRESNEL")
    for job, comment in ((noted, SITES_COMMENT), (texted, "text of the site's")):
        wait_until(lambda job=job: "here" in job.stdout, RECORDED_SECONDS, "start of the script")
        cluster.run("scontrol", "update", f"jobid={job.id}", f"admincomment={comment}")
    (product.folder / "go").touch()
    for job in (noted, texted):
        assert job.wait().state == "COMPLETED"
    product.wait_until_released()
    names = {"ibm_torino", "ibm_sherbrooke", "FRESNEL"}
    first = commented(cluster, noted, lambda text: set(used_by(text)) == names)
    assert first.startswith(SITES_COMMENT.removesuffix("}"))
    assert all(each["result"] == "released" for each in used_by(first).values())
    assert commented(cluster, texted, bool) == "text of the site's"
    assert cluster.wait_for_log("a text of the site's is there, which is kept as it is", texted)

    # What its service tells later of the session is in the file alone: the job has ended.
    assert product.command("release", "--orphaned", "--due").returncode == 0
    records = {(each["job_id"], each["resource"]): each for each in product.usage_records()}
    assert set(records) == {(noted.id, name) for name in names} | {(texted.id, "FRESNEL")}
    assert records[noted.id, "ibm_sherbrooke"]["usage_source"] == "service"
    assert commented(cluster, noted, bool) == first
    assert list(product.state_directory.glob("over-*")) == []


def test_admin_comment_of_a_task_of_an_array_is_its_own(product: Product):
    product.write_plugstack("--usage=admincomment", config=product.folder / "qrmi_config.json")
    job = product.submit("true", "--qpu=FRESNEL", "--array=1-2")
    product.cluster.wait_for_empty_queue()
    options = ("--allusers", "--allocations", "--noheader", "--parsable2", f"--jobs={job.id}")

    def comments() -> list[str]:
        return product.cluster.run("sacct", *options, "--format=AdminComment").stdout.split("\n")

    def are_both(lines: list[str]) -> bool:
        return sum("FRESNEL" in line for line in lines) == 2

    lines = wait_until(comments, RECORDED_SECONDS, "AdminComment of both", accept=are_both)
    ids = {used_by(line)["FRESNEL"]["acquisition_id"] for line in lines if line}
    assert len(ids) == 2
    assert product.usage_records() == []


@pytest.fixture
def accounted(
    accounted_cluster: SlurmCluster, installation: Installation, site: Site
) -> Iterator[Watched]:
    yield from watched_on(accounted_cluster, installation, site, "--licenses=dbd")


def test_licences_of_slurmdbd(accounted: Watched):
    """Older releases have none, which is told."""
    if slurm_version() < FIRST_WITH_DYNAMIC_LICENSES:
        done = accounted.command.run("--once")
        assert done.returncode == 1
        assert "--licenses=dbd needs Slurm 23.02 or later" in done.stderr
        return
    printed = accounted.command.run("--print-licenses").stdout
    [line] = [line for line in printed.splitlines() if f"name=qpu_{SHERBROOKE} " in line]
    sacctmgr, *words = line.split()
    accounted.cluster.run(sacctmgr, "--immediate", *words)
    accounted.site.set_backend_status(SHERBROOKE, "maintenance")
    license_name = f"qpu_{SHERBROOKE}@spank_qrmi"
    with accounted.command.running():
        wait_until(lambda: deficit_of(accounted, license_name), PATIENCE_SECONDS, "licence in use")
        waiting = accounted.product.submit(
            "echo ran", f"--qpu={SHERBROOKE}", f"--licenses={license_name}"
        )
        accounted.wait_until_pending_for_licenses(waiting)
        accounted.site.set_backend_status(SHERBROOKE, "active")
        assert waiting.wait().stdout == "ran\n"
    accounted.site.set_backend_status(SHERBROOKE, "maintenance")
    assert accounted.command.run("--once").returncode == 0
    assert deficit_of(accounted, license_name) == 1
    done = accounted.command.run("--release-all")
    assert (done.returncode, done.stdout) == (0, f"released qpu_{SHERBROOKE}\n")
    wait_until(
        lambda: deficit_of(accounted, license_name) == 0, PATIENCE_SECONDS, "licence that is free"
    )


def deficit_of(watched: Watched, license_name: str) -> int:
    shown = watched.cluster.run("scontrol", "--oneliner", "show", "licenses").stdout
    found = re.search(rf"LicenseName={license_name} .*LastDeficit=(\d+)", shown)
    return int(found[1]) if found else 0
