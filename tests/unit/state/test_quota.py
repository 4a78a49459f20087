# SPDX-License-Identifier: GPL-3.0-or-later
"""How many entries a user and a node may have, and what it costs to count them."""

from pathlib import Path
from unittest.mock import patch

import pytest

from spank_qrmi.errors import AcquisitionError
from spank_qrmi.state import quota as module
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi.state.quota import Quota
from tests.unit.outcomes import refusal_of

UID = 1000


@pytest.fixture(autouse=True)
def _small_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_OF_USER", 3)
    monkeypatch.setattr(module, "MOST_OF_NODE", 10)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


def hold(journal: Journal, count: int, *, uid: int = UID, **changes: object) -> None:
    for _ in range(count):
        job_id = len(journal.names()) + 1
        with journal.begin(Entry(job_id, 0, 0, uid, "a", "any", {}, **changes)):  # type: ignore[arg-type]
            pass


OWN = {"has_users_endpoint": True}
FAILED = {"token": "t", "failure": "x"}


def test_users_own_endpoints_and_failures_are_counted(journal: Journal) -> None:
    journal.directory.mkdir(mode=0o700)
    # What cannot be read is nobody's.
    (journal.directory / "99-0-0-0123456789abcdef.json").write_text("{")
    hold(journal, 2, **OWN)
    hold(journal, 1, **FAILED)
    hold(journal, 1, token="t")
    hold(journal, 1, holds_nothing=True, **OWN)
    hold(journal, 3, uid=1001, **OWN)
    quota = Quota(journal, UID)
    quota.check()
    hold(journal, 1, **FAILED)
    for each in (quota, Quota(journal, UID)):
        assert refusal_of(AcquisitionError, each.check) == (
            "this node holds 3 acquisitions of yours at endpoints of your own or whose release "
            "failed: wait until they are released, or ask the administrator"
        )
    Quota(journal, 1001).check()
    Quota(journal, 1002).check()


def test_all_that_a_node_holds_is_counted(journal: Journal) -> None:
    hold(journal, 10)
    hold(journal, 10, token="t", is_told=True)
    # These wait for their records alone.
    hold(journal, 10, is_over=True, record="{}")
    Quota(journal, UID).check()
    hold(journal, 1)
    assert refusal_of(AcquisitionError, Quota(journal, UID).check) == (
        "this node's journal holds more than 10 acquisitions: tell the administrator, whom "
        "spank-qrmi status shows them"
    )


def test_contents_are_read_only_when_there_are_many_and_once(journal: Journal) -> None:
    quota = Quota(journal, UID)
    with patch.object(Journal, "read", autospec=True, side_effect=Journal.read) as read:
        for count in (3, 1, 1):
            hold(journal, count)
            quota.check()
    assert [len(call.args[1]) for call in read.call_args_list] == [4, 1]
