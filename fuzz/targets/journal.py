# SPDX-License-Identifier: GPL-3.0-or-later
"""A file of the journal with any content, under the name that its content makes it look sound."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path

import httpx
import orjson

from fuzz.targets.claims import check_line
from fuzz.targets.scratch import folder_in_memory
from spank_qrmi.admin.inventory import document_of, lines_of
from spank_qrmi.admin.node_metrics import metrics_of_node
from spank_qrmi.clients.http import HttpClient
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import QrmiError
from spank_qrmi.job.releaser import Releaser
from spank_qrmi.monitor.exposition import text_of
from spank_qrmi.network.calls import Services
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi.state.orphans import select_orphans
from spank_qrmi.state.owner import Owner
from tests.unit.fake_services import RecordingDeadline, unread
from tests.unit.local_network import LocalNetwork, LocalServices

_NAME_OF_NONE = "7-0-fffffffb-0123456789abcdef.json"
_LONGEST_NAME = 60
_LONG_AGO_SECONDS = 1_000_000_000


def check_journal(data: bytes) -> None:
    """Read, show, release and clean up; what cannot be used is told in one line."""
    folder = _folder()
    for path in folder.iterdir():
        # What was released is counted in a folder beside.
        if path.is_file():
            path.unlink()
    _write(folder / _name_of(data), data)
    journal = Journal(folder)
    entries = []
    for each in journal.entries():
        if isinstance(each, Entry):
            entries.append(each)
        else:
            check_line(str(each))
            assert str(folder) in str(each)
    for line in lines_of(journal):
        check_line(line)
    orjson.dumps(document_of(journal))
    text_of(metrics_of_node(folder))
    select_orphans(entries, 0.0)
    outcomes = Releaser(journal, RecordingDeadline(), _EmptyNetwork()).release_all(entries)
    for entry, error in zip(entries, outcomes, strict=True):
        if error is not None:
            check_release_failure(entry, error)
    leftover = folder / ".new-0123456789abcdef"
    _write(leftover, data)
    os.utime(leftover, (_LONG_AGO_SECONDS, _LONG_AGO_SECONDS))
    journal.clean_up()
    assert not leftover.exists()


def check_release_failure(entry: Entry, error: QrmiError) -> None:
    """Check what is told of an entry that was not released."""
    check_line(str(error), (secret for secret in entry.secrets() if len(secret) >= 20))  # noqa: PLR2004 (no word)
    assert "internal error" not in str(error)


def _name_of(data: bytes) -> str:
    with contextlib.suppress(Exception):
        document = dict(orjson.loads(data))
        document["owner"] = _owner_of(document.get("owner"))
        known = {each.name for each in fields(Entry)}
        name = Entry(**{key: document[key] for key in document if key in known}).file_name
        if "/" not in name and len(name) < _LONGEST_NAME:
            return name
    return _NAME_OF_NONE


def _owner_of(document: object) -> Owner | None:
    if not isinstance(document, dict):
        return None
    return Owner(**{each.name: document[each.name] for each in fields(Owner)})


class _EmptyNetwork(LocalNetwork):
    """Leads to services that know of nothing."""

    def services(self, deadline: Deadline, environment: Mapping[str, str]) -> Services:
        empty = httpx.MockTransport(lambda _: unread(httpx.Response(404)))
        return LocalServices(HttpClient(deadline, transport=empty), environment)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    path.chmod(0o600)


@cache
def _folder() -> Path:
    return folder_in_memory()
