# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user exports for a resource wins over the site's values, and where that stops."""

from tests.slurm.product import Product, readable_lines, resource_variables


def test_sites_key_is_not_sent_to_a_users_endpoint(product: Product):
    elsewhere = f"{product.site.url}/elsewhere"
    exported = {"ibm_torino_QRMI_IBM_DA_ENDPOINT": elsewhere}

    result = product.run_job("echo started", "--qpu=ibm_torino", env=exported)

    assert (result.state, result.exit_code, result.stdout) == ("FAILED", "1:0", "")
    assert readable_lines(result.stderr)[:-1] == [
        "QPU ibm_torino: ibm_torino_QRMI_IBM_DA_ENDPOINT is yours but "
        "ibm_torino_QRMI_IBM_DA_IAM_APIKEY is the site's, which is sent only to the site's "
        "endpoint: set both or neither"
    ]
    assert product.site.requests() == []


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
