# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment of jobs and their steps: exactly what the documentation's tables say."""

import json
import re
import uuid

import pytest

from loopback.installation import REPOSITORY
from loopback.job import parse_environment
from loopback.tls_entrance import tls_entrance_to
from tests.slurm.product import Product, qpu_variables, resource_variables, token_in
from tests.unit.vendors import HOLDERS, VENDORS

NAMES = tuple(each.name for each in VENDORS)
TYPES = ",".join(each.type_name for each in VENDORS)
LIKE = {"test_heron": "ibm_torino", "test_eagle": "ibm_kingston", "PASQAL_LOCAL": "ORION"}
"""QPUs with the site's QPU whose URLs and credentials they get."""
OLD_NAMES = {"QRMI_URL": "QRMI_WARDEN_URL"}
"""Keys that the site's configuration has by a newer name."""
BASE_URL = "QRMI_PASQAL_CLOUD_BASE_URL"
"""Without it the public service of Pasqal is asked."""
NOBODY_LISTENS = "http://127.0.0.1:9"
PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
WITH_LIMIT = [
    each.name for each in HOLDERS if (hold := each.client().hold) and hold.longest_seconds
]
"""Those whose sessions end by themselves."""


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
    assert max(of_sessions.values()) <= 28800, of_sessions
    tokens = {name: token_in(printed, name) for name in NAMES}
    expected = {
        "QRMI_JOB_ID": str(job.id),
        "SLURM_QRMI_JOB_ID": str(job.id),
        "QRMI_JOB_UID": "0",
        "QRMI_JOB_QPU_RESOURCES": ",".join(NAMES),
        "SLURM_JOB_QPU_RESOURCES": ",".join(NAMES),
        "QRMI_JOB_QPU_TYPES": TYPES,
        "SLURM_JOB_QPU_TYPES": TYPES,
    }
    for name in NAMES:
        of_resource = product.site.environment_of(name) | {
            "QRMI_JOB_ACQUISITION_TOKEN": tokens[name],
            "QRMI_JOB_TIMEOUT_SECONDS": str({**seconds, **of_sessions}[name]),
        }
        expected |= {f"{name}_{key}": value for key, value in of_resource.items()}
    assert qpu_variables(printed) == expected
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


def test_values_are_passed_on_unchanged(product: Product):
    awkward = "two words, 'quotes\" $HOME `id` %s \\ ü =;\nand a line"
    entry = product.entry("FRESNEL", ANYTHING=awkward, QRMI_EMPTY="")
    product.write_plugstack(config=product.write_config(entry))

    printed = product.run_job("env -0", "--qpu=FRESNEL").stdout

    environment = parse_environment(printed)
    assert (environment["FRESNEL_ANYTHING"], environment["FRESNEL_QRMI_EMPTY"]) == (awkward, "")


def test_everything_is_the_users(product: Product):
    names = ("ibm_torino", "ibm_sherbrooke", "FRESNEL")
    exported = {"FRESNEL_QRMI_OF_MINE": "kept"}
    for name in names:
        own = product.site.environment_of(name)
        exported |= {f"{name}_{key}": value for key, value in own.items()}
    entries = [product.entry(name) | {"environment": {}} for name in names]
    product.write_plugstack(config=product.write_config(*entries))

    result = product.run_job("env -0", f"--qpu={','.join(names)}", env=exported, user="nobody")

    assert (result.state, result.stderr) == ("COMPLETED", "")
    for name in names:
        of_job = resource_variables(result.stdout, name)
        assert of_job.pop("QRMI_JOB_ACQUISITION_TOKEN")
        assert of_job.pop("QRMI_JOB_TIMEOUT_SECONDS")
        assert of_job.pop("QRMI_OF_MINE", "") == ("kept" if name == "FRESNEL" else "")
        assert of_job == product.site.environment_of(name)
    assert len(product.site.sessions()) == 1


def test_users_variables_change_neither_certificates_nor_proxies(product: Product):
    with tls_entrance_to(product.site.url, product.folder) as entrance:
        entry = product.entry("ibm_sherbrooke")
        entry["environment"] = {
            key: value.replace(product.site.url, entrance.url)
            for key, value in entry["environment"].items()
        }
        config = product.write_config(entry)
        product.write_plugstack(config=config)
        # What the site does not trust, the user cannot bring, nor switch its check off.
        exported = dict.fromkeys(CERTIFICATES, str(entrance.certificate))
        exported |= {"PYTHONHTTPSVERIFY": "0"}
        refused = product.run_job("true", "--qpu=ibm_sherbrooke", env=exported)
        assert refused.state == "FAILED"
        assert "its certificate is not trusted" in refused.stderr
        assert product.site.requests() == []

        product.write_plugstack(f"--env:SSL_CERT_FILE={entrance.certificate}", config=config)
        exported = dict.fromkeys(PROXIES, NOBODY_LISTENS) | dict.fromkeys(CERTIFICATES, "/dev/null")
        result = product.run_job("true", "--qpu=ibm_sherbrooke", env=exported)
        assert (result.state, result.stderr) == ("COMPLETED", "")
        assert product.sessions_served() == ["ibm_sherbrooke"]


def test_configuration_of_the_established_plugin_serves_all_its_qpus(product: Product):
    """Only its URLs and keys are changed.

    It is that of docs/migrating.md, with names, types and keys of six QPUs of the public
    demonstration (demo/qrmi/etc/slurm/qrmi_config.json of qiskit-community/spank-plugins), from
    before and after one type had a new name.
    """
    page = (REPOSITORY / "docs" / "migrating.md").read_text()
    [text] = re.findall(r"(?ms)^```json\n(.*?)^```$", page)
    resources = {each["name"]: each for each in json.loads(text)["resources"]}
    for name, resource in resources.items():
        of_site = product.site.environment_of(LIKE.get(name, name))
        for key, value in resource["environment"].items():
            # What is empty stays so, and so does what the site has no word on.
            resource["environment"][key] = value and of_site.get(OLD_NAMES.get(key, key), value)
    of_fresnel = product.site.environment_of("FRESNEL")
    resources["FRESNEL"]["environment"][BASE_URL] = of_fresnel[BASE_URL]
    product.write_plugstack("--require=all", config=product.write_config(*resources.values()))
    names = ",".join(resources)

    result = product.run_job("env -0", f"--qpu={names}", "--time=5")

    assert (result.state, result.stderr) == ("COMPLETED", "")
    environment = parse_environment(result.stdout)
    assert environment["SLURM_JOB_QPU_RESOURCES"] == names
    types = ",".join(each["type"] for each in resources.values())
    assert environment["SLURM_JOB_QPU_TYPES"] == types
    tokens = {}
    for name, resource in resources.items():
        assert resource_variables(result.stdout, name).items() >= resource["environment"].items()
        tokens[name] = token_in(result.stdout, name)
    product.wait_until_released()
    sessions = [(each["backend_name"], each["id"]) for each in product.site.sessions()]
    assert sorted(sessions) == [
        ("ORION", tokens["PASQAL_LOCAL"]),
        ("ibm_sherbrooke", tokens["ibm_sherbrooke"]),
    ]
    assert all(tokens.values())
