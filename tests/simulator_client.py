# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of the simulated IBM services share: an account's headers, orders, waiting."""

import httpx

from loopback.waiting import wait_until
from spank_qrmi_simulator.site import Site

WAIT_SECONDS = 60
BELL = """OPENQASM 3.0;
include "stdgates.inc";
bit[2] meas;
rz(pi/2) $50; sx $50; rz(pi/2) $50;
rz(pi/2) $51; sx $51; rz(pi) $51; cz $50, $51; sx $51; rz(pi/2) $51;
meas[0] = measure $50;
meas[1] = measure $51;
"""
"""A Bell pair in the native gates of ibm_torino."""
FLIP = """OPENQASM 3.0;
include "stdgates.inc";
bit[1] meas;
x $3;
meas[0] = measure $3;
"""
"""Native to all of the site's backends."""


def headers_of(site: Site, account_number: int) -> dict[str, str]:
    account = site.accounts[account_number]
    token, _ = site.issue_token(account)
    return {"Authorization": f"Bearer {token}", "Service-CRN": account.service_crn}


def sampler_input(circuit: str, **changes: object) -> dict[str, object]:
    """Return a sampler's input as clients send it."""
    return {"version": 2, "pubs": [[circuit, None, 100]], "support_qiskit": False, **changes}


def wait_for_end(client: httpx.Client, path: str) -> dict[str, object]:
    return wait_until(
        lambda: client.get(path).json(),
        WAIT_SECONDS,
        f"end of the job at {path}",
        accept=lambda job: job["status"] not in ("Queued", "Running"),
    )


LONG = 'OPENQASM 3.0; include "stdgates.inc"; bit[1] meas;' + "".join(
    f"sx ${qubit}; reset ${qubit}; sx ${qubit};" for qubit in range(20)
)
"""Resets make the simulation start anew with each shot: an hour for all that LONG_INPUT asks."""
LONG_INPUT = sampler_input(LONG, pubs=[[LONG + "meas[0] = measure $3;", None, 100_000]])
