# SPDX-License-Identifier: GPL-3.0-or-later
"""QPUs are acquired before the script starts and released after it, once, for every vendor."""

from collections.abc import Sequence

from loopback.job import parse_environment
from tests.slurm.both_ways import both_ways
from tests.slurm.product import PRINT_RESOURCES, Product, resource_variables
from tests.unit.vendors import TOKEN, VENDORS, Vendor


def requests_of(product: Product) -> list[str]:
    """Return what the vendors were asked, without the requests for tokens."""
    return [asked for asked in product.site.asked() if asked != "POST /iam/identity/token"]


def requests_for(product: Product, vendors: Sequence[Vendor]) -> list[str]:
    """Return what the vendors are to be asked, with the ids of the sessions that there were."""
    ids = {each["backend_name"]: each["id"] for each in product.site.sessions()}
    return sorted(
        asked.replace(TOKEN, ids.get(vendor.name, TOKEN))
        for vendor in vendors
        for asked in vendor.on_site(vendor.documents)
    )


@both_ways
def test_qpus_of_all_vendors(product: Product):
    names = ",".join(each.name for each in VENDORS)

    result = product.run_job("env -0", f"--qpu={names}", "--time=5")

    assert (result.state, result.stderr) == ("COMPLETED", "")
    assert parse_environment(result.stdout)["SLURM_JOB_QPU_RESOURCES"] == names
    assert requests_of(product) == requests_for(product, VENDORS)
    sessions = {each["backend_name"]: each for each in product.site.sessions()}
    assert sorted(sessions) == sorted(each.name for each in VENDORS if each.holds)
    for name, session in sessions.items():
        variables = resource_variables(result.stdout, name)
        assert variables["QRMI_JOB_ACQUISITION_TOKEN"] == session["id"]
    of_runtime = sessions["ibm_sherbrooke"]
    assert (of_runtime["mode"], of_runtime["closed_how"]) == ("dedicated", "drained")
    # No longer than the job.
    assert 0 < of_runtime["max_ttl"] <= 300


def test_one_bearer_token_serves_all_qpus_of_an_account(product: Product):
    assert product.run_job("true", "--qpu=ibm_torino,ibm_quebec").state == "COMPLETED"

    assert product.site.tokens_issued() == 1


def test_job_of_an_ordinary_user_keeps_its_exit_code(product: Product):
    script = f'{PRINT_RESOURCES}; printf " %s" "$(id -un)" "$QRMI_JOB_UID"; exit 7'
    result = product.run_job(script, "--qpu=ibm_sherbrooke", user="nobody")

    assert (result.state, result.exit_code, result.stderr) == ("FAILED", "7:0", "")
    assert result.stdout == "ibm_sherbrooke nobody 65534"
    assert len(product.site.sessions()) == 1
