# SPDX-License-Identifier: GPL-3.0-or-later
"""A configuration that was made for the established plugin: only its URLs and keys are changed.

It is that of docs/migrating.md, with names, types and keys of six QPUs of the public demonstration
(demo/qrmi/etc/slurm/qrmi_config.json of qiskit-community/spank-plugins), from before and after one
type had a new name.
"""

import json
import re

from loopback.installation import REPOSITORY
from loopback.job import parse_environment
from tests.slurm.product import Product, resource_variables, token_in

LIKE = {"test_heron": "ibm_torino", "test_eagle": "ibm_kingston", "PASQAL_LOCAL": "ORION"}
"""QPUs with the site's QPU whose URLs and credentials they get."""
OLD_NAMES = {"QRMI_URL": "QRMI_WARDEN_URL"}
"""Keys that the site's configuration has by a newer name."""
BASE_URL = "QRMI_PASQAL_CLOUD_BASE_URL"
"""Without it the public service is asked."""


def test_one_job_has_all_qpus(product: Product):
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
