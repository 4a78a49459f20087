# SPDX-License-Identifier: GPL-3.0-or-later
"""No secret is ever seen by anybody but its owner, however much is logged.

Most of what these tests are for is checked after each of them, as after every test of the ring: a
search through all files (`conftest._leave_no_secret`). What is written nowhere is kept for it. The
server that has workers ready for all tests writes nothing, and holds nothing in its memory in the
end (`ready_workers`).
"""

import json
import re
import socket
import urllib.parse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loopback.cluster import SlurmCluster
from loopback.job import parse_environment
from loopback.leaks import LeakSearch
from loopback.processes import children_of, command_line
from loopback.site import SECRETS
from loopback.waiting import wait_until
from spank_qrmi_simulator.site import API_KEY, SERVICE_CRN
from tests.slurm.both_ways import READY, both_ways
from tests.slurm.product import SESSIONS, Product
from tests.slurm.qrun_product import QrunProduct
from tests.unit.scripted_server import listening, received_request

ALL_THREE = "--qpu=ibm_torino,ibm_sherbrooke,FRESNEL"
AS_MUCH_AS_POSSIBLE = "-vvvvv"
OF_USER = {"ibm_torino_QRMI_IBM_DA_IAM_APIKEY": "key-that-the-user-brought"}
# Spelled in another way wherever it is part of something else.
HARD_KEY = 'k/y+of the "site" & 100%='
SITE_SECRETS = {
    "QRMI_IBM_DA_AWS_ACCESS_KEY_ID": "aws-access-key-of-the-site",
    "QRMI_IBM_DA_AWS_SECRET_ACCESS_KEY": "aws-secret-of-the-site",
}
LINE_SECRETS = {"SITE_TOKEN": "token-of-the-plugstack-line", "password": "proxy-password"}
ARGUMENTS = (
    f"--env:SITE_TOKEN={LINE_SECRETS['SITE_TOKEN']}",
    f"--env:http_proxy=http://proxy-user:{LINE_SECRETS['password']}@127.0.0.1:9",
    "--env:no_proxy=127.0.0.1",
)
only_ready = pytest.mark.parametrize("product", [READY], indirect=True)

# Its jobs have an extern step on each node.
CLUSTER = {"nodes": 1, "settings": {"PrologFlags": "Contain"}}


@pytest.fixture(scope="module")
def _leaks(cluster_of_module: SlurmCluster) -> LeakSearch:
    return LeakSearch(cluster_of_module.folder, SECRETS)


def write_secrets(product: Product) -> None:
    """Let the site have secrets in its configuration and its line."""
    config = product.write_config(
        product.entry("ibm_torino", **SITE_SECRETS),
        product.entry("ibm_paused", **SITE_SECRETS),
        product.entry("ibm_sherbrooke"),
        product.entry("FRESNEL"),
    )
    product.write_plugstack(*ARGUMENTS, config=config)


@pytest.fixture
def product(product: Product) -> Product:
    write_secrets(product)
    return product


def keep(product: Product, *shown: str | bytes) -> None:
    """Keep what a process showed for the search after the test."""
    with (product.folder / "shown").open("ab") as file:
        file.writelines(each.encode() if isinstance(each, str) else each for each in shown)


def keep_processes(product: Product, pids: Iterable[int]) -> None:
    """Keep how processes were called and what is in their environments."""
    for pid in pids:
        process = Path("/proc", str(pid))
        keep(product, *(process.joinpath(name).read_bytes() for name in ("cmdline", "environ")))


@both_ways
def test_jobs_that_succeed_and_fail(product: Product):
    script = f"env -0; srun {AS_MUCH_AS_POSSIBLE} true"
    options = (AS_MUCH_AS_POSSIBLE, "--qpu=ibm_torino,ibm_paused,nowhere")
    succeeds = product.submit(script, AS_MUCH_AS_POSSIBLE, ALL_THREE)
    fails = product.submit("true", *options, env=OF_USER)

    assert [job.wait().state for job in (succeeds, fails)] == ["COMPLETED", "FAILED"]
    assert SITE_SECRETS["QRMI_IBM_DA_AWS_SECRET_ACCESS_KEY"] in succeeds.stdout
    product.cluster.wait_for_log("QRMI_IBM_DA_AWS_SECRET_ACCESS_KEY=****", succeeds)
    assert "sbatch: debug:  spank_qrmi_c" in succeeds.submit_stderr
    assert "debug:  spank_qrmi_c" in succeeds.stderr
    assert "Provided API key could not be found" in fails.stderr


