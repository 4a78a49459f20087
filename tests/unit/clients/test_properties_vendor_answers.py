# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of the vendors' services of every shape, to every client."""

from collections.abc import Iterable, Iterator
from itertools import product

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.targets import vendor_answers
from fuzz.targets.claims import check_line
from fuzz.targets.vendor_answers import CLIENTS, check_vendor_answers
from tests.unit.outcomes import trying
from tests.unit.strategies import json_values, maybe_wrong, texts
from tests.unit.vendors import VENDORS

SHOWN = st.one_of(texts, st.just("$SENT"))
STATUSES = st.one_of(
    st.sampled_from([200, 201, 204, 301, 400, 401, 403, 404, 409, 423, 429, 500, 503]),
    st.integers(200, 999),
)
WAITS = st.one_of(
    st.sampled_from(["0", "3", "99999999999", "-1", "Fri, 31 Dec 1999 23:59:59 GMT", "soon"]),
    st.text("0123456789 :,+-.GMTadefJnu", max_size=30),
)


def some_of(**fields: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """Return a strategy of an object that has some of these, now and then with another value."""
    optional = {name: maybe_wrong(each) for name, each in fields.items()}
    return st.fixed_dictionaries({}, optional=optional)


JOBS = some_of(id=st.just("a-job"))
DEVICES = some_of(availability=st.just("ACTIVE"), status=SHOWN)
# What stands in answers besides what the vendors' rows tell.
FIELDS: dict[str, st.SearchStrategy[object]] = {
    "access_token": st.sampled_from(["a-token", "a\nb", ""]),
    "expires_in": st.integers(-1, 2**64 - 1),
    "status": st.sampled_from(["online", "active", "Running", "Completed"]),
    "state": st.sampled_from(["open", "closed"]),
    "accepting_jobs": st.booleans(),
    "active_ttl": st.integers(-1, 1),
    "id": st.sampled_from(["a-session", "..", "a/b"]),
    "jobs": st.lists(st.one_of(JOBS, json_values()), max_size=3),
    "data": st.lists(DEVICES, max_size=2),
    "errors": st.lists(some_of(code=SHOWN, message=SHOWN), max_size=2),
    "reason_code": st.integers(-5, 5000),
    "usage": st.just({"quantum_nanoseconds": 5}),
    **dict.fromkeys(("detail", "errorMessage", "errorCode"), SHOWN),
    **dict.fromkeys(("message", "reason_message", "reason_solution"), SHOWN),
    **{name: SHOWN for vendor in VENDORS for name in vendor.reads},
}
DOCUMENTS = some_of(**FIELDS)


def almost(document: object) -> st.SearchStrategy[object]:
    """Return a strategy of this document with other values here and there, or without some."""
    if isinstance(document, dict):
        return some_of(**{name: almost(each) for name, each in document.items()})
    if isinstance(document, list):
        return st.lists(st.one_of(*map(almost, document)), max_size=2) if document else st.just([])
    return st.just(document)


OF_VENDORS = st.one_of(*(almost(each) for vendor in VENDORS for each in vendor.documents.values()))


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    body = orjson.dumps(draw(st.one_of(DOCUMENTS, DOCUMENTS, OF_VENDORS, json_values())))
    cut_off = draw(st.sampled_from([len(body), len(body), len(body) // 2]))
    return draw(st.one_of(st.just(body[:cut_off]), st.binary(max_size=40))).replace(b"\0", b"")


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from(["good", "good", "any", "none"]))
    if kind == "none":
        return b""
    if kind == "good":
        return b"200\n\n" + draw(bodies())
    wait = draw(WAITS).encode()
    head = b"%d\nretry-after: %b\nlocation: %b\n\n" % (draw(STATUSES), wait, wait)
    return head + draw(bodies())


TOKEN = b'200\n\n{"access_token": "a-token", "expires_in": 3600}'


@pytest.mark.parametrize("number", range(len(CLIENTS)), ids=list(CLIENTS))
@given(begins_well=st.booleans(), given_answers=st.lists(answers(), min_size=1, max_size=6))
def test_any_answers_are_used_or_refused_in_one_line(
    number: int, begins_well: bool, given_answers: list[bytes]
) -> None:
    given_answers = [TOKEN, *given_answers] if begins_well else given_answers
    check_vendor_answers(bytes([number]) + b"\0".join(given_answers))


# One of each JSON type where it does not belong, and the largest and oddest of each.
ODD_VALUES = [
    *(None, True, False, 0, -1, 1e308, -(2**63), 2**64 - 1, "", " ", "x" * 10_000, "\n\x1b[31m"),
    *([], {}, [None], [[]], [{}], {"": None}, {"status": {}}, "NaN", "\u202e"),
]


def odd_documents() -> Iterator[object]:
    names = {*FIELDS, "code", "quantum_nanoseconds"}.union(*(vendor.fields for vendor in VENDORS))
    for value in ODD_VALUES:
        everywhere = dict.fromkeys(sorted(names), value)
        yield from (value, everywhere)
        yield from ({name: [everywhere]} for name in ("errors", "jobs", "data"))


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 409])
def test_value_of_another_type_is_a_short_error_at_most(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check_short_line(text: str, secrets: Iterable[str] = ()) -> None:
        check_line(text, secrets)
        assert len(text) < 1500

    monkeypatch.setattr(vendor_answers, "check_line", check_short_line)
    # Whatever the status is, a client without a token asks nothing more.
    beginnings = (b"", TOKEN + b"\0") if status == 200 else (TOKEN + b"\0",)
    for document, beginning in product(odd_documents(), beginnings):
        answer = b"%d\n\n%b" % (status, orjson.dumps(document))
        for number, who in enumerate(CLIENTS):
            with trying((who, beginning, document)):
                check_vendor_answers(bytes([number]) + beginning + answer)
