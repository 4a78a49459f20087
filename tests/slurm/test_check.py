# SPDX-License-Identifier: GPL-3.0-or-later
"""`spank-qrmi check` as root on a node of a running cluster."""

import json
from collections.abc import Callable
from typing import Any

from loopback.waiting import wait_until
from loopback.worker_server import WorkerServer
from tests.slurm.product import Product

QPU = "ibm_sherbrooke"
# Of the simulated site, those that take jobs.
RIGHT = (QPU, "ibm_torino", "FRESNEL")
WAIT_SECONDS = 60


def check(product: Product, *words: str) -> tuple[int, list[dict[str, Any]]]:
    done = product.spank_qrmi("check", "--json", *words)
    assert done.stderr == ""
    document = json.loads(done.stdout)
    return done.returncode, list(document["findings"])


def not_right(findings: list[dict[str, Any]]) -> list[str]:
    return [f"{each['check']}: {each['text']}" for each in findings if each["verdict"] != "right"]


def test_nothing_is_found_where_jobs_run(
    product: Product, restart_slurmds: Callable[[], None]
) -> None:
    restart_slurmds()
    status, findings = check(product, *RIGHT)
    assert (status, not_right(findings)) == (0, [])
    assert product.site.sessions() == []
    assert not product.state_directory.exists()
    asked = [each["text"].partition(":")[0] for each in findings if each["check"] == "QPU"]
    assert asked == [*RIGHT]
    lines = product.spank_qrmi("check", QPU).stdout.splitlines()
    assert all(line.startswith("right     ") for line in lines)
    # Jobs run there indeed.
    assert product.run_job("true", f"--qpu={QPU}").state == "COMPLETED"


def test_nothing_is_found_of_the_lines_of_the_demonstration(
    product: Product, restart_slurmds: Callable[[], None], ready_workers: WorkerServer
) -> None:
    credentials = product.folder / "qrun.json"
    product.site.write_qrun_credentials(credentials)
    common = f"--state-dir={product.state_directory} --worker-server={ready_workers.path}"
    product.cluster.write_plugstack(
        f"optional {product.installation.plugin} {product.site.config_path} {common}",
        f"optional {product.installation.qrun_plugin} --credentials={credentials} {common}",
    )
    restart_slurmds()
    status, findings = check(product, *RIGHT)
    assert (status, not_right(findings)) == (0, [])
    assert product.run_job("true", f"--qpu={QPU}").state == "COMPLETED"


def test_plugstack_conf_that_slurmd_has_not_seen_is_found(product: Product) -> None:
    def late_slurmds() -> list[str]:
        # What was written in the moment of a slurmd's start may have been read by it.
        product.write_plugstack("--require=all", "--requir=all")
        status, findings = check(product, "--offline")
        told = not_right(findings)
        assert status == 2
        assert any("--requir=…" in each for each in told)
        return [each for each in told if each.startswith("slurmd: ")]

    count = len(product.cluster.nodes)
    wait_until(late_slurmds, WAIT_SECONDS, "old slurmds", accept=lambda found: len(found) == count)


def test_only_root_may_look(product: Product) -> None:
    done = product.spank_qrmi("check", user="nobody")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "spank-qrmi: only root sees what jobs will meet: run it as root\n"
