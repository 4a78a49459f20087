# SPDX-License-Identifier: GPL-3.0-or-later
"""`spank-qrmi metrics`: what Prometheus reads of a node, and nothing that is somebody's."""

import stat
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from spank_qrmi.admin.inventory import STATES
from spank_qrmi.state import token_cache
from spank_qrmi.state.counts import Event, count
from spank_qrmi.state.token_cache import TokenCache
from tests.unit.admin.conftest import ALIVE, GONE, NOW, SECRET, HeldNode
from tests.unit.metric_samples import Samples, samples_in


def samples(node: HeldNode) -> dict[str, Samples]:
    status, lines = node.run("metrics")
    assert status == 0
    return samples_in("\n".join(lines))


def test_what_the_node_itself_holds_is_counted_by_endpoint_state_and_step(node: HeldNode) -> None:
    node.hold("a")
    node.hold("b", owner=ALIVE, acquired_at=NOW + 5)
    node.hold("c", owner=ALIVE, acquired_at=NOW + 4)
    node.hold("d", failure="refused", failed_at=NOW, failures=3)
    node.hold("e", is_told=True)
    node.hold("f", token=None, owner=ALIVE)
    node.hold("h", has_users_endpoint=True)
    node.hold("g", token=None, failure="lost", failures=1, acquired_at=None)
    node.hold("of another node", owner=replace(GONE, host="another"))
    node.hold("of nobody knows whom", owner=None, acquired_at=NOW + 6)
    node.spoil()
    noughts = dict.fromkeys(product(("site", "user"), STATES, ("alive", "gone")), 0)
    gone = ("held", "release failed", "told to end", "never answered")
    expected = {("site", state, "gone"): 1 for state in gone}
    expected |= {("site", "held", "alive"): 3, ("site", "being acquired", "alive"): 1}
    expected |= {("user", "held", "gone"): 1}
    found = samples(node)
    assert found["spank_qrmi_node_holds"] == noughts | expected
    oldest = found["spank_qrmi_node_oldest_hold_timestamp_seconds"]
    assert oldest[("site", "held", "alive")] == NOW + 4
    assert ("site", "never answered", "gone") not in oldest
    assert found["spank_qrmi_node_kept_release_failures"] == {(): 3}
    assert found["spank_qrmi_node_unreadable_entries"] == {(): 1}


def test_events_are_counted_by_result_and_what_was_never_done_is_nought(node: HeldNode) -> None:
    found = samples(node)
    assert set(found["spank_qrmi_node_holds"].values()) == {0}
    assert found["spank_qrmi_node_tokens"] == {(): 0}
    assert "spank_qrmi_node_oldest_token_timestamp_seconds" not in found
    assert found["spank_qrmi_node_acquisitions_total"] == {("acquired",): 0, ("refused",): 0}
    assert found["spank_qrmi_node_releases_total"] == {("released",): 0, ("kept",): 0}
    assert not node.folder.exists()
    for event in (Event.ACQUIRED, Event.REFUSED, Event.REFUSED, Event.RELEASED, Event.KEPT):
        count(node.folder, event)
    found = samples(node)
    assert found["spank_qrmi_node_acquisitions_total"] == {("acquired",): 1, ("refused",): 2}
    assert found["spank_qrmi_node_releases_total"] == {("released",): 1, ("kept",): 1}


def test_age_of_tokens_that_may_be_used(node: HeldNode, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = 5000
    monkeypatch.setattr(token_cache, "_now", lambda: moment)
    monkeypatch.setattr(time, "time", lambda: float(NOW))
    cache = TokenCache(node.folder)
    cache.store("0" * 64, SECRET, 60)
    cache.store("1" * 64, SECRET, 600)
    moment = 5090
    cache.store("2" * 64, SECRET, 600)
    moment = 5100
    found = samples(node)
    assert found["spank_qrmi_node_tokens"] == {(): 2}
    assert found["spank_qrmi_node_oldest_token_timestamp_seconds"] == {(): NOW - 100}


def test_file_is_everybodys_to_read(node: HeldNode, tmp_path: Path) -> None:
    path = tmp_path / "qpu.prom"
    path.touch(mode=0o600)
    node.hold("a", uid=1234)
    assert node.run("metrics", str(path)) == (0, [])
    assert samples_in(path.read_text())["spank_qrmi_node_holds"][("site", "held", "gone")] == 1
    # It has replaced the former one.
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert SECRET not in path.read_text()
    assert "1234" not in path.read_text()
