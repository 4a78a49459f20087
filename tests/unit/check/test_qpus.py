# SPDX-License-Identifier: GPL-3.0-or-later
"""Each QPU is asked as a job would ask, within the time, and what is taken is given back."""

import os
import re
import socket
import time
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

from loopback.tls_entrance import TlsEntrance
from spank_qrmi.clients import http, retry
from spank_qrmi.errors import AcquisitionError, ReleaseError
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi.state.owner import Owner
from spank_qrmi_simulator.qrmi_config import site_config
from spank_qrmi_simulator.site import Site
from tests.unit.check.conftest import CheckedNode, found
from tests.unit.fake_vendor import TYPE, FakeVendor

pytestmark = pytest.mark.usefixtures("no_settings_of_this_machine")
QPU = "ibm_sherbrooke"


def entry_at(base_url: str, name: str = QPU, **changes: str) -> dict[str, object]:
    """Return the simulated site's entry of a QPU, with some variables changed."""
    resources: Any = site_config(base_url)["resources"]
    [found] = [each for each in resources if each["name"] == name]
    added = {f"QRMI_IBM_QRS_{key}": value for key, value in changes.items()}
    return {**found, "environment": {**found["environment"], **added}}


@pytest.fixture(autouse=True)
def _first_state(site: Site) -> None:
    site.reset()


def test_qpu_that_can_be_used_is_right_and_one_that_is_paused_doubtful(
    node: CheckedNode, base_url: str, site: Site
) -> None:
    node.write_config(entry_at(base_url))
    status, findings = node.look(is_offline=False)
    assert (status, found(findings)) == (0, [])
    assert [each["check"] for each in findings][-2:] == ["QPU", "clock"]
    assert not site.sessions()
    assert not (node.state / "tokens").exists()
    node.write_config(entry_at(base_url, "ibm_paused"))
    status, findings = node.look(is_offline=False)
    text = "doubtful QPU: ibm_paused: not accessible: the backend is paused: simulated"
    assert (status, found(findings)) == (1, [text])


def test_qpu_that_cannot_be_asked_is_wrong(
    node: CheckedNode, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "DELAYS_SECONDS", (0.01,) * len(retry.DELAYS_SECONDS))
    for changes, text in (
        ({"IAM_APIKEY": "revoked"}, "refused the API key: .*check ibm_sherbrooke_.*IAM_APIKEY"),
        ({"IAM_ENDPOINT": "http://127.0.0.1:1"}, "cannot connect to http://127.0.0.1:1"),
    ):
        node.write_config(entry_at(base_url, **changes))
        status, findings = node.look(is_offline=False)
        [told] = [each for each in findings if each["check"] == "QPU"]
        assert (status, told["verdict"]) == (2, "wrong"), told
        assert re.match(f"{QPU}: .*{text}", told["text"]), told


def test_certificate_that_is_not_trusted_is_wrong(
    node: CheckedNode, base_url: str, entrance: TlsEntrance
) -> None:
    node.write_config(entry_at(base_url, ENDPOINT=f"{entrance.url}/runtime/api/v1"))
    status, findings = node.look(is_offline=False)
    assert status == 2
    assert any("its certificate is not trusted" in each for each in found(findings))
    node.write_plugstack(node.line(f"--env:SSL_CERT_FILE={entrance.certificate}"))
    assert found(node.look(is_offline=False)[1]) == []


