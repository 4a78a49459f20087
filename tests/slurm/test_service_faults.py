# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that misbehave: the job fails with the reason, and no request is waited for longer.

How long that takes is bounded by the deadline of Job.wait, far beyond the timeouts ordered here.
"""

import re

from tests.slurm.both_ways import taking_turns
from tests.slurm.product import SESSIONS, Product, readable_lines

DA = "/direct-access/v1/backends/ibm_torino"

SOURCE = rf"http://\S+{DA}"
FAULTS: dict[str, tuple[dict[str, object], str]] = {
    "hang": ({}, rf"no answer from {SOURCE} (within 2 s|in the time that was left).*"),
    "status": ({"status": 500}, rf"{SOURCE} answered 500 .*"),
    "malformed": ({}, rf"the answer of {SOURCE} is not .*JSON.*"),
    "slow_drip": (
        {"delay_seconds": 0.5},
        rf"(the answer of {SOURCE} did not end in time"
        rf"|no answer from {SOURCE} in the time that was left)",
    ),
}


@taking_turns("product", ("fault",), [(fault,) for fault in FAULTS])
def test_question_for_a_backend(product: Product, fault: str):
    details, reason = FAULTS[fault]
    product.site.order_fault(fault, DA, **details)
    product.write_plugstack("--acquire-timeout=2")

    result = product.run_job("echo started", "--qpu=ibm_torino")

    assert (result.state, result.exit_code, result.stdout) == ("FAILED", "1:0", "")
    [found, last] = readable_lines(result.stderr)
    assert re.fullmatch(f"QPU ibm_torino: {reason}", found), found
    assert last == (
        "--qpu=ibm_torino: no QPU could be acquired; the job does not start; "
        "spank-qrmi check ibm_torino, as root on this node, says more"
    )


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


def test_release_that_hangs_is_given_up_in_time(product: Product):
    product.write_plugstack("--release-timeout=2")
    product.site.order_fault("hang", f"{SESSIONS}/[^/]+$")

    result = product.run_job("true", "--qpu=ibm_sherbrooke")

    assert result.state == "COMPLETED"
    product.site.wait_until_released()
    assert [each["closed_how"] for each in product.site.sessions()] == ["cancelled"]
