# SPDX-License-Identifier: GPL-3.0-or-later
"""Qiskit Runtime: access, opening or adopting a session, and ending it whatever happens."""

import threading
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import httpx
import orjson
import pytest

from spank_qrmi import at_once
from spank_qrmi.clients.base import Hold
from spank_qrmi.clients.qiskit_runtime import QiskitRuntime
from spank_qrmi.errors import AcquisitionError, ReleaseError, ServiceError
from spank_qrmi.usage import Usage
from tests.unit.fake_services import (
    FakeService,
    RecordingDeadline,
    Reply,
    complaint,
    failure_of,
    ibm_values,
    reply,
    settings_of,
)
from tests.unit.local_network import asking
from tests.unit.outcomes import outcome_of, trying

PREFIX = "QRMI_IBM_QRS_"
MODE = f"{PREFIX}SESSION_MODE"
MAX_TTL = f"{PREFIX}SESSION_MAX_TTL"
SESSION_ID = f"{PREFIX}SESSION_ID"
ACQUISITION_TOKEN = "QRMI_JOB_ACQUISITION_TOKEN"
STATUS = "GET /base/backends/ibm_x/status"
OPEN = "POST /base/sessions"
SESSION = "GET /base/sessions/s-1"
JOBS = "GET /base/jobs"
PATCH = "PATCH /base/sessions/s-1"
CLOSE = "DELETE /base/sessions/s-1/close"
URL = "https://api.test:443/base"


def client_of(
    service: FakeService,
    values: dict[str, str] | None = None,
    *,
    remaining_seconds: int | None = None,
    deadline: RecordingDeadline | None = None,
) -> asking:
    """Return a client with the four variables it needs and `values`."""
    all_values = {**ibm_values(PREFIX), **(values or {})}
    settings = settings_of(all_values, remaining_seconds=remaining_seconds)
    return asking(QiskitRuntime(settings), service.http(deadline))


def test_backend_is_accessible_while_it_is_active(caplog: pytest.LogCaptureFixture) -> None:
    for status in ("active", "ONLINE"):
        document = {"status": status, "message": "available", "length_queue": 3}
        client_of(FakeService({STATUS: reply(200, document)})).check_accessible()
        text = f"the backend is {status}: available (waiting jobs 3)"
        assert caplog.messages[-1] == f"name(ibm_x): accessible: {text}"
    document = {"status": "internal", "message": "calibrating", "length_queue": 3}
    client = client_of(FakeService({STATUS: reply(200, document)}))
    text = "not accessible: the backend is internal: calibrating (waiting jobs 3)"
    assert complaint(AcquisitionError, client.check_accessible) == text


def test_session_is_opened_with_mode_and_life() -> None:
    for values, remaining_seconds, mode, max_ttl in (
        ({}, None, "dedicated", 28800),
        ({}, 600, "dedicated", 600),
        ({}, 99999, "dedicated", 28800),
        ({}, 0, "dedicated", 1),
        ({MODE: "Batch", MAX_TTL: " 900 "}, 600, "batch", 900),
        ({MODE: " DEDICATED", MAX_TTL: "2147483647"}, 1, "dedicated", 2**31 - 1),
    ):
        with trying((values, remaining_seconds)):
            service = FakeService({OPEN: reply(200, {"id": "s-1", "mode": mode})})
            client = client_of(service, values, remaining_seconds=remaining_seconds)
            assert client.acquire() == "s-1"
            assert client.hold == Hold(
                f"a {mode} session on ibm_x at https://api.test/base", max_ttl
            )
            order = {"max_ttl": max_ttl, "mode": mode, "backend": "ibm_x", "backend_name": "ibm_x"}
            assert orjson.loads(service.requests[1].content) == order
    # An id is all that is needed.
    for session_id in ("a", "A.b_c-9", "x" * 256, "..."):
        service = FakeService({OPEN: reply(201, {"id": session_id, "mode": 7, "backend_name": []})})
        assert client_of(service).acquire() == session_id


def test_unusable_settings_are_refused_before_any_request() -> None:
    lives = ("0", "-1", "1.5", "1h", "2147483648", "9" * 5000, "²", "1_000")
    no_life = "must be a whole number of seconds from 1 to 2147483647"
    for key, value, expected in (
        (MODE, "exclusive", "must be dedicated or batch"),
        *((MAX_TTL, value, no_life) for value in lives),
    ):
        service = FakeService({})
        with trying(value):
            text = complaint(AcquisitionError, client_of, service, {key: value})
            assert (text, service.requests) == (f"ibm_x_{key} {expected}", [])


