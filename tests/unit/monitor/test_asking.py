# SPDX-License-Identifier: GPL-3.0-or-later
"""All QPUs of a configuration are asked at the same time; what each says is seen."""

import threading
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from spank_qrmi.configuration.qrmi_plugstack import PluginArguments
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import (
    AcquisitionError,
    ConfigError,
    NameServiceError,
    QrmiError,
    ServiceError,
)
from spank_qrmi.monitor import asking
from spank_qrmi.monitor.asking import ask_all
from spank_qrmi.monitor.observations import Observation
from spank_qrmi.redaction import Redactor
from spank_qrmi.status import QpuState, QpuStatus
from tests.unit.fake_vendor import TYPE, FakeVendor
from tests.unit.local_network import LocalNetwork

SECRET = "secret-of-the-site"
PATIENCE_SECONDS = 60


class Site:
    """A configuration whose QPUs the fake vendor has, and what asks about them."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "qrmi_config.json"
        self.arguments = PluginArguments(str(self.path), state_directory=str(folder / "state"))
        self.redactor = Redactor()

    def write(self, *entries: dict[str, Any]) -> None:
        self.path.touch(mode=0o600)
        self.path.write_bytes(orjson.dumps({"resources": entries}))

    def ask(self, seconds: float = PATIENCE_SECONDS) -> dict[str, Observation]:
        seen = ask_all(self.arguments, LocalNetwork(), self.redactor, seconds)
        return {each.name: each for each in seen}


def entry(name: str, **environment: Any) -> dict[str, Any]:
    environment = {"QRMI_KEY": SECRET, "QRMI_ENDPOINT": f"http://{name}", **environment}
    return {"name": name, "type": TYPE, "environment": environment}


@pytest.fixture
def site(tmp_path: Path, vendor: FakeVendor) -> Site:
    return Site(tmp_path)


def status_of(seen: Observation) -> tuple[QpuState, str, bool, bool]:
    return seen.status.state, seen.status.reason, seen.has_answered, seen.is_watched


def test_each_says_what_it_says(site: Site, vendor: FakeVendor) -> None:
    vendor.orders = {
        "check refusing": AcquisitionError("no such backend"),
        "check silent": ServiceError("cannot be reached"),
        "check broken": ValueError("bug"),
        "make brought": AcquisitionError("brought_QRMI_KEY is missing"),
    }
    names = ("online", "refusing", "silent", "broken", "brought")
    site.write(*map(entry, names))
    seen = site.ask()
    lacks = "is not watched, its users bring what lacks: brought_QRMI_KEY is missing"
    assert list(seen) == list(names)
    assert {name: status_of(each) for name, each in seen.items()} == {
        "online": (QpuState.ONLINE, "", True, True),
        "refusing": (QpuState.UNKNOWN, "no such backend", True, True),
        "silent": (QpuState.UNKNOWN, "cannot be reached", False, True),
        "broken": (QpuState.UNKNOWN, "internal error (ValueError)", False, True),
        "brought": (QpuState.UNKNOWN, lacks, False, False),
    }
    assert seen["online"].types == (TYPE,)
    assert all(each.seconds >= 0 for each in seen.values())
    assert vendor.settings["online"].has_sites_login


def test_all_are_asked_at_the_same_time(site: Site, vendor: FakeVendor) -> None:
    names = [f"q{number}" for number in range(40)]
    together = threading.Barrier(len(names))
    vendor.orders = {f"check {name}": partial(together.wait, PATIENCE_SECONDS) for name in names}
    site.write(*map(entry, names))
    assert {each.status.state for each in site.ask().values()} == {QpuState.ONLINE}


def test_service_that_hangs_does_not_keep_others(site: Site, vendor: FakeVendor) -> None:
    """Its QPUs are more than there are threads."""
    released = threading.Event()
    hanging = [f"h{number}" for number in range(80)]
    vendor.orders = {f"check {name}": partial(released.wait, PATIENCE_SECONDS) for name in hanging}
    same = {"QRMI_ENDPOINT": "http://hangs"}
    site.write(*(entry(name, **same) for name in hanging), entry("fine"))
    seen = site.ask(seconds=0.5)
    released.set()
    assert seen["fine"].status.state is QpuState.ONLINE
    hung = (QpuState.UNKNOWN, "gave no result in time")
    assert {status_of(seen[name])[:2] for name in hanging} == {hung}


def test_at_most_some_requests_are_at_one_endpoint(site: Site, vendor: FakeVendor) -> None:
    lock, under_way, most = threading.Lock(), [0], [0]

    def count() -> None:
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        with lock:
            under_way[0] -= 1

    names = [f"q{number}" for number in range(200)]
    vendor.orders = {f"check {name}": count for name in names}
    site.write(*(entry(name, QRMI_ENDPOINT="http://one") for name in names))
    assert len(site.ask()) == len(names)
    assert 0 < most[0] <= asking.MOST_AT_ONE_ENDPOINT


def test_no_secret_is_told(site: Site, vendor: FakeVendor, tmp_path: Path) -> None:
    in_file = tmp_path / "key"
    in_file.touch(mode=0o600)
    in_file.write_text("secret-in-a-file")
    vendor.orders = {"check a": ServiceError(f"{SECRET} and secret-in-a-file {'x' * 1000}\n")}
    site.write(entry("a", QRMI_PLAIN={"file": str(in_file)}))
    reason = site.ask()["a"].status.reason
    assert reason.startswith("**** and **** x")
    assert len(reason) == 500


def test_secret_file_that_cannot_be_read_is_one_qpus(site: Site, vendor: FakeVendor) -> None:
    site.write(entry("a", QRMI_KEY={"file": "/nowhere"}), entry("b"))
    seen = site.ask()
    assert status_of(seen["a"])[2:] == (False, True)
    assert "resource a: environment.QRMI_KEY: /nowhere" in seen["a"].status.reason
    assert seen["b"].status.state is QpuState.ONLINE


def test_bad_entry_is_told_and_no_qpu(site: Site, vendor: FakeVendor, lines: list[str]) -> None:
    site.write(entry("a"), {"name": "b", "type": "none"})
    assert site.ask().keys() == {"a"}
    assert any("resource b" in line for line in lines)


def test_configuration_that_cannot_be_read(site: Site) -> None:
    with pytest.raises(ConfigError, match=r"qrmi_config\.json"):
        site.ask()


def test_network_that_cannot_be_used_leaves_all_unknown(
    site: Site, vendor: FakeVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: LocalNetwork, deadline: Deadline) -> None:
        raise QrmiError("cannot give up root")

    monkeypatch.setattr(LocalNetwork, "wait_until_open", fail)
    site.write(entry("a"), entry("b"))
    found = [status_of(each)[:2] for each in site.ask().values()]
    assert found == [(QpuState.UNKNOWN, "cannot give up root")] * 2
    assert vendor.events == []


def test_who_may_use_it_is_told_where_this_node_knows_all(
    site: Site, vendor: FakeVendor, lines: list[str]
) -> None:
    site.write(
        entry("all"),
        entry("users") | {"users": ["root", "12345"]},
        entry("groups") | {"groups": ["root"], "accounts": ["physics"]},
        entry("unknown") | {"users": ["root", "no-such-user-here"]},
        entry("accounts") | {"accounts": ["physics"]},
    )
    seen = site.ask()
    assert {name: (each.uids, each.gids) for name, each in seen.items()} == {
        "all": (None, None),
        "users": ((0, 12345), ()),
        "groups": ((), (0,)),
        "unknown": (None, None),
        "accounts": (None, None),
    }
    assert [line for line in lines if "not published" in line] == [
        "name(unknown): who may use it is not published: this node does not know all of its users "
        "and groups"
    ]


def test_name_service_that_does_not_answer_keeps_nothing(
    site: Site, vendor: FakeVendor, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(access: object, names: object) -> None:
        raise NameServiceError("no answer in time")

    monkeypatch.setattr(asking, "allowed_ids", fail)
    site.write(entry("a") | {"users": ["root"]})
    seen = site.ask()["a"]
    assert (seen.status.state, seen.uids, seen.gids) == (QpuState.ONLINE, None, None)
    assert lines[-1].endswith("name(a): who may use it is not published: no answer in time")


def test_every_fact_of_a_status_is_kept(
    site: Site, vendor: FakeVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = QpuStatus(QpuState.BUSY, "full", 3, 0, 4, "today", "tomorrow", "now")
    monkeypatch.setattr(asking.CLIENTS[TYPE], "full_status", lambda self, exchange: whole)
    site.write(entry("a"))
    assert site.ask()["a"].status == whole
