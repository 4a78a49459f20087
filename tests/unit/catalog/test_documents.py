# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalog as JSON: all of it comes back, and what is no catalog is named."""

import contextlib
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given

from spank_qrmi.catalog.documents import catalog_of, document_of
from spank_qrmi.errors import ConfigError
from spank_qrmi.status import QpuState
from tests.unit.catalog.sample import AS_OF, PAUSED, VALID_UNTIL, catalog, entry
from tests.unit.strategies import json_values, maybe_wrong

Change = Callable[[dict[str, Any]], object]


def test_document_has_the_fields_that_programs_read() -> None:
    document = orjson.loads(document_of(catalog(PAUSED)))
    assert document == {
        "as_of": AS_OF,
        "valid_until": VALID_UNTIL,
        "qpus": [
            {
                "name": "qb",
                "types": ["direct-access", "ibm-quantum-system"],
                "state": "paused",
                "reason": "maintenance",
                "waiting_jobs": 3,
                "free_slots": 0,
                "total_slots": 4,
                "calibrated_at": "2023-11-14T20:00Z",
                "available_at": "2023-11-15T08:00Z",
                "facts_at": "2023-11-14T22:13Z",
                "since": AS_OF - 60,
                "answered_at": None,
                "license": {"name": "qpu_qb", "total": 4, "withheld": 4},
                "uids": [1000, 1001],
                "gids": [],
            }
        ],
    }


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda all_: all_.pop("as_of"), 'it: "as_of" must be a whole number'),
        (lambda all_: all_.update(as_of=True), 'it: "as_of" must be a whole number'),
        (
            lambda all_: all_.update(valid_until=-1),
            'it: "valid_until" must be a whole number that is not negative',
        ),
        (lambda all_: all_.update(qpus={}), 'it: "qpus" must be an array'),
        (lambda all_: all_.update(qpus=["qa"]), "it: qpus[0]: must be an object"),
        (lambda all_: all_["qpus"][0].update(name=1), 'it: qpus[0]: "name" must be a string'),
        (
            lambda all_: all_["qpus"][0].update(state="gone"),
            'it: qpus[0]: "state" must be one of online, busy, paused, offline, unknown',
        ),
        (
            lambda all_: all_["qpus"][0].update(state=[]),
            'it: qpus[0]: "state" must be one of online, busy, paused, offline, unknown',
        ),
        (
            lambda all_: all_["qpus"][0].update(types=[1]),
            'it: qpus[0]: "types" must be an array of strings',
        ),
        (
            lambda all_: all_["qpus"][0].update(free_slots="1"),
            'it: qpus[0]: "free_slots" must be a whole number',
        ),
        (
            lambda all_: all_["qpus"][0].update(uids=[True]),
            'it: qpus[0]: "uids" must be an array of ids, or null',
        ),
        (
            lambda all_: all_["qpus"][0].update(gids=[2**32]),
            'it: qpus[0]: "gids" must be an array of ids, or null',
        ),
        (
            lambda all_: all_["qpus"][0]["license"].pop("name"),
            'it: qpus[0]: license: "name" must be a string',
        ),
    ],
)
def test_wrong_types_are_named(change: Change, message: str) -> None:
    document = orjson.loads(document_of(catalog(PAUSED)))
    change(document)
    with pytest.raises(ConfigError) as raised:
        catalog_of(orjson.dumps(document), "it")
    assert str(raised.value) == message


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_said_to_be_none(content: bytes) -> None:
    with pytest.raises(ConfigError, match=r"^it: is not JSON: "):
        catalog_of(content, "it")


@given(maybe_wrong(json_values()), json_values())
def test_any_document_is_a_catalog_or_one_clear_error(value: object, other: object) -> None:
    whole = orjson.loads(document_of(catalog(PAUSED)))
    changed = [value, {**whole, "qpus": [value]}]
    changed += [{**whole, "qpus": [{**whole["qpus"][0], key: other}]} for key in whole["qpus"][0]]
    for document in changed:
        # Any other error is a failure.
        with contextlib.suppress(ConfigError):
            catalog_of(orjson.dumps(document), "it")
