# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalog as JSON: all of it comes back, and what is no catalog is named."""

import contextlib

import orjson
from hypothesis import given

from spank_qrmi.catalog.documents import catalog_of, document_of
from spank_qrmi.errors import ConfigError
from spank_qrmi.status import QpuState
from tests.unit.catalog.sample import AS_OF, PAUSED, VALID_UNTIL, catalog, entry
from tests.unit.outcomes import refusal_of
from tests.unit.strategies import json_values, maybe_wrong


def test_document_has_the_fields_that_programs_read() -> None:
    qpu: dict[str, object] = {"name": "qb", "types": ["direct-access", "ibm-quantum-system"]}
    qpu |= {"state": "paused", "reason": "maintenance", "waiting_jobs": 3, "free_slots": 0}
    qpu |= {"total_slots": 4, "calibrated_at": "2023-11-14T20:00Z", "since": AS_OF - 60}
    qpu |= {"available_at": "2023-11-15T08:00Z", "facts_at": "2023-11-14T22:13Z"}
    qpu |= {"license": {"name": "qpu_qb", "total": 4, "withheld": 4}, "answered_at": None}
    qpu |= {"uids": [1000, 1001], "gids": []}
    document = orjson.loads(document_of(catalog(PAUSED)))
    assert document == {"as_of": AS_OF, "valid_until": VALID_UNTIL, "qpus": [qpu]}


def test_what_is_written_is_read() -> None:
    states = [entry(state.value, state) for state in QpuState]
    for written in (catalog(), catalog(PAUSED, entry()), catalog(*states)):
        assert catalog_of(document_of(written), "it") == written


def test_unknown_keys_are_let_by_and_texts_are_printable() -> None:
    document = orjson.loads(document_of(catalog(PAUSED)))
    document |= {"colour": "blue"}
    document["qpus"][0] |= {"depth": 3, "reason": "a\nb\x1b[31m"}
    [read] = catalog_of(orjson.dumps(document), "it").entries
    assert read.status.reason == "a?b?[31m"


NO_STATE = '"state" must be one of online, busy, paused, offline, unknown'
NO_IDS = "must be an array of ids, or null"
WRONG_QPUS: list[tuple[dict[str, object], str]] = [
    ({"name": 1}, '"name" must be a string'),
    ({"state": "gone"}, NO_STATE),
    ({"state": []}, NO_STATE),
    ({"types": [1]}, '"types" must be an array of strings'),
    ({"free_slots": "1"}, '"free_slots" must be a whole number'),
    ({"uids": [True]}, f'"uids" {NO_IDS}'),
    ({"gids": [2**32]}, f'"gids" {NO_IDS}'),
    ({"license": {"total": 1, "withheld": 0}}, 'license: "name" must be a string'),
]
WRONG: list[tuple[dict[str, object], str]] = [
    ({"as_of": None}, '"as_of" must be a whole number'),
    ({"as_of": True}, '"as_of" must be a whole number'),
    ({"valid_until": -1}, '"valid_until" must be a whole number that is not negative'),
    ({"qpus": {}}, '"qpus" must be an array'),
    ({"qpus": ["qa"]}, "qpus[0]: must be an object"),
]


def test_wrong_types_are_named() -> None:
    whole = orjson.loads(document_of(catalog(PAUSED)))
    [qpu] = whole["qpus"]
    of_qpus = [({"qpus": [qpu | change]}, f"qpus[0]: {told}") for change, told in WRONG_QPUS]
    for change, told in WRONG + of_qpus:
        content = orjson.dumps(whole | change)
        assert refusal_of(ConfigError, catalog_of, content, "it") == f"it: {told}"


def test_what_is_no_json_is_said_to_be_none() -> None:
    for content in (b"", b"{", b"\xff", b"[" * 100_000):
        told = refusal_of(ConfigError, catalog_of, content, "it") or ""
        assert told.startswith("it: is not JSON: "), content[:9]


@given(maybe_wrong(json_values()), json_values())
def test_any_document_is_a_catalog_or_one_clear_error(value: object, other: object) -> None:
    whole = orjson.loads(document_of(catalog(PAUSED)))
    changed = [value, {**whole, "qpus": [value]}]
    changed += [{**whole, "qpus": [{**whole["qpus"][0], key: other}]} for key in whole["qpus"][0]]
    for document in changed:
        # Any other error is a failure.
        with contextlib.suppress(ConfigError):
            catalog_of(orjson.dumps(document), "it")