def test_plain_srun_that_succeeds_and_fails(product: Product):
    done = product.srun(AS_MUCH_AS_POSSIBLE, ALL_THREE, "true")
    options = (AS_MUCH_AS_POSSIBLE, "--qpu=ibm_torino")
    failed = product.srun(*options, "true", env=OF_USER, check=False)

    assert "debug:  spank_qrmi_c" in done.stderr
    assert "Provided API key could not be found" in failed.stderr
    searched = (product.cluster.folder / "commands.log").read_text()
    assert [text for text in (done.stderr, failed.stderr) if text not in searched] == []


@contextmanager
def echoing_service() -> Iterator[tuple[str, list[str]]]:
    """Give the URL of a service that refuses all in the words that it was sent, and these words."""
    sent: list[str] = []

    def serve(connection: socket.socket) -> None:
        while request := received_request(connection).decode():
            head, _, body = request.partition("\r\n\r\n")
            # The credentials first: of a long text only the beginning is shown.
            credentials = re.findall(r"(?im)^(?:authorization|service-crn): (.*?)\r?$", head)
            echo = " ".join((*credentials, body))
            sent.append(echo)
            texts = dict.fromkeys(("errorCode", "errorMessage", "message", "detail"), echo)
            answer = json.dumps(texts | {"errors": [{"code": echo, "message": echo}]})
            reason = urllib.parse.quote(echo, safe=" =")
            headers = f"WWW-Authenticate: {echo}\r\nContent-Length: {len(answer)}"
            connection.sendall(f"HTTP/1.1 401 {reason}\r\n{headers}\r\n\r\n{answer}".encode())

    with listening(serve, []) as port:
        yield f"http://127.0.0.1:{port}", sent


@both_ways
def test_service_that_repeats_what_it_was_sent(product: Product):
    with echoing_service() as (url, sent):
        entries = [
            product.entry("ibm_torino", QRMI_IBM_DA_ENDPOINT=url),
            product.entry("ibm_quebec", QRMI_IBM_DA_IAM_ENDPOINT=url),
            product.entry("ibm_sherbrooke", QRMI_IBM_QRS_ENDPOINT=url),
            product.entry("ibm_brisbane", QRMI_IBM_QRS_IAM_ENDPOINT=url),
            product.entry("FRESNEL", QRMI_PASQAL_CLOUD_BASE_URL=url),
        ]
        entries[1]["environment"]["QRMI_IBM_DA_IAM_APIKEY"] = HARD_KEY
        config = product.write_config(*entries)
        product.write_plugstack(*ARGUMENTS, config=config)
        names = ",".join(entry["name"] for entry in entries)
        done = product.srun(AS_MUCH_AS_POSSIBLE, f"--qpu={names}", "true", check=False)

    assert done.returncode == 1
    told = ", ".join(re.findall(r" QPU ([^:\n]*): ", done.stderr)).split(", ")
    assert set(told) == {entry["name"] for entry in entries}
    asked = "\n".join(sent)
    assert all(text in asked for text in (API_KEY, "Bearer simulator-token-", SERVICE_CRN))


def test_what_an_administrator_is_shown(product: Product):
    published = product.folder / "published"
    published.mkdir()
    job = product.submit("sleep 600", "--qpu=ibm_sherbrooke,FRESNEL", env=OF_USER)
    product.wait_for_recorded_session()
    assert "ibm_sherbrooke" in product.spank_qrmi("status").stdout
    job.cancel()
    job.wait()
    product.wait_until_released()
    searched = product.cluster.folder / "commands.log"
    for words, expected in (
        (("release", "--all"), "ibm_sherbrooke: released"),
        (("check",), "ibm_sherbrooke: "),
        (("check", "--json", "ibm_sherbrooke", "nowhere"), "ibm_sherbrooke: "),
        (("tokens",), "ibm_sherbrooke"),
        (("metrics",), "spank_qrmi_"),
        (("usage", str(product.usage_path)), "FRESNEL"),
        (("monitor", "--once", f"--publish={published}", "--licenses=none"), "ibm_paused: "),
        (("qpus", f"--catalog={published}"), "ibm_sherbrooke"),
    ):
        done = product.spank_qrmi(*words)
        assert expected in done.stdout + done.stderr, words
        # Which is searched as what the command writes is.
        assert done.stdout + done.stderr in searched.read_text()


