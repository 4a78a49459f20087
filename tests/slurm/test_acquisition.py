# SPDX-License-Identifier: GPL-3.0-or-later
"""QPUs are acquired before the script starts and released after it, once, for every vendor."""

from collections.abc import Sequence

from loopback.waiting import wait_until
from tests.slurm.both_ways import both_ways
from tests.slurm.product import Product, resource_variables
from tests.unit.vendors import TOKEN, VENDORS, Vendor, each_of

pytestmark = both_ways

SESSIONS = "/runtime/api/v1/sessions"
PRINT_RESOURCES = 'printf %s "$SLURM_JOB_QPU_RESOURCES"'


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


@each_of(VENDORS)
def test_vendor(product: Product, vendor: Vendor):
    result = product.run_job(PRINT_RESOURCES, f"--qpu={vendor.name}")

    assert (result.state, result.stdout, result.stderr) == ("COMPLETED", vendor.name, "")
    assert len(product.site.sessions()) == int(vendor.holds)
    assert requests_of(product) == requests_for(product, [vendor])


def test_session_of_qiskit_runtime(product: Product):
    assert product.run_job("true", "--qpu=ibm_sherbrooke").state == "COMPLETED"

    [session] = product.site.sessions()
    assert (session["mode"], session["closed_how"]) == ("dedicated", "drained")


def test_qpus_of_all_vendors(product: Product):
    names = ",".join(each.name for each in VENDORS)

    result = product.run_job(PRINT_RESOURCES, f"--qpu={names}")

    assert (result.state, result.stdout, result.stderr) == ("COMPLETED", names, "")
    assert requests_of(product) == requests_for(product, VENDORS)


def test_qpus_are_held_while_the_script_runs(product: Product):
    job = product.submit("echo here; sleep 60", "--qpu=ibm_sherbrooke,ibm_brisbane,FRESNEL")
    wait_until(lambda: job.stdout, 20, "start of the script")

    assert len(product.site.open_sessions()) == 2
    # FRESNEL, of which nothing is held, has an entry too: its use is recorded when it is over.
    assert len(product.journal()) == 3
    job.cancel()
    assert job.wait().state == "CANCELLED"


def test_token_is_the_session_of_the_resource(product: Product):
    result = product.run_job("env -0", "--qpu=ibm_sherbrooke,ibm_brisbane")

    tokens = {
        name: resource_variables(result.stdout, name)["QRMI_JOB_ACQUISITION_TOKEN"]
        for name in ("ibm_sherbrooke", "ibm_brisbane")
    }
    assert tokens == {each["backend_name"]: each["id"] for each in product.site.sessions()}


def test_one_bearer_token_serves_all_qpus_of_an_account(product: Product):
    assert product.run_job("true", "--qpu=ibm_torino,ibm_quebec").state == "COMPLETED"

    assert product.site.tokens_issued() == 1


def test_session_in_batch_mode(product: Product):
    entry = product.entry("ibm_sherbrooke", QRMI_IBM_QRS_SESSION_MODE="batch")
    product.write_plugstack(config=product.write_config(entry))

    assert product.run_job("true", "--qpu=ibm_sherbrooke").state == "COMPLETED"

    assert [session["mode"] for session in product.site.sessions()] == ["batch"]


def test_session_lives_no_longer_than_the_job(product: Product):
    assert product.run_job("true", "--qpu=ibm_sherbrooke", "--time=5").state == "COMPLETED"

    [session] = product.site.sessions()
    assert 0 < session["max_ttl"] <= 300


def test_session_with_pending_jobs_is_closed(product: Product):
    job = product.submit("echo here; sleep 60", "--qpu=ibm_sherbrooke")
    wait_until(lambda: job.stdout, 20, "start of the script")
    [session] = product.site.open_sessions()
    product.site.add_pending_job(session)

    job.cancel()
    job.wait()

    product.site.wait_until_released()
    assert [each["closed_how"] for each in product.site.sessions()] == ["cancelled"]


def test_job_of_an_ordinary_user(product: Product):
    script = f'{PRINT_RESOURCES}; printf " %s" "$(id -un)" "$QRMI_JOB_UID"'
    result = product.run_job(script, "--qpu=ibm_sherbrooke", user="nobody")

    assert (result.state, result.stdout) == ("COMPLETED", "ibm_sherbrooke nobody 65534")
    assert len(product.site.sessions()) == 1


def test_failing_script_keeps_its_exit_code(product: Product):
    result = product.run_job("exit 7", "--qpu=ibm_sherbrooke")

    assert (result.state, result.exit_code, result.stderr) == ("FAILED", "7:0", "")
    assert len(product.site.sessions()) == 1


def test_cancelled_while_acquiring(product: Product):
    product.site.order_fault("hang", f"{SESSIONS}$")
    job = product.submit("echo started", "--qpu=ibm_sherbrooke,FRESNEL")
    product.wait_for_request(f"POST {SESSIONS}")

    job.cancel()

    result = job.wait()
    assert (result.state, result.stdout) == ("CANCELLED", "")
