# SPDX-License-Identifier: GPL-3.0-or-later
"""QPUs are acquired before the script starts and released after it, once, for every vendor."""

from loopback.job import parse_environment
from tests.slurm.both_ways import both_ways
from tests.slurm.product import PRINT_RESOURCES, Product, resource_variables
from tests.unit.vendors import TOKEN, VENDORS

NOTICE = "warning: listed twice in plugstack.conf"


@both_ways
def test_qpus_of_all_vendors(product: Product):
    names = ",".join(each.name for each in VENDORS)

    result = product.run_job("env -0", f"--qpu={names}", "--time=5")

    assert (result.state, result.stderr) == ("COMPLETED", "")
    assert parse_environment(result.stdout)["SLURM_JOB_QPU_RESOURCES"] == names
    sessions = {each["backend_name"]: each for each in product.site.sessions()}
    assert sorted(sessions) == sorted(each.name for each in VENDORS if each.holds)
    for name, session in sessions.items():
        variables = resource_variables(result.stdout, name)
        assert variables["QRMI_JOB_ACQUISITION_TOKEN"] == session["id"]
    ids = {name: session["id"] for name, session in sessions.items()}
    asked = [each for each in product.site.asked() if each != "POST /iam/identity/token"]
    assert asked == sorted(
        each.replace(TOKEN, ids.get(vendor.name, TOKEN))
        for vendor in VENDORS
        for each in vendor.on_site(vendor.documents)
    )
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


def test_plugin_that_is_listed_twice_acquires_once(product: Product):
    own = product.cluster.plugstack().strip()
    other = f"optional {product.installation.plugin}"
    for lines in ((other, own), (own, f"{other} --state-dir=/var/lib/of_another_line")):
        product.cluster.write_plugstack(*lines)
        job = product.submit(PRINT_RESOURCES, "--qpu=ibm_sherbrooke")
        result = job.wait()

        assert (result.state, result.stdout, result.stderr) == ("COMPLETED", "ibm_sherbrooke", "")
        assert NOTICE not in job.submit_stderr
        product.wait_until_released()
        assert sum(NOTICE in line for line in product.cluster.log_lines_of(job)) == 1
    assert product.sessions_served() == ["ibm_sherbrooke"] * 2