def test_lost_session_is_told_as_maybe_open_and_which_one_to_close_if_that_can_be_read() -> None:
    no_id, no_object, no_json = "holds no usable session id", "is not a JSON object", "is not JSON"
    for content, token, expected in (
        (b"{}", None, no_id),
        (b'{"id": ["a"]}', None, no_id),
        (b"[]", None, no_object),
        (b'[{"id": "s-1"}]', "s-1", no_object),
        (b"", None, no_json),
        (b'{"id": "s-1", "mode": "dedicated", "backe', "s-1", no_json),
        (b'{"backend": {"name": "x", "id": "other"}, "id" : "s-1", ', "s-1", no_json),
        (b'{"id": "s-1"} and more', "s-1", no_json),
        (b'{"note": "{", "id": "s-1", ', "s-1", no_json),
        (b'{"note": "}", "backend": {"id": "other"}, "id": "s-1", ', "s-1", no_json),
        (b'{"note": "\\"}", "backend": {"id": "other", "na', None, no_json),
        (b'{"backend": {"id": "other"}, "id": "s-', None, no_json),
        (b'{"id": "a/b", ', None, no_json),
        (b'{"id": "..", ', None, no_json),
        (b'"id": "s-1"', None, no_json),
        (b'\xff\xfe{"id', None, no_json),
    ):
        with trying(content):
            service = FakeService({OPEN: httpx.Response(200 if content else 204, content=content)})
            error, text = failure_of(client_of(service).acquire)
            assert text == f"the answer of {URL}/sessions {expected}"
            assert (error.may_have_acted, error.token, service.asked) == (True, token, [OPEN])


def test_refused_session_has_the_usual_cause() -> None:
    hint = f"; accounts on the open plan need ibm_x_{MODE}=batch"
    for mode, status, has_hint in (
        ("dedicated", 400, True),
        ("dedicated", 403, True),
        *(("dedicated", status, False) for status in (401, 404, 409, 422)),
        ("batch", 400, False),
    ):
        with trying((mode, status)):
            answer = reply(status, {"errors": [{"code": 1352, "message": "not on your plan"}]})
            client = client_of(FakeService({OPEN: answer}), {MODE: mode})
            text = complaint(AcquisitionError, client.acquire)
            assert f"/base/sessions answered {status} " in text
            assert "not on your plan (1352)" in text
            assert text.endswith(hint) is has_hint


@pytest.mark.parametrize("key", [SESSION_ID, ACQUISITION_TOKEN])
def test_preset_session_is_used_and_not_ours_to_close_or_refused(key: str) -> None:
    for usable in (
        {"id": "s-1", "state": "open", "accepting_jobs": True, "active_ttl": 100},
        {"state": "active", "active_ttl": None},
        {"state": 7, "accepting_jobs": "no"},
        {},
    ):
        service = FakeService({SESSION: reply(200, usable)})
        # The session id wins over the token.
        client = client_of(service, {ACQUISITION_TOKEN: "other", key: "s-1"})
        assert (outcome_of(client.acquire), client.hold) == ("s-1", None), usable
        assert service.asked == [SESSION], usable
    for session, expected in (
        ({"state": "Closed", "accepting_jobs": True}, "is closed"),
        ({"state": "open", "accepting_jobs": False}, "accepts no more jobs"),
        *(({"state": "open", "active_ttl": left}, "has no time left") for left in (0, -1.5)),
        ({"state": "open", "backend_name": "ibm_y"}, "is of another backend, ibm_y"),
    ):
        with trying(session):
            service = FakeService({SESSION: reply(200, session)})
            text = complaint(AcquisitionError, client_of(service, {key: "s-1"}).acquire)
            told = f"the session in ibm_x_{key} {expected}: unset ibm_x_{key} to get a new one"
            assert (text, service.asked) == (told, [SESSION])


def test_preset_session_that_cannot_be_read() -> None:
    for session_id, status, expected in (
        ("s-1", 404, f"the session in ibm_x_{SESSION_ID} does not exist: unset "),
        ("session-1", 403, f"{URL}/sessions/**** answered 403 Forbidden; "),
        ("a/b", 200, f"ibm_x_{SESSION_ID} is not a session id: unset "),
    ):
        with trying(session_id):
            service = FakeService({f"GET /base/sessions/{session_id}": reply(status)})
            client = client_of(service, {SESSION_ID: session_id})
            assert complaint(AcquisitionError, client.acquire).startswith(expected)


