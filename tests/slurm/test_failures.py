# SPDX-License-Identifier: GPL-3.0-or-later
"""A failing acquisition fails the job, says why in its own output, and harms no node."""

from pathlib import Path

import pytest

from loopback.job import JobResult
from spank_qrmi.clients import CLIENTS
from tests.slurm.product import Product, qpu_variables, readable_lines

MODES = ("optional", "required")
NO_LISTS = {
    "QRMI_JOB_QPU_RESOURCES": "",
    "QRMI_JOB_QPU_TYPES": "",
    "SLURM_JOB_QPU_RESOURCES": "",
    "SLURM_JOB_QPU_TYPES": "",
}
REMEDY = "correct the line of spank_qrmi.so in plugstack.conf"

in_both_modes = pytest.mark.parametrize("mode", MODES)


def conclusion(names: str, advice: str = "") -> str:
    return f"--qpu={names}: no QPU could be acquired; the job does not start{advice}"


def advice(*names: str) -> str:
    return f"; {' '.join(['spank-qrmi check', *names])}, as root on this node, says more"


def assert_refused(product: Product, result: JobResult, *lines: str) -> None:
    """Assert that the job failed before its script started, with these lines in its output."""
    assert readable_lines(result.stderr) == list(lines)
    assert (result.state, result.exit_code, result.stdout) == ("FAILED", "1:0", "")
    product.cluster.wait_for_empty_queue()
    product.cluster.assert_nodes_healthy()


def small_config(product: Product) -> Path:
    """Write a configuration whose names fit into one line."""
    return product.write_config(product.entry("ibm_torino"), product.entry("FRESNEL"))


def unknown_text(config: Path) -> str:
    return f"not defined in {config} on this node; defined there: ibm_torino, FRESNEL"


@in_both_modes
def test_unknown_name_beside_a_known_one(product: Product, mode: str):
    config = small_config(product)
    product.write_plugstack(mode=mode, config=config)

    result = product.run_job('printf %s "$SLURM_JOB_QPU_RESOURCES"', "--qpu=nowhere,FRESNEL")

    assert (result.state, result.stdout) == ("COMPLETED", "FRESNEL")
    assert readable_lines(result.stderr) == [
        f"QPU nowhere: {unknown_text(config)}; the job goes on without it"
    ]


@in_both_modes
def test_only_unknown_names(product: Product, mode: str):
    config = small_config(product)
    product.write_plugstack(mode=mode, config=config)

    result = product.run_job("echo started", "--qpu=nowhere,never")

    assert_refused(
        product,
        result,
        f"QPU nowhere, never: {unknown_text(config)}",
        conclusion("nowhere,never"),
    )


@in_both_modes
def test_qpus_that_are_not_accessible(product: Product, mode: str):
    product.write_plugstack(mode=mode)
    names = "ibm_paused,ibm_maintenance,FRESNEL_CAN1"

    result = product.run_job("echo started", f"--qpu={names}")

    assert_refused(
        product,
        result,
        "QPU ibm_paused: not accessible: the backend is paused: simulated",
        "QPU ibm_maintenance: not accessible: the backend is maintenance: maintenance",
        "QPU FRESNEL_CAN1: not accessible: the device's availability is INACTIVE",
        conclusion(names),
    )


@in_both_modes
def test_wrong_key(product: Product, mode: str):
    entry = product.entry("ibm_torino", QRMI_IBM_DA_IAM_APIKEY="not-a-key-of-theirs")
    product.write_plugstack(mode=mode, config=product.write_config(entry))

    result = product.run_job("echo started", "--qpu=ibm_torino")

    [line, last] = readable_lines(result.stderr)
    assert line.startswith("QPU ibm_torino: ")
    assert "Provided API key could not be found." in line
    assert_refused(product, result, line, last)
    assert last == conclusion("ibm_torino", advice("ibm_torino"))


@in_both_modes
@pytest.mark.parametrize(
    ("name", "trouble"),
    [("nowhere.json", "cannot be read: No such file or directory"), ("", "is no regular file")],
)
def test_unreadable_configuration(product: Product, mode: str, name: str, trouble: str):
    config = product.folder / name
    product.write_plugstack(mode=mode, config=config)

    result = product.run_job("echo started", "--qpu=FRESNEL")

    assert_refused(product, result, f"{config}: {trouble}", conclusion("FRESNEL", advice()))


@in_both_modes
def test_broken_configuration(product: Product, mode: str):
    config = product.write_config_text('{"resources": [}')
    product.write_plugstack(mode=mode, config=config)

    result = product.run_job("echo started", "--qpu=FRESNEL")

    [line, last] = readable_lines(result.stderr)
    assert line.startswith(f"{config}: is not JSON: ")
    assert " at line 1 column 16; nothing in it can be used" in line
    assert_refused(product, result, line, last)
    assert last == conclusion("FRESNEL", advice())


