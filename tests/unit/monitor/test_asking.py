# SPDX-License-Identifier: GPL-3.0-or-later
"""All QPUs of a configuration are asked at the same time; what each says is seen."""

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson
import pytest

from spank_qrmi.configuration.qrmi_plugstack import PluginArguments
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


Ask = Callable[..., dict[str, Observation]]


@pytest.fixture
def ask(tmp_path: Path, vendor: FakeVendor) -> Ask:
    """Return what asks about entries of a configuration, whose QPUs the fake vendor has."""
    path = tmp_path / "qrmi_config.json"
    arguments = PluginArguments(str(path), state_directory=str(tmp_path / "state"))

    def ask(*entries: dict[str, Any], seconds: float = PATIENCE_SECONDS) -> dict[str, Observation]:
        path.touch(mode=0o600)
        path.write_bytes(orjson.dumps({"resources": entries}))
        seen = ask_all(arguments, LocalNetwork(), Redactor(), seconds)
        return {each.name: each for each in seen}

    return ask


def entry(name: str, **environment: Any) -> dict[str, Any]:
    environment = {"QRMI_KEY": SECRET, "QRMI_ENDPOINT": f"http://{name}", **environment}
    return {"name": name, "type": TYPE, "environment": environment}


def status_of(seen: Observation) -> tuple[QpuState, str, bool, bool]:
    return seen.status.state, seen.status.reason, seen.has_answered, seen.is_watched


def test_each_says_what_it_says(ask: Ask, vendor: FakeVendor) -> None:
    vendor.orders = {
        "check refusing": AcquisitionError("no such backend"),
        "check silent": ServiceError("cannot be reached"),
        "check broken": ValueError("bug"),
        "make brought": AcquisitionError("brought_QRMI_KEY is missing"),
    }
    names = ("online", "refusing", "silent", "broken", "brought")
    seen = ask(*map(entry, names))
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


def test_service_that_hangs_is_asked_for_some_and_does_not_keep_others(
    ask: Ask, vendor: FakeVendor
) -> None:
    """Its QPUs are more than there are threads."""
    released = threading.Event()
    hanging = [f"h{number}" for number in range(80)]
    vendor.orders = {f"check {name}": partial(released.wait, PATIENCE_SECONDS) for name in hanging}
    entries = [entry(name, QRMI_ENDPOINT="http://hangs") for name in hanging]
    seen = ask(*entries, entry("fine"), seconds=0.5)
    assert len(vendor.events_of("check") - {"fine"}) <= asking.MOST_AT_ONE_ENDPOINT
    released.set()
    assert seen["fine"].status.state is QpuState.ONLINE
    hung = (QpuState.UNKNOWN, "gave no result in time")
    assert {status_of(seen[name])[:2] for name in hanging} == {hung}


def test_every_fact_of_a_status_is_kept_and_no_secret(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_file = tmp_path / "key"
    in_file.touch(mode=0o600)
    in_file.write_text("secret-in-a-file")
    reason = f"{SECRET} and secret-in-a-file {'x' * 1000}\n"
    whole = QpuStatus(QpuState.BUSY, reason, 3, 0, 4, f"today {SECRET}", "tomorrow", "now")
    monkeypatch.setattr(asking.CLIENTS[TYPE], "full_status", lambda self, exchange: whole)
    seen = ask(entry("a", QRMI_PLAIN={"file": str(in_file)}))["a"].status
    shown = f"**** and **** {'x' * 486}"
    assert seen == QpuStatus(QpuState.BUSY, shown, 3, 0, 4, "today ****", "tomorrow", "now")


def test_entry_that_cannot_be_used_is_told_and_keeps_no_other(ask: Ask, lines: list[str]) -> None:
    seen = ask(entry("a", QRMI_KEY={"file": "/nowhere"}), entry("b"), {"name": "c", "type": "none"})
    assert seen.keys() == {"a", "b"}
    assert status_of(seen["a"])[2:] == (False, True)
    assert "resource a: environment.QRMI_KEY: /nowhere" in seen["a"].status.reason
    assert seen["b"].status.state is QpuState.ONLINE
    assert any("resource c" in line for line in lines)


def test_nothing_is_asked_without_a_network_or_a_configuration(
    ask: Ask, vendor: FakeVendor, tmp_path: Path
) -> None:
    with patch.object(LocalNetwork, "wait_until_open", side_effect=QrmiError("no way out")):
        seen = ask(entry("a"), entry("b"))
    assert {name: status_of(each)[:2] for name, each in seen.items()} == dict.fromkeys(
        "ab", (QpuState.UNKNOWN, "no way out")
    )
    # Others could put another one there.
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigError, match="writable"):
        ask()
    assert vendor.events == []


def test_who_may_use_it_is_told_where_this_node_knows_all(ask: Ask, lines: list[str]) -> None:
    seen = ask(
        entry("all"),
        entry("users") | {"users": ["root", "12345"]},
        entry("groups") | {"groups": ["root"], "accounts": ["physics"]},
        entry("unknown") | {"users": ["root", "no-such-user-here"]},
        entry("accounts") | {"accounts": ["physics"]},
    )
    assert {name: (each.uids, each.gids) for name, each in seen.items()} == {
        "all": (None, None),
        "users": ((0, 12345), ()),
        "groups": ((), (0,)),
        "unknown": (None, None),
        "accounts": (None, None),
    }
    with patch.object(asking, "allowed_ids", side_effect=NameServiceError("no answer in time")):
        silent = ask(entry("silent") | {"users": ["root"]})["silent"]
    assert (silent.status.state, silent.uids, silent.gids) == (QpuState.ONLINE, None, None)
    assert [line for line in lines if "not published" in line] == [
        "name(unknown): who may use it is not published: this node does not know all of its users "
        "and groups",
        "name(silent): who may use it is not published: no answer in time",
    ]
