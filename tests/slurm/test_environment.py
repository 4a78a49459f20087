# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment of jobs and their steps: exactly what the documentation's tables say."""

import json
import uuid
from pathlib import Path

import pytest

from loopback.job import parse_environment
from loopback.processes import command_line
from loopback.waiting import wait_until
from spank_qrmi.job.resolution import shown_names
from tests.slurm.product import Product, qpu_variables, resource_variables
from tests.unit.vendors import HOLDERS, VENDORS

NAMES = tuple(each.name for each in VENDORS)
TYPES = ",".join(each.type_name for each in VENDORS)
TOKEN = "QRMI_JOB_ACQUISITION_TOKEN"
WITH_LIMIT = [
    each.name for each in HOLDERS if (hold := each.client().hold) and hold.longest_seconds
]
"""Those whose sessions end by themselves."""


def expected_variables(
    product: Product, printed: str, job_id: int, seconds: dict[str, int]
) -> dict[str, str]:
    """Return what a job of root with all vendors must see; tokens are as printed."""
    expected = {
        "QRMI_JOB_ID": str(job_id),
        "SLURM_QRMI_JOB_ID": str(job_id),
        "QRMI_JOB_UID": "0",
        "QRMI_JOB_QPU_RESOURCES": ",".join(NAMES),
        "SLURM_JOB_QPU_RESOURCES": ",".join(NAMES),
        "QRMI_JOB_QPU_TYPES": TYPES,
        "SLURM_JOB_QPU_TYPES": TYPES,
    }
    for name in NAMES:
        of_resource = product.site.environment_of(name) | {
            TOKEN: resource_variables(printed, name)[TOKEN],
            "QRMI_JOB_TIMEOUT_SECONDS": str(seconds[name]),
        }
        expected |= {f"{name}_{key}": value for key, value in of_resource.items()}
    return expected


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [
        ("5", dict.fromkeys(NAMES, 300)),
        # What S3 signs for is 7 days at most.
        (
            "UNLIMITED",
            {each.name: each.client().longest_task_seconds or 4294967295 for each in VENDORS}
            | {"ibm_torino": 604800},
        ),
    ],
)
def test_environment_of_a_job(product: Product, limit: str, seconds: dict[str, int]):
    job = product.submit("env -0", f"--qpu={','.join(NAMES)}", f"--time={limit}")
    printed = job.wait().stdout

    # What was left of the time limit when it was opened.
    of_sessions = {
        each["backend_name"]: each["max_ttl"]
        for each in product.site.sessions()
        if each["backend_name"] in WITH_LIMIT
    }
    seconds = {**seconds, **of_sessions}
    assert max(of_sessions.values()) <= 28800, of_sessions
    assert qpu_variables(printed) == expected_variables(product, printed, job.id, seconds)
    tokens = {name: resource_variables(printed, name)[TOKEN] for name in NAMES}
    held = {each.name: tokens.pop(each.name) for each in HOLDERS}
    assert held == {each["backend_name"]: each["id"] for each in product.site.sessions()}
    assert {uuid.UUID(token).version for token in tokens.values()} == {4}


def test_steps_on_two_nodes_see_what_the_script_sees(product: Product):
    script = "env -0; srun /bin/bash -c 'env -0 >env-$SLURMD_NODENAME'"
    jobs = {
        export: product.submit(
            script, f"--qpu={','.join(NAMES)}", "--nodes=2", f"--export={export}"
        )
        for export in ("ALL", "NONE", "HOME,OF_MINE=1")
    }
    for export, job in jobs.items():
        result = job.wait()
        assert (result.state, result.nodes) == ("COMPLETED", "n[1-2]"), export
        of_script = qpu_variables(result.stdout)
        assert of_script["SLURM_JOB_QPU_RESOURCES"] == ",".join(NAMES), export
        for node in ("n1", "n2"):
            printed = (job.folder / f"env-{node}").read_text()
            assert qpu_variables(printed) == of_script, (export, node)
    assert len(product.site.sessions()) == len(HOLDERS) * len(jobs)


def test_job_without_the_option(product: Product):
    job = product.submit("env -0; srun env -0; echo; sleep 60")
    wait_until(lambda: job.stdout.endswith("\n"), 20, "output of the step")

    environment = parse_environment(job.stdout)
    assert qpu_variables(job.stdout) == {}
    assert "RUST_LOG" not in environment
    workers = [
        pid for pid in product.cluster.process_ids() if "spank_qrmi" in str(command_line(pid))
    ]
    assert workers == []
    assert product.site.requests() == []
    job.cancel()
    job.wait()


def test_variables_of_the_plugstack_line(product: Product):
    product.write_plugstack("--env:SITE_PROXY=http://proxy:3128/?a=b", "--env:EMPTY=")

    with_qpu = product.submit("env -0", "--qpu=FRESNEL")
    without = product.submit("env -0")

    environment = parse_environment(with_qpu.wait().stdout)
    assert (environment["SITE_PROXY"], environment["EMPTY"]) == ("http://proxy:3128/?a=b", "")
    assert not {"SITE_PROXY", "EMPTY"} & parse_environment(without.wait().stdout).keys()


def test_variables_of_the_plugstack_line_reach_our_own_requests(product: Product):
    # Nothing listens on the discard port: a request that goes there fails.
    product.write_plugstack("--env:http_proxy=http://127.0.0.1:9", "--acquire-timeout=2")

    result = product.run_job("true", "--qpu=FRESNEL")

    assert result.state == "FAILED"
    assert "127.0.0.1" in result.stderr
    assert product.site.requests() == []


def test_values_are_passed_on_unchanged(product: Product):
    awkward = "two words, 'quotes\" $HOME `id` %s \\ ü =;\nand a line"
    entry = product.entry("FRESNEL", ANYTHING=awkward, QRMI_EMPTY="")
    product.write_plugstack(config=product.write_config(entry))

    printed = product.run_job("env -0", "--qpu=FRESNEL").stdout

    environment = parse_environment(printed)
    assert (environment["FRESNEL_ANYTHING"], environment["FRESNEL_QRMI_EMPTY"]) == (awkward, "")


def test_example_configuration(product: Product):
    example = Path(product.installation.folder, "etc", "qrmi_config.json.example")
    product.write_plugstack("--on-failure=continue", "--acquire-timeout=1", config=example)

    result = product.run_job("echo ran", "--qpu=nowhere")

    assert result.stdout == "ran\n"
    names = [each["name"] for each in json.loads(example.read_bytes())["resources"]]
    assert shown_names(names) in result.stderr
