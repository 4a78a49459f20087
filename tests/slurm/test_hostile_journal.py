# SPDX-License-Identifier: GPL-3.0-or-later
"""A user whose own endpoint refuses or hangs: his entries stay small, few, and in nobody's way."""

import json
import os
import time
from collections.abc import Iterator

import pytest

from loopback.hostile_service import HostileService, orphan_of
from loopback.job import parse_environment
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi.state.quota import MOST_OF_USER
from tests.slurm.product import Product, readable_lines

QPU = "--qpu=ibm_sherbrooke"
HOSTILE_UID = 1001
HOST = os.uname().nodename


@pytest.fixture(autouse=True)
def _empty_journal(product: Product) -> Iterator[None]:
    yield
    product.cluster.wait_for_empty_queue()
    for path in product.state_directory.glob("*.json"):
        path.unlink()


def put(product: Product, *entries: Entry) -> None:
    for entry in entries:
        with Journal(product.state_directory).begin(entry):
            pass


def test_what_a_user_exports_does_not_fill_the_journal(product: Product):
    product.write_plugstack("--release-timeout=3")
    with HostileService(hangs=False) as service:
        own = {f"ibm_sherbrooke_{key}": value for key, value in service.values.items()}
        large = {f"ibm_sherbrooke_QRMI_{number}": "x" * 120_000 for number in range(6)}

        result = product.run_job("env -0", QPU, env=own | large)

        assert result.state == "COMPLETED"
        assert (own | large).items() <= parse_environment(result.stdout).items()
        product.cluster.wait_for_empty_queue()
        [path] = product.state_directory.glob("*.json")
        assert path.stat().st_size < 2_000
        [entry] = json.loads(product.command("status", "--json").stdout)["entries"]
        assert entry["state"] == "release failed"

        some = [
            orphan_of(number, 0, service.values, f"t-{number}", host="another", is_users=True)
            for number in range(MOST_OF_USER - 1)
        ]
        put(product, *some)
        refused = product.run_job("true", QPU, env=own)
        of_the_site = product.run_job("true", QPU)

    assert (refused.state, of_the_site.state) == ("FAILED", "COMPLETED")
    assert readable_lines(refused.stderr)[0] == (
        f"QPU ibm_sherbrooke: this node holds {MOST_OF_USER} acquisitions of yours at endpoints "
        "of your own or whose release failed: wait until they are released, or ask the "
        "administrator"
    )
    assert product.site.open_sessions() == []
    assert len(list(product.state_directory.glob("[0-9]*.json"))) == MOST_OF_USER


def test_entries_that_hang_keep_nobody_elses_open(product: Product):
    site = product.site.environment_of("ibm_sherbrooke")
    tokens = [product.site.open_session_of_a_user("ibm_sherbrooke") for _ in range(2)]
    with HostileService(hangs=True) as service:
        hang = [
            orphan_of(number, HOSTILE_UID, service.values, "t", host=HOST, is_users=True)
            for number in range(72)
        ]
        real = [
            orphan_of(900 + number, 0, site, token, host=HOST, is_users=False)
            for number, token in enumerate(tokens)
        ]
        put(product, *hang, *real)
        started = time.monotonic()

        done = product.command("release", "--orphaned", "--due", "--timeout=6")

        seconds = time.monotonic() - started
    for entry in real:
        assert f"job {entry.job_id}: ibm_sherbrooke: released" in done.stdout
    assert (product.site.open_sessions(), done.returncode) == ([], 1)
    assert seconds < 30
    assert len(list(product.state_directory.glob("[0-9]*.json"))) == 72