def test_service_that_hangs_hangs_nothing(node: CheckedNode, base_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        deaf_url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        hanging = {**entry_at(base_url, ENDPOINT=deaf_url), "name": "hanging"}
        node.write_config(hanging, entry_at(base_url))
        status, findings = node.look("--timeout=3", is_offline=False)
    by_name = {each["text"].partition(":")[0]: each["verdict"] for each in findings}
    assert (status, by_name["hanging"], by_name[QPU]) == (2, "wrong", "right")


@pytest.mark.parametrize(
    ("seconds", "expected", "side"),
    [(-40, 1, "behind"), (40, 1, "ahead of"), (4000, 2, "ahead of")],
)
def test_clock_that_is_wrong_is_found(
    node: CheckedNode, base_url: str, seconds: int, expected: int, side: str
) -> None:
    node.write_config(entry_at(base_url))
    # A Date has whole seconds.
    clock = SimpleNamespace(monotonic=time.monotonic, time=lambda: int(time.time()) + seconds)
    with patch.object(http, "time", clock):
        status, findings = node.look(is_offline=False)
    [told] = [each["text"] for each in findings if each["check"] == "clock"]
    assert status == expected
    assert any(f"{abs(seconds) + off} s {side}" in told for off in (-1, 0, 1)), told


def test_acquisition_is_given_back(node: CheckedNode, base_url: str, site: Site) -> None:
    node.write_config(entry_at(base_url))
    status, findings = node.look("--acquire", is_offline=False)
    [told] = [each["text"] for each in findings if each["check"] == "acquisition"]
    assert status == 0
    assert told.startswith(f"{QPU}: acquired in ")
    [session] = site.sessions()
    assert session.closed_at is not None
    # If it were killed, that would be soon over even if nobody released it.
    assert session.max_ttl_seconds <= 180
    entries = [each for each in Journal(node.state).entries() if isinstance(each, Entry)]
    assert not [each for each in entries if not each.is_told]


FAKE = {"name": "fake_x", "type": TYPE, "environment": {"QRMI_KEY": "api-key-do-not-show"}}


def acquire(node: CheckedNode, vendor: FakeVendor) -> tuple[str, list[str]]:
    node.write_config(FAKE)
    [told] = node.told("acquisition", "--acquire", is_offline=False)
    return told, vendor.events


def test_acquisition_or_release_that_fails_is_told_and_the_latter_stays_in_the_journal(
    node: CheckedNode, vendor: FakeVendor
) -> None:
    vendor.orders = {"acquire fake_x": AcquisitionError("the plan allows none")}
    told, events = acquire(node, vendor)
    assert told.startswith("wrong fake_x: not acquired in ")
    assert told.endswith(" s: the plan allows none")
    assert "release token-fake_x" not in events
    vendor.orders = {"release token-fake_x": ReleaseError("no answer")}
    told, _ = acquire(node, vendor)
    assert told == "wrong fake_x: not released: no answer"
    [held] = Journal(node.state).entries()
    assert isinstance(held, Entry)
    assert (held.job_id, held.resource_name, held.failure) == (0, "fake_x", "no answer")


def test_entry_of_another_look_is_left_alone(node: CheckedNode, vendor: FakeVendor) -> None:
    owner = Owner(os.uname().nodename, "", 1, 2, 3)
    other = Entry(*(0, 0, 0, 0, "fake_x", TYPE, {}), token="token-of-another", owner=owner)
    with Journal(node.state).begin(other):
        pass
    told, events = acquire(node, vendor)
    assert told.startswith("right fake_x: acquired in ")
    assert "release token-of-another" not in events


def test_what_a_kill_leaves_is_an_orphans(node: CheckedNode, vendor: FakeVendor) -> None:
    """The entry is there before the service is asked, of a step that ends with the command."""
    seen: list[object] = []
    vendor.orders["acquire fake_x"] = lambda: seen.extend(Journal(node.state).entries())
    acquire(node, vendor)
    [held] = seen
    assert isinstance(held, Entry)
    assert held.owner is not None
    assert (held.owner.pid, held.token, held.needs_release) == (os.getpid(), None, True)


def test_what_offers_no_more_is_asked_for_nothing(node: CheckedNode, vendor: FakeVendor) -> None:
    vendor.orders["make fake_x"] = AcquisitionError("fake_x_QRMI_KEY must be another")
    node.write_config(FAKE)
    status, findings = node.look(is_offline=False)
    assert status == 2
    assert not [each for each in findings if each["check"] == "QPU"]
    assert not vendor.events_of("check")
