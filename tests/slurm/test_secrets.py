# SPDX-License-Identifier: GPL-3.0-or-later
"""No secret is ever seen in a log or on a terminal, however much is logged."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from loopback.cluster import SlurmCluster
from loopback.installation import Installation
from loopback.job import Job
from loopback.site import Site
from spank_qrmi.redaction import is_secret_name
from spank_qrmi.simulator.site import API_KEY, SERVICE_CRN
from tests.slurm.product import Product, resource_variables
from tests.slurm.qrun_product import QrunProduct

KEY_OF_USER = "key-that-the-user-brought"
PLAIN_VALUE = "value-whose-name-tells-nothing"
SITE_SECRETS = {
    "QRMI_IBM_DA_AWS_ACCESS_KEY_ID": "aws-access-key-of-the-site",
    "QRMI_IBM_DA_AWS_SECRET_ACCESS_KEY": "aws-secret-of-the-site",
}
ARGUMENT_SECRETS = {
    "SITE_TOKEN": "token-of-the-plugstack-line",
    "http_proxy": "http://proxy-user:proxy-password@127.0.0.1:9",
}


@pytest.fixture(scope="module")
def talkative_cluster(cluster_folder_of_module: Path) -> Iterator[SlurmCluster]:
    """A cluster whose daemons log all they can."""
    with SlurmCluster(
        cluster_folder_of_module,
        nodes=1,
        slurmd_debug="debug5",
        settings={"SlurmctldDebug": "debug5"},
    ) as cluster:
        yield cluster


@pytest.fixture
def product(
    talkative_cluster: SlurmCluster, installation: Installation, site: Site
) -> Iterator[Product]:
    folder = Path(tempfile.mkdtemp(prefix="test-", dir=talkative_cluster.folder))
    product = Product(talkative_cluster, installation, site, folder)
    arguments = [f"--env:{name}={value}" for name, value in ARGUMENT_SECRETS.items()]
    config = product.write_config(
        product.entry("ibm_torino", **SITE_SECRETS),
        product.entry("ibm_paused", **SITE_SECRETS),
        product.entry("ibm_sherbrooke"),
        product.entry("FRESNEL"),
    )
    product.write_plugstack(*arguments, "--env:no_proxy=127.0.0.1", config=config)
    yield product
    product.cluster.wait_for_empty_queue()
    product.cluster.assert_nodes_healthy()
    product.wait_until_released()


def secrets_of(product: Product) -> set[str]:
    """Return all that must not be seen, but for the tokens of one job."""
    return {
        product.site.api_key,
        product.site.service_crn,
        product.site.environment_of("FRESNEL")["QRMI_PASQAL_CLOUD_AUTH_TOKEN"],
        # How each bearer token of the simulator begins.
        "simulator-token-",
        KEY_OF_USER,
        "proxy-password",
        ARGUMENT_SECRETS["SITE_TOKEN"],
        *SITE_SECRETS.values(),
        *(session["id"] for session in product.site.sessions()),
    }


def all_that_was_said(product: Product, *jobs: Job) -> str:
    """Return the logs of all daemons, and what the user saw."""
    logs = product.cluster.folder.joinpath("log").iterdir()
    texts = [path.read_text(errors="replace") for path in logs]
    texts += [text for job in jobs for text in (job.submit_stderr, job.stderr)]
    return "\n".join(texts)


def seen(secrets: set[str], text: str) -> dict[str, str]:
    """Return each secret that the text holds, with the first line that holds it."""
    return {
        secret: next(line for line in text.splitlines() if secret in line)
        for secret in secrets
        if secret in text
    }


def test_no_secret_of_a_job_that_succeeds(product: Product):
    names = ("ibm_torino", "ibm_sherbrooke", "FRESNEL")
    job = product.submit("env -0", "-vvvv", f"--qpu={','.join(names)}")
    result = job.wait()

    assert result.state == "COMPLETED"
    tokens = {
        resource_variables(result.stdout, name)["QRMI_JOB_ACQUISITION_TOKEN"] for name in names
    }
    product.cluster.wait_for_log("<- slurm_spank_exit", job)
    said = all_that_was_said(product, job)
    assert "QRMI_IBM_DA_AWS_SECRET_ACCESS_KEY=****" in said
    assert "sbatch: debug:  spank_qrmi_c" in job.submit_stderr
    assert seen(secrets_of(product) | tokens, said) == {}


def test_no_secret_of_a_job_that_fails(product: Product):
    exported = {"ibm_torino_QRMI_IBM_DA_IAM_APIKEY": KEY_OF_USER}
    job = product.submit("true", "-vvvv", "--qpu=ibm_torino,ibm_paused,nowhere", env=exported)

    assert job.wait().state == "FAILED"
    said = all_that_was_said(product, job)
    assert "Provided API key could not be found" in said
    assert seen(secrets_of(product), said) == {}


@pytest.mark.parametrize("fault", ["malformed", "expired_token", "drop"])
def test_no_secret_where_a_service_misbehaves(product: Product, fault: str):
    product.site.order_fault(fault, "/runtime/api/v1/sessions$", times=1, when="before")
    product.site.order_fault(fault, "/direct-access/", times=1)
    job = product.submit("true", "-vvvv", "--qpu=ibm_torino,ibm_sherbrooke")
    job.wait()

    assert seen(secrets_of(product), all_that_was_said(product, job)) == {}


def test_no_secret_of_a_plain_srun(product: Product):
    done = product.srun("-vvvv", "--qpu=ibm_torino,ibm_sherbrooke,FRESNEL", "true")
    product.wait_until_released()

    assert seen(secrets_of(product), done.stderr + all_that_was_said(product)) == {}


def test_no_secret_in_the_command_line_of_the_worker(product: Product):
    product.site.order_fault("delay", "/pasqal/", delay_seconds=1, times=1)
    job = product.submit("true", "--qpu=FRESNEL,ibm_torino")
    process = Path("/proc", str(product.wait_for_worker(job)))

    shown = process.joinpath("cmdline").read_text() + process.joinpath("environ").read_text()

    assert seen(secrets_of(product), shown) == {}
    assert job.wait().state == "COMPLETED"


def test_no_secret_of_a_file_of_its_own(product: Product):
    entry = product.entry("ibm_sherbrooke")
    key = product.folder / "key"
    key.touch(mode=0o600)
    key.write_text(entry["environment"]["QRMI_IBM_QRS_IAM_APIKEY"] + "\n")
    plain = product.folder / "plain"
    plain.touch(mode=0o600)
    plain.write_text(PLAIN_VALUE)
    entry["environment"] |= {
        "QRMI_IBM_QRS_IAM_APIKEY": {"file": str(key)},
        "QRMI_PLAIN": {"file": str(plain)},
    }
    product.write_plugstack("--strict-permissions", config=product.write_config(entry))
    job = product.submit("env -0", "-vvvv", "--qpu=ibm_sherbrooke")
    result = job.wait()
    product.wait_until_released()

    assert result.state == "COMPLETED"
    found = resource_variables(result.stdout, "ibm_sherbrooke")
    assert (found["QRMI_IBM_QRS_IAM_APIKEY"], found["QRMI_PLAIN"]) == (
        product.site.api_key,
        PLAIN_VALUE,
    )
    said = all_that_was_said(product, job)
    assert "QRMI_PLAIN=****" in said
    assert seen({product.site.api_key, PLAIN_VALUE}, said) == {}


def test_journal_is_roots_alone(product: Product):
    job = product.submit("sleep 60", "--qpu=ibm_sherbrooke")
    product.wait_for_recorded_session()

    [entry] = product.state_directory.iterdir()
    assert product.state_directory.stat().st_mode & 0o777 == 0o700
    assert entry.stat().st_mode & 0o777 == 0o600
    job.cancel()
    job.wait()


def test_no_secret_of_a_job_for_qrun(talkative_cluster: SlurmCluster, product: Product):
    qrun = QrunProduct(talkative_cluster, product.installation, product.site, product.folder)
    secrets = {API_KEY, SERVICE_CRN, "proxy-password", "simulator-token-"} | {
        value for name, value in qrun.values.items() if is_secret_name(name)
    }
    iam = (f"--iam-apikey={API_KEY}", f"--service-crn={SERVICE_CRN}")
    proxy = f"--env:http_proxy={ARGUMENT_SECRETS['http_proxy']}"
    endpoint = f"--iam-endpoint={product.site.url}/iam"
    qrun.write_plugstack(*iam, endpoint, proxy, "--env:no_proxy=127.0.0.1")
    product.folder.chmod(0o755)
    qrun.hold_jobs()
    job = qrun.submit(f"srun {qrun.stand_in()} killed", "-vvvv")
    job.wait()
    qrun.wait_until_removed()
    qrun.write_plugstack("ninth")
    refused = qrun.submit("true", "-vvvv")

    assert refused.wait().state == "FAILED"
    assert "setenv IBMQRUN_APPID_SECRET=****" in "\n".join(qrun.our_lines(job))
    assert len(secrets) > 6
    assert seen(secrets, all_that_was_said(product, job, refused)) == {}
