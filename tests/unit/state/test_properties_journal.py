# SPDX-License-Identifier: GPL-3.0-or-later
"""The node's record: what is written is read, and what is no entry is told and left alone."""

from dataclasses import fields, replace
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.targets.journal import check_journal
from fuzz.targets.scratch import folder_in_memory
from spank_qrmi.clients import CLIENTS
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi.state.owner import Owner
from tests.unit.state.test_journal import document_of, lock
from tests.unit.strategies import json_values, maybe_wrong, texts

NUMBERS = st.integers(0, 2**32 - 1)
TIMES = st.integers(0, 253_402_300_799)
BY_TYPE: dict[object, st.SearchStrategy[object]] = {
    int: NUMBERS,
    int | None: st.none() | TIMES,
    bool: st.booleans(),
    str: texts,
    str | None: st.none() | texts,
    list[str]: st.lists(texts, max_size=3),
    dict[str, str]: st.dictionaries(texts, texts, max_size=3),
    Owner | None: st.none() | st.builds(Owner, texts, texts, NUMBERS, NUMBERS, NUMBERS),
}
ENTRIES = st.builds(
    Entry,
    **{each.name: BY_TYPE[each.type] for each in fields(Entry)}
    | {"resource_type": st.one_of(st.sampled_from(list(CLIENTS)), texts)}
    # They are held, and to be released.
    | dict.fromkeys(("is_told", "is_given_back", "holds_nothing", "is_over"), st.just(False))
    | {"record": st.just("")},
)


@pytest.fixture(scope="module")
def folder() -> Path:
    return folder_in_memory()


@given(entry=ENTRIES, token=texts)
def test_entry_is_read_as_it_was_written_until_it_is_removed(
    folder: Path, entry: Entry, token: str
) -> None:
    journal = Journal(folder)
    with journal.begin(entry) as begun:
        assert list(journal.entries()) == [entry]
        begun.write(replace(entry, token=token))
    assert list(journal.entries(entry.job_id)) == [replace(entry, token=token)]
    with lock(journal, entry) as locked:
        locked.remove()
    assert list(folder.iterdir()) == []


@given(entry=ENTRIES, changes=st.data())
def test_any_entry_is_shown_and_released_and_one_with_wrong_types_told_in_one_line(
    entry: Entry, changes: st.DataObject
) -> None:
    document = document_of(entry)
    check_journal(orjson.dumps(document))
    key = changes.draw(st.sampled_from(sorted(document)))
    document[key] = changes.draw(json_values())
    if isinstance(document["owner"], dict) and document["owner"]:
        part = changes.draw(st.sampled_from(sorted(document["owner"])))
        document["owner"][part] = changes.draw(maybe_wrong(st.just(document["owner"][part])))
    check_journal(orjson.dumps(document))