@in_both_modes
def test_bad_entry_beside_a_good_one(product: Product, mode: str):
    bad = {"name": "broken", "type": "sundial", "environment": {}}
    config = product.write_config(bad, product.entry("FRESNEL"))
    product.write_plugstack(mode=mode, config=config)

    result = product.run_job('printf %s "$SLURM_JOB_QPU_RESOURCES"', "--qpu=broken,FRESNEL")

    types = ", ".join(CLIENTS)
    problem = f"{config}: resource broken: \"type\" must be one of {types}; got 'sundial'"
    assert (result.state, result.stdout) == ("COMPLETED", "FRESNEL")
    assert readable_lines(result.stderr) == [
        f"QPU broken: its definition cannot be used: {problem}; the job goes on without it"
    ]


@in_both_modes
@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ("--colour=blue", f"argument '--colour=…' is not known: {REMEDY}"),
        ("--env:NAME", f"argument '--env:NAME' must be --env:NAME=VALUE: {REMEDY}"),
        ("--on-failure=weep", f"--on-failure must be fail or continue, got 'weep': {REMEDY}"),
        (
            "--acquire-timeout=soon",
            "--acquire-timeout must be a whole number of seconds from 1 to 86400, got 'soon': "
            f"{REMEDY}",
        ),
    ],
    ids=["unknown", "no value", "no such choice", "no number"],
)
def test_malformed_argument(product: Product, mode: str, argument: str, reason: str):
    product.write_plugstack(argument, mode=mode)

    result = product.run_job("echo started", "--qpu=FRESNEL")

    assert_refused(product, result, f"--qpu: {reason}")


@in_both_modes
def test_no_configuration_on_a_compute_node(product: Product, mode: str):
    product.cluster.write_plugstack(f"{mode} {product.installation.plugin}")

    result = product.run_job("echo started", "--qpu=FRESNEL")

    assert_refused(
        product,
        result,
        f"--qpu: the path of qrmi_config.json must be the first argument: {REMEDY}",
    )


@in_both_modes
def test_plain_srun_fails_with_the_reason(product: Product, mode: str):
    product.write_plugstack(mode=mode)

    done = product.srun("--qpu=ibm_paused", "echo", "started", check=False)

    assert (done.returncode, done.stdout) == (1, "")
    assert "QPU ibm_paused: not accessible: the backend is paused: simulated" in done.stderr


@in_both_modes
def test_job_that_goes_on_without(product: Product, mode: str):
    product.write_plugstack("--on-failure=continue", mode=mode)

    job = product.submit("env -0", "--qpu=ibm_paused", user="nobody")
    result = job.wait()

    assert (result.state, result.exit_code) == ("COMPLETED", "0:0")
    assert qpu_variables(result.stdout) == NO_LISTS | {
        "QRMI_JOB_ID": str(job.id),
        "QRMI_JOB_UID": "65534",
        "SLURM_QRMI_JOB_ID": str(job.id),
    }
    assert readable_lines(result.stderr) == [
        "QPU ibm_paused: not accessible: the backend is paused: simulated",
        "--qpu=ibm_paused: no QPU could be acquired; the job goes on without",
    ]


def test_job_that_goes_on_without_a_configuration(product: Product):
    product.write_plugstack("--on-failure=continue", config=product.folder / "nowhere.json")

    result = product.run_job("env -0", "--qpu=ibm_paused")

    assert result.state == "COMPLETED"
    assert NO_LISTS.items() <= qpu_variables(result.stdout).items()


@in_both_modes
def test_all_are_required(product: Product, mode: str):
    product.write_plugstack("--require=all", mode=mode)

    result = product.run_job("echo started", "--qpu=ibm_sherbrooke,FRESNEL,ibm_paused")

    assert_refused(
        product,
        result,
        "QPU ibm_paused: not accessible: the backend is paused: simulated",
        "--qpu=ibm_sherbrooke,FRESNEL,ibm_paused: not every QPU could be acquired; the job does "
        "not start",
    )
    assert len(product.site.sessions()) == 1


def test_all_are_required_and_acquired(product: Product):
    product.write_plugstack("--require=all")

    assert product.run_job("true", "--qpu=ibm_sherbrooke,FRESNEL").state == "COMPLETED"


def test_requeued_job_is_not_the_answer(product: Product):
    job = product.submit("echo started", "--qpu=ibm_paused", "--requeue")

    assert job.wait().state == "FAILED"
    assert job.details()["Restarts"] == "0"


def test_secrets_that_others_can_read_under_strict_permissions(product: Product):
    config = product.write_config(product.entry("FRESNEL"))
    config.chmod(0o640)
    product.write_plugstack("--strict-permissions", config=config)

    assert_refused(
        product,
        product.run_job("true", "--qpu=FRESNEL"),
        f"{config}: holds secrets that others than its owner can read: chmod 600 {config}; "
        "--strict-permissions refuses it",
        conclusion("FRESNEL", advice()),
    )