@both_ways
def test_processes_that_acquire_and_release(product: Product):
    product.site.order_fault("delay", "/pasqal/", delay_seconds=1, times=1)
    product.site.order_fault("delay", f"{SESSIONS}/", delay_seconds=1, times=1)
    job = product.submit("true", "--qpu=ibm_sherbrooke,FRESNEL")

    for path in ("/pasqal/", f"{SESSIONS}/"):
        product.wait_for_request(path)
        worker = product.wait_for_worker(job)
        server = [product.server.pid] if product.server is not None else []
        keep_processes(product, [*server, worker, *children_of(worker)])
        keep(product, *(" ".join(command_line(pid)) for pid in product.cluster.process_ids()))

    assert job.wait().state == "COMPLETED"
    assert b"spank_qrmi.worker" in (product.folder / "shown").read_bytes()


@only_ready
def test_memory_of_what_has_workers_ready(product: Product, request: pytest.FixtureRequest):
    """What serves a job holds its secrets; what serves the next one holds none."""
    leaks: LeakSearch = request.getfixturevalue("_leaks")
    server = product.server
    assert server is not None
    product.site.order_fault("hang", "/pasqal/")
    job = product.submit("true", ALL_THREE, env=OF_USER)
    product.wait_for_request("/pasqal/")
    product.wait_for_recorded_session()
    # What the test has configured and submitted is known to the search from now on.
    leaks.check()
    worker = product.wait_for_worker(job)
    [network] = children_of(worker)

    held = {pid: {leak.kind for leak in leaks.find_in_memory([pid])} for pid in (worker, network)}
    job.cancel()
    job.wait()
    product.wait_until_released()

    of_user, of_proxy = (f"value of {name}" for name in (*OF_USER, "http_proxy"))
    assert {"Pasqal's token", "API key", "bearer token", of_user, of_proxy} <= held[worker]
    assert {"Pasqal's token", "API key", "bearer token"} <= held[network]
    leaks.check_memory(server.wait_until_idle())


def test_environment_of_jobs_that_asked_for_nothing_and_for_another_resource(product: Product):
    steps = [product.folder / "step", product.folder / "overlapping-step"]
    # Slurm's own files: on a busy machine srun may lose what so short a step writes.
    to_files = f"srun --output={steps[0]} env -0; srun --overlap --output={steps[1]} env -0"
    without = product.submit(f"env -0; {to_files}")
    result = product.run_job("env -0; srun env -0; srun --overlap env -0", "--qpu=FRESNEL")

    shown = [without.wait().stdout, *(step.read_text() for step in steps)]
    assert ["SLURM_JOB_ID=" in each for each in shown] == [True] * 3
    of_others = {kind: secret for kind, secret in SECRETS.items() if "Pasqal" not in kind}
    of_others |= SITE_SECRETS
    assert SECRETS["Pasqal's token"] in result.stdout
    assert [kind for kind, secret in of_others.items() if secret in result.stdout] == []


def test_environment_of_the_extern_step(product: Product):
    job = product.submit("sleep 60", ALL_THREE)
    product.wait_for_recorded_session()
    job.wait_for_state("RUNNING")

    title = f"slurmstepd: [{job.id}.extern]"
    [extern] = [pid for pid in product.cluster.stepd_pids(job.id) if title in command_line(pid)[0]]
    wait_until(
        # Before a child becomes that, it is a copy of slurmstepd. Newer releases start none.
        lambda: all(command_line(pid)[:1] == ["sleep"] for pid in children_of(extern)),
        10,
        "process of the extern step",
    )
    processes = [extern, *children_of(extern)]
    keep_processes(product, processes)
    environments = [Path("/proc", str(pid), "environ").read_text() for pid in processes]
    job.cancel()
    job.wait()
    names = [name for text in environments for name in parse_environment(text)]
    assert [name for name in names if "QRMI" in name] == []


@only_ready
def test_job_for_qrun(product: Product):
    qrun = QrunProduct(**vars(product))
    iam = (f"--iam-apikey={API_KEY}", f"--service-crn={SERVICE_CRN}")
    qrun.write_plugstack(*iam, f"--iam-endpoint={product.site.url}/iam", *ARGUMENTS[1:])
    qrun.hold_jobs()
    script = f"srun {AS_MUCH_AS_POSSIBLE} {qrun.stand_in()} killed"
    job = qrun.submit(script, AS_MUCH_AS_POSSIBLE)
    job.wait()
    qrun.wait_until_released()
    qrun.write_plugstack("ninth")
    refused = qrun.submit("true", AS_MUCH_AS_POSSIBLE)

    assert refused.wait().state == "FAILED"
    assert "setenv IBMQRUN_APPID_SECRET=****" in "\n".join(qrun.our_lines(job))
