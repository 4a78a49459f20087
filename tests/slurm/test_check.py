# SPDX-License-Identifier: GPL-3.0-or-later
"""`spank-qrmi check` and `tokens` as root on a node of a running cluster."""

import json
from collections.abc import Callable, Iterator
from subprocess import CompletedProcess
from typing import Any

import pytest

from loopback.cluster import SlurmCluster
from loopback.processes import end_processes
from loopback.waiting import wait_until
from loopback.worker_server import WorkerServer
from tests.slurm.product import SESSIONS, Product

QPU = "ibm_sherbrooke"
# Of the simulated site, those that take jobs.
RIGHT = (QPU, "ibm_torino", "FRESNEL")
WAIT_SECONDS = 60


@pytest.fixture(scope="module")
def slurmds(cluster: SlurmCluster) -> Iterator[Callable[[], None]]:
    """A call that restarts the nodes' slurmds, which is done once more in the end."""

    def restart() -> None:
        for node in cluster.nodes:
            cluster.restart_slurmd(node)
        cluster.assert_nodes_healthy()

    yield restart
    cluster.write_plugstack()
    restart()


@pytest.fixture
def node(product: Product, slurmds: Callable[[], None]) -> Product:
    """The product on nodes whose slurmds were started after plugstack.conf was written."""
    slurmds()
    return product


def command(product: Product, *words: str) -> CompletedProcess[str]:
    """Run the command as an administrator does: no folder is named, plugstack.conf says all."""
    program = product.installation.environment / "bin" / "spank-qrmi"
    return product.cluster.run(str(program), *words, check=False)


def check(product: Product, *words: str) -> tuple[int, list[dict[str, Any]]]:
    done = command(product, "check", "--json", *words)
    assert done.stderr == ""
    document = json.loads(done.stdout)
    return done.returncode, list(document["findings"])


def not_right(findings: list[dict[str, Any]]) -> list[str]:
    return [f"{each['check']}: {each['text']}" for each in findings if each["verdict"] != "right"]


def test_nothing_is_found_where_jobs_run(node: Product) -> None:
    status, findings = check(node, *RIGHT)
    assert (status, not_right(findings)) == (0, [])
    assert node.site.sessions() == []
    assert not node.state_directory.exists()
    asked = [each["text"].partition(":")[0] for each in findings if each["check"] == "QPU"]
    assert asked == [*RIGHT]
    lines = command(node, "check", QPU).stdout.splitlines()
    assert all(line.startswith("right     ") for line in lines)
    # Jobs run there indeed.
    assert node.run_job("true", f"--qpu={QPU}").state == "COMPLETED"


def test_nothing_is_found_of_the_lines_of_the_demonstration(
    product: Product, slurmds: Callable[[], None], ready_workers: WorkerServer
) -> None:
    credentials = product.folder / "qrun.json"
    product.site.write_qrun_credentials(credentials)
    common = f"--state-dir={product.state_directory} --worker-server={ready_workers.path}"
    product.cluster.write_plugstack(
        f"optional {product.installation.plugin} {product.site.config_path} {common}",
        f"optional {product.installation.qrun_plugin} --credentials={credentials} {common}",
    )
    slurmds()
    status, findings = check(product, *RIGHT)
    assert (status, not_right(findings)) == (0, [])
    assert product.run_job("true", f"--qpu={QPU}").state == "COMPLETED"


def test_qpu_is_acquired_and_released(product: Product) -> None:
    _, findings = check(product, "--acquire", QPU)
    assert [each["verdict"] for each in findings if each["check"] == "QPU"] == ["right"]
    assert product.sessions_served() == [QPU]


def test_kill_leaves_nothing_unreleased(product: Product) -> None:
    product.site.order_fault("hang", f"/backends/{QPU}/status", method="GET", times=None)
    program = product.installation.environment / "bin" / "spank-qrmi"
    running = product.cluster.spawn(str(program), "check", "--acquire", "--timeout=4", QPU)
    # Its look hangs first, then what an acquisition asks besides.
    wait_until(product.site.open_sessions, WAIT_SECONDS, "open session")
    product.wait_for_recorded_session()
    end_processes([running.pid])
    running.communicate()
    assert product.site.open_sessions() != []
    product.site.clear_faults()
    done = command(product, "release", "--orphaned")
    assert (done.returncode, done.stdout) == (0, f"job 0: {QPU}: released\n")
    assert product.site.open_sessions() == []


def test_hung_service_hangs_nothing(product: Product) -> None:
    product.site.order_fault("hang", "/runtime/.*")
    status, findings = check(product, "--timeout=2", QPU, "FRESNEL")
    by_name = {each["text"].partition(":")[0]: each["verdict"] for each in findings}
    assert (status, by_name[QPU], by_name["FRESNEL"]) == (2, "wrong", "right")


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


def test_what_a_failing_job_names_says_more(product: Product) -> None:
    entry = product.entry(QPU, QRMI_IBM_QRS_IAM_APIKEY="not-a-key-of-theirs")
    product.write_plugstack(config=product.write_config(entry))
    result = product.run_job("true", f"--qpu={QPU}")
    assert f"spank-qrmi check {QPU}, as root on this node, says more" in result.stderr
    status, findings = check(product, QPU)
    told = [each for each in not_right(findings) if each.startswith("QPU: ")]
    assert status == 2
    assert [f"check {QPU}_QRMI_IBM_QRS_IAM_APIKEY" in each for each in told] == [True]


def test_token_that_is_dropped_is_asked_for_anew(product: Product) -> None:
    def run_job() -> int:
        before = product.site.tokens_issued()
        assert product.run_job("true", f"--qpu={QPU}").state == "COMPLETED"
        return product.site.tokens_issued() - before

    assert [run_job(), run_job()] == [1, 0]
    shown = command(product, "tokens").stdout.splitlines()
    assert any(QPU in line for line in shown[1:])
    assert command(product, "tokens", f"--drop={QPU}").returncode == 0
    assert run_job() == 1
    assert command(product, "tokens", "--all").returncode == 0
    assert QPU not in command(product, "tokens").stdout
    assert {request["path"] for request in product.site.requests()} >= {SESSIONS}


def test_only_root_may_look(product: Product) -> None:
    program = product.installation.environment / "bin" / "spank-qrmi"
    done = product.cluster.run(str(program), "check", check=False, user="nobody")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "spank-qrmi: only root sees what jobs will meet: run it as root\n"