NO_JOBS = reply(200, {"jobs": [], "offset": 0, "limit": 200})
ONE_JOB = reply(200, {"jobs": [{"id": "j", "status": "Strange"}]})
TOLD, CLOSED = httpx.Response(204), httpx.Response(204)
ENDED, STILL_OPEN = (reply(200, {"state": state}) for state in ("closed", "open"))


def later_than_the_list(service: FakeService) -> list[str]:
    """Return what was asked but for the list, which is asked for at the same time."""
    assert JOBS in service.asked
    return [each for each in service.asked if each != JOBS]


def test_session_without_pending_jobs_is_told_to_accept_no_more() -> None:
    for empty in (NO_JOBS, reply(200, {})):
        service = FakeService({JOBS: empty, PATCH: TOLD})
        assert client_of(service).release("s-1") is False
        assert later_than_the_list(service) == [PATCH]
        sent = {each.method: each for each in service.requests}
        assert dict(sent["GET"].url.params) == {"pending": "true", "session_id": "s-1"}
        assert orjson.loads(sent["PATCH"].content) == {"accepting_jobs": False}


def test_list_and_end_are_asked_for_at_the_same_time_or_without_a_thread_in_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    together = threading.Barrier(2, timeout=60)

    def refuse() -> None:
        raise RuntimeError("can't start new thread")

    def meeting(answer: httpx.Response) -> Callable[[httpx.Request], httpx.Response]:
        return lambda _: (together.wait(), answer)[1]

    service = FakeService({JOBS: meeting(NO_JOBS), PATCH: meeting(TOLD)})
    client_of(service).release("s-1")
    assert (len(service.asked), service.token_requests) == (2, 1)
    threads = SimpleNamespace(Thread=lambda **_: SimpleNamespace(start=refuse))
    monkeypatch.setattr(at_once, "threading", threads)
    service = FakeService({JOBS: NO_JOBS, PATCH: TOLD})
    client_of(service).release("s-1")
    assert service.asked == [PATCH, JOBS]


def test_session_is_closed_if_jobs_may_be_pending_or_it_cannot_be_told() -> None:
    unusable_lists: list[Reply] = [
        *(ONE_JOB, reply(200, {"jobs": None}), reply(200, [])),
        *(httpx.Response(200, content=b"<html>"), reply(404, {}), httpx.ReadError("reset")),
    ]
    refused_ends: list[Reply] = [reply(400), reply(500), httpx.ReadTimeout("slow")]
    of_lists = [(listed, TOLD) for listed in unusable_lists]
    for listed, patched in [*of_lists, *((NO_JOBS, patched) for patched in refused_ends)]:
        with trying((listed, patched)):
            service = FakeService({JOBS: listed, PATCH: patched, CLOSE: CLOSED})
            assert client_of(service).release("s-1") is False
            assert [*dict.fromkeys(later_than_the_list(service))] == [PATCH, CLOSE]
            assert (service.asked[-1], service.requests[-1].content) == (CLOSE, b"")


def test_session_that_is_not_found_is_released_if_it_is_gone_when_looked_at() -> None:
    patched = {JOBS: NO_JOBS, PATCH: reply(404), CLOSE: CLOSED}
    closed = {JOBS: ONE_JOB, PATCH: TOLD, CLOSE: reply(404)}
    for shown in (reply(404), ENDED):
        for answers, asked in ((patched, [PATCH, SESSION]), (closed, [PATCH, CLOSE, SESSION])):
            service = FakeService({**answers, SESSION: shown})
            assert client_of(service).release("s-1")
            assert later_than_the_list(service) == asked
    service = FakeService({**patched, SESSION: STILL_OPEN})
    client_of(service).release("s-1")
    assert later_than_the_list(service) == [PATCH, SESSION, CLOSE]
    told = r"may still be open: .* answered 404 Not Found"
    for shown in (STILL_OPEN, reply(400), reply(200, [])):
        service = FakeService({**closed, SESSION: shown})
        with trying(shown.text), pytest.raises(ReleaseError, match=told):
            client_of(service).release("s-1")


def test_session_that_was_told_is_gone_once_the_service_says_so_twice() -> None:
    for answers in ([ENDED, ENDED], [reply(404), reply(404)], [reply(404), ENDED]):
        service = FakeService({SESSION: answers})
        assert client_of(service).release("s-1", was_told=True)
        assert service.asked == [SESSION, SESSION]


