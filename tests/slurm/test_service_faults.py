# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that misbehave: the job fails with the reason, and no request is waited for longer.

How long that takes is bounded by the deadline of Job.wait, far beyond the timeouts ordered here.
"""

import re

import pytest

from tests.slurm.both_ways import both_ways
from tests.slurm.product import Product, readable_lines

pytestmark = both_ways

DA = "/direct-access/v1/backends/ibm_torino"
SESSIONS = "/runtime/api/v1/sessions"

SOURCE = rf"http://\S+{DA}"
FAULTS: dict[str, tuple[dict[str, object], str]] = {
    "hang": ({}, rf"no answer from {SOURCE} (within 2 s|in the time that was left).*"),
    "drop": ({}, rf"the connection broke before the answer of {SOURCE} was complete.*"),
    "status": ({"status": 500}, rf"{SOURCE} answered 500 .*"),
    "malformed": ({}, rf"the answer of {SOURCE} is not .*JSON.*"),
    "truncated": ({}, rf"the connection broke before the answer of {SOURCE} was complete.*"),
    "slow_drip": (
        {"delay_seconds": 0.5},
        rf"(the answer of {SOURCE} did not end in time"
        rf"|no answer from {SOURCE} in the time that was left)",
    ),
    "redirect": ({"location": "/elsewhere"}, rf"{SOURCE} .*redirect.*"),
    "oversized": ({}, rf"the answer of {SOURCE} is larger than 1 MiB"),
}


def fail_job(product: Product, qpu: str) -> str:
    """Run a job that must fail; return the one line that says why."""
    product.write_plugstack("--acquire-timeout=2")
    result = product.run_job("echo started", f"--qpu={qpu}")
    assert (result.state, result.exit_code, result.stdout) == ("FAILED", "1:0", "")
    [reason, last] = readable_lines(result.stderr)
    assert last == (
        f"--qpu={qpu}: no QPU could be acquired; the job does not start; spank-qrmi check {qpu}, "
        "as root on this node, says more"
    )
    assert reason.startswith(f"QPU {qpu}: ")
    return reason.removeprefix(f"QPU {qpu}: ")


@pytest.mark.parametrize("fault", FAULTS)
def test_question_for_a_backend(product: Product, fault: str):
    details, reason = FAULTS[fault]
    product.site.order_fault(fault, DA, **details)

    found = fail_job(product, "ibm_torino")

    assert re.fullmatch(reason, found), found


@pytest.mark.parametrize("fault", ["hang", "drop", "malformed"])
def test_question_for_a_token(product: Product, fault: str):
    product.site.order_fault(fault, "/iam/identity/token")

    assert "/iam/identity/token" in fail_job(product, "ibm_torino")


def test_redirect_is_not_followed(product: Product):
    product.site.order_fault("redirect", DA, location=f"{product.site.url}/elsewhere", status=307)

    fail_job(product, "ibm_torino")

    assert "GET /elsewhere" not in product.site.asked()


def test_refused_session(product: Product):
    product.site.order_fault("status", f"{SESSIONS}$", status=400)

    reason = fail_job(product, "ibm_sherbrooke")

    assert "accounts on the open plan need ibm_sherbrooke_QRMI_IBM_QRS_SESSION_MODE=batch" in reason


def test_service_that_is_not_there(product: Product):
    # Nothing listens on the discard port.
    entry = product.entry("FRESNEL", QRMI_PASQAL_CLOUD_BASE_URL="http://127.0.0.1:9")
    config = product.write_config(entry)
    product.write_plugstack("--acquire-timeout=2", config=config)

    result = product.run_job("echo started", "--qpu=FRESNEL")

    assert (result.state, result.stdout) == ("FAILED", "")
    assert "QPU FRESNEL: cannot connect to http://127.0.0.1:9: connection refused" in result.stderr


def test_one_service_that_hangs_does_not_take_the_others_down(product: Product):
    product.site.order_fault("hang", "/pasqal/")
    product.write_plugstack("--acquire-timeout=2")

    result = product.run_job('printf %s "$SLURM_JOB_QPU_RESOURCES"', "--qpu=ibm_sherbrooke,FRESNEL")

    assert (result.state, result.stdout) == ("COMPLETED", "ibm_sherbrooke")
    [line] = readable_lines(result.stderr)
    assert line.startswith("QPU FRESNEL: no answer from ")
    assert line.endswith("; the job goes on without it")


def test_passing_failures_are_outlived(product: Product):
    product.site.order_fault("status", DA, status=503, times=1)
    product.site.order_fault("drop", "/pasqal/", times=1)

    result = product.run_job("true", "--qpu=ibm_torino,FRESNEL")

    assert (result.state, result.stderr) == ("COMPLETED", "")


def test_token_that_has_expired_is_fetched_again(product: Product):
    product.site.order_fault("expired_token", f"{SESSIONS}$", times=1)

    result = product.run_job("true", "--qpu=ibm_sherbrooke")

    assert (result.state, result.stderr) == ("COMPLETED", "")
    assert len(product.site.sessions()) == 1


def test_list_of_jobs_that_fails_does_not_keep_the_session(product: Product):
    product.site.order_fault("status", "/runtime/api/v1/jobs", status=404)

    assert product.run_job("true", "--qpu=ibm_sherbrooke").state == "COMPLETED"

    product.site.wait_until_released()
    [session] = product.site.sessions()
    assert f"DELETE {SESSIONS}/{session['id']}/close" in product.site.asked()


def test_release_that_hangs_is_given_up_in_time(product: Product):
    product.write_plugstack("--release-timeout=2")
    product.site.order_fault("hang", f"{SESSIONS}/[^/]+$")

    result = product.run_job("true", "--qpu=ibm_sherbrooke")

    assert result.state == "COMPLETED"
    product.site.wait_until_released()
    assert [each["closed_how"] for each in product.site.sessions()] == ["cancelled"]
