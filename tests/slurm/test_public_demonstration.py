# SPDX-License-Identifier: GPL-3.0-or-later
"""A configuration that was made for the established plugin: only its URLs and keys are changed.

Names, types and keys are those of six QPUs of its public demonstration, from before and after one
type had a new name: demo/qrmi/etc/slurm/qrmi_config.json of qiskit-community/spank-plugins.
"""

from pathlib import Path

from loopback.job import parse_environment
from tests.slurm.product import Product, resource_variables

IBM = ("ENDPOINT", "IAM_ENDPOINT", "IAM_APIKEY", "SERVICE_CRN")
STORE = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    *("S3_ENDPOINT", "S3_BUCKET", "S3_REGION"),
)
FILLED_IN = {
    "test_heron": ("ibm_torino", [f"QRMI_IBM_DA_{key}" for key in (*IBM, *STORE)]),
    "test_eagle": ("ibm_kingston", [f"QRMI_IBM_QS_{key}" for key in (*IBM, *STORE)]),
    "ibm_sherbrooke": ("ibm_sherbrooke", [f"QRMI_IBM_QRS_{key}" for key in IBM]),
    # Without this one the public service is asked.
    "FRESNEL": ("FRESNEL", ["QRMI_PASQAL_CLOUD_BASE_URL"]),
    "PASQAL_LOCAL": ("ORION", ["QRMI_URL"]),
    "garnet_mock": ("garnet_mock", ["QRMI_IQM_ISA_ENDPOINT", "QRMI_IQM_ISA_TOKEN"]),
}
"""Each QPU with the site's QPU whose URLs and credentials it gets, and the keys of these."""
LEFT_EMPTY = {"FRESNEL": ["QRMI_PASQAL_CLOUD_PROJECT_ID", "QRMI_PASQAL_CLOUD_AUTH_TOKEN"]}
OLD_NAMES = {"QRMI_URL": "QRMI_WARDEN_URL"}
"""Keys that the site's configuration has by a newer name."""
TYPES = (
    "direct-access,ibm-quantum-system,qiskit-runtime-service,pasqal-cloud,pasqal-local,iqm-server"
)


def environments(product: Product) -> dict[str, dict[str, str]]:
    """Return what the demonstration says of each QPU."""
    site = product.site
    return {
        name: {key: site.environment_of(like)[OLD_NAMES.get(key, key)] for key in keys}
        | dict.fromkeys(LEFT_EMPTY.get(name, ()), "")
        for name, (like, keys) in FILLED_IN.items()
    }


def write_demonstration(product: Product) -> Path:
    """Write its configuration."""
    resources = (
        {"name": name, "type": type_name, "environment": environment}
        for (name, environment), type_name in zip(
            environments(product).items(), TYPES.split(","), strict=True
        )
    )
    return product.write_config(*resources)


def test_one_job_has_all_qpus(product: Product):
    product.write_plugstack("--require=all", config=write_demonstration(product))
    names = ",".join(FILLED_IN)

    result = product.run_job("env -0", f"--qpu={names}", "--time=5")

    assert (result.state, result.stderr) == ("COMPLETED", "")
    environment = parse_environment(result.stdout)
    assert environment["SLURM_JOB_QPU_RESOURCES"] == names
    assert environment["SLURM_JOB_QPU_TYPES"] == TYPES
    for name, expected in environments(product).items():
        assert resource_variables(result.stdout, name).items() >= expected.items()
        assert environment[f"{name}_QRMI_JOB_ACQUISITION_TOKEN"]
    product.wait_until_released()
    sessions = {each["backend_name"]: each["id"] for each in product.site.sessions()}
    assert sessions.keys() == {"ibm_sherbrooke", "ORION"}
    assert environment["PASQAL_LOCAL_QRMI_JOB_ACQUISITION_TOKEN"] == sessions["ORION"]
    assert len(product.site.sessions()) == len(sessions)