def test_session_that_was_told_and_is_open_is_closed_and_kept() -> None:
    """So public reports say of sessions without jobs: a PATCH that is agreed to ends nothing."""
    for seen, closed, reason in (
        ([STILL_OPEN], TOLD, "it was closed anew"),
        ([reply(404), STILL_OPEN], TOLD, "it was closed anew"),
        ([STILL_OPEN, STILL_OPEN], reply(404), f"{URL}/sessions/s-1/close answered 404"),
        ([reply(400)], TOLD, f"{URL}/sessions/s-1 answered 400 Bad Request"),
    ):
        with trying((seen, closed)):
            service = FakeService({SESSION: seen, CLOSE: closed})
            client = client_of(service)
            text = complaint(ReleaseError, partial(client.release, "s-1", was_told=True))
            assert text.startswith(
                f"the session was still open although it was told to end: {reason}"
            )
            assert CLOSE in service.asked


def test_failed_release_gives_each_reason_once() -> None:
    busy = reply(409, {"message": "busy"})
    service = FakeService({JOBS: NO_JOBS, PATCH: busy, CLOSE: httpx.ReadTimeout("slow")})
    assert complaint(ReleaseError, client_of(service).release, "s-1") == (
        f"the session may still be open: {URL}/sessions/s-1 answered 409 Conflict: busy; no "
        f"answer from {URL}/sessions/s-1/close within 30 s; gave up after 5 tries"
    )
    service = FakeService({"POST /identity/token": reply(400, {"errorMessage": "unknown key"})})
    assert complaint(ReleaseError, client_of(service).release, "s-1") == (
        "the session may still be open: https://iam.test:443/identity/token refused the API key: "
        "400 Bad Request: unknown key; check ibm_x_QRMI_IBM_QRS_IAM_APIKEY"
    )
    assert service.token_requests == 1


def test_check_or_list_that_never_comes_leaves_time_to_close_what_is_open() -> None:
    service = FakeService({STATUS: reply(503, None, Retry_After="10")})
    client = client_of(service, deadline=RecordingDeadline(12))
    assert "asks to wait 10 s" in complaint(ServiceError, client.check_accessible)
    assert service.requests[-1].extensions["timeout"]["read"] <= 9
    assert service.asked == [STATUS]
    late = reply(503, None, Retry_After="7")
    service = FakeService({JOBS: late, PATCH: late, CLOSE: CLOSED})
    client_of(service, deadline=RecordingDeadline(12)).release("s-1")
    assert later_than_the_list(service) == [PATCH, CLOSE]
    silences = {each.method: each.extensions["timeout"]["read"] for each in service.requests[1:]}
    assert silences["GET"] <= 4
    assert silences["PATCH"] <= 6
    assert silences["DELETE"] > 10


def test_session_tells_how_long_it_was_used() -> None:
    for told, expected in (
        ({"elapsed_time": 2.5}, 2.5),
        ({"elapsed_time": 0}, 0.0),
        ({}, None),
        *(({"elapsed_time": value}, None) for value in (None, True, "12", -1, 1e300)),
    ):
        session = reply(200, {"state": "closed", **told})
        service = FakeService({SESSION: session, JOBS: reply(200, {"jobs": [{}] * 2})})
        assert outcome_of(client_of(service).usage, "s-1") == Usage(expected, 2), told
        assert service.asked == [SESSION, JOBS], told
    forgotten = client_of(FakeService({SESSION: reply(404)}))
    assert "answered 404" in complaint(AcquisitionError, forgotten.usage, "s-1")


def test_jobs_of_a_session_are_counted_if_all_are_told() -> None:
    for answer, expected in (
        (reply(200, {"jobs": [], "count": 7}), 0),
        (reply(200, {}), 0),
        (reply(200, {"jobs": [{}] * 199}), 199),
        (reply(200, {"jobs": [{}] * 200, "count": 431}), 431),
        (reply(200, {"jobs": [{}] * 200, "count": 200}), None),
        (reply(200, {"jobs": [{}] * 200, "count": "431"}), None),
        (reply(200, {"jobs": [{}] * 100, "limit": 100}), None),
        (reply(200, {"jobs": 3}), None),
        (reply(503), None),
    ):
        with trying(answer.text):
            service = FakeService({SESSION: reply(200, {"elapsed_time": 1}), JOBS: answer})
            assert client_of(service).usage("s-1") == Usage(1, expected)
            sent = dict(service.requests[-1].url.params)
            assert sent == {"session_id": "s-1", "limit": "200", "exclude_params": "true"}
