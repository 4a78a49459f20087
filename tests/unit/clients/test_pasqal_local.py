# SPDX-License-Identifier: GPL-3.0-or-later
"""Warden's sessions: what is asked in either version, by which credential, what answers mean."""

from dataclasses import replace
from functools import partial
from http import HTTPStatus

import httpx
import orjson
import pytest

from spank_qrmi.clients.base import Hold
from spank_qrmi.clients.pasqal_local import PasqalLocal
from spank_qrmi.clients.retry import MOST_TRIES
from spank_qrmi.errors import AcquisitionError, QrmiError, ReleaseError, ServiceError
from spank_qrmi.status import QpuState, QpuStatus
from spank_qrmi.usage import Usage
from tests.unit.fake_services import (
    API_URL,
    FakeService,
    complaint,
    failure_of,
    reply,
    settings_of,
    text_of,
)
from tests.unit.local_network import asking
from tests.unit.munge_credentials import munge_credentials
from tests.unit.outcomes import trying
from tests.unit.vendors import PASQAL_LOCAL, TOKEN, asking_at, refusal_by

URL = "https://api.test:443/base"
ACCESS, OPEN = "GET /base/accessible", "POST /base/sessions"
BY_PATH, BY_HEADER = f"DELETE /base/sessions/{TOKEN}", "DELETE /base/sessions"
NOT_FOUND = reply(404, {"detail": "Not Found"})
REVOKED = reply(json={"id": TOKEN, "revoked_at": "2026-11-30T02:00:00Z"})
SAME_KEY = (
    "; this node and Warden's host need the same MUNGE key, clocks that agree, and a munged that "
    "runs"
)
ADMIN = (
    "; Warden must take user 0 for an administrator (api.admin_users) and let the job's user in "
    "(api.authorized_users)"
)


def client_of(service: FakeService, **values: str) -> asking:
    return asking_at(service, PASQAL_LOCAL, **values)


def proofs_of(service: FakeService) -> list[str]:
    return [each.headers["x-munge-cred"] for each in service.requests]


def refused(service: FakeService) -> str:
    return complaint(AcquisitionError, client_of(service).acquire)


def test_access_is_asked_without_credential(caplog: pytest.LogCaptureFixture) -> None:
    service = FakeService({ACCESS: reply(json={"is_accessible": True, "message": "all well"})})
    client_of(service).check_accessible()
    assert "x-munge-cred" not in service.requests[0].headers
    assert "name(ORION): accessible: all well" in caplog.messages


def test_what_is_not_accessible_has_a_reason() -> None:
    for answer, expected in (
        (
            reply(json={"is_accessible": False, "message": "Scheduled QPU maintenance\n"}),
            "not accessible: Scheduled QPU maintenance",
        ),
        (reply(json={"is_accessible": "yes"}), "not accessible: Warden does not say why"),
        (reply(json={"message": "x"}), "not accessible: x"),
        (
            NOT_FOUND,
            f"{URL}/accessible answered 404 Not Found: Not Found; check ORION_QRMI_WARDEN_URL",
        ),
    ):
        assert refusal_by(PASQAL_LOCAL, {ACCESS: answer}) == expected, answer.text


def test_status_tells_free_slots_where_they_are_counted() -> None:
    slots = "GET /base/qpu-slots"
    online = reply(json={"is_accessible": True, "message": "ready"})
    ready = QpuStatus(QpuState.ONLINE, "ready")
    for counted, expected in (
        (
            reply(json={"qpu_slots_available": 1, "qpu_slots_total": 4}),
            replace(ready, free_slots=1, total_slots=4),
        ),
        (
            reply(json={"qpu_slots_available": 0, "qpu_slots_total": 4}),
            QpuStatus(QpuState.BUSY, "no QPU slots are free", free_slots=0, total_slots=4),
        ),
        (reply(json={"qpu_slots_available": "0"}), ready),
        (NOT_FOUND, ready),
        (reply(500), ready),
    ):
        with trying(counted.text):
            service = FakeService({ACCESS: online, slots: counted})
            assert client_of(service).full_status() == expected
            assert service.asked == [ACCESS, slots]
            assert client_of(service).status() == ready


def test_order_has_the_names_of_both_versions_and_a_whole_number_of_slots() -> None:
    service = FakeService({OPEN: reply(json={"id": TOKEN})})
    assert client_of(service).acquire() == TOKEN
    order = {"user_id": "1000", "slurm_job_id": "7", "scheduler_job_id": "7"}
    assert orjson.loads(service.requests[0].content) == order
    assert client_of(service, QRMI_JOB_QPU_SLOTS="3").acquire() == TOKEN
    assert orjson.loads(service.requests[1].content) == {**order, "qpu_slots": 3}
    for slots in ("0", "-1", "1.5", "many", "1000001", "1" * 5000, "\u0661"):
        with trying(slots):
            asked = partial(client_of, FakeService({}), QRMI_JOB_QPU_SLOTS=slots)
            text = complaint(AcquisitionError, asked)
            assert text.startswith("ORION_QRMI_JOB_QPU_SLOTS must be a whole number")


def test_session_is_for_a_job_and_its_user() -> None:
    known = PASQAL_LOCAL.settings
    what = f"a session of Warden for job 7 of user 1000 at {API_URL}"
    assert PasqalLocal(known).hold == Hold(what, None)
    for settings, expected in (
        (replace(known, uid=2**31), "Warden takes no user above 2147483647: the job's is 21474836"),
        (replace(known, uid=None), "a session of Warden is for a job and its user, of which none"),
        (replace(known, job_id=None), "a session of Warden is for a job and its user, of which"),
    ):
        exchange = FakeService({}).exchange()
        text = complaint(AcquisitionError, PasqalLocal(settings).acquire, exchange)
        assert text.startswith(expected)


def test_old_name_of_the_url_is_used_where_the_new_one_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = FakeService({OPEN: reply(json={"id": TOKEN})})
    for values, is_old in (
        ({"QRMI_URL": API_URL}, True),
        ({"QRMI_URL": API_URL, "QRMI_WARDEN_URL": " "}, True),
        ({"QRMI_URL": "https://old.test", "QRMI_WARDEN_URL": API_URL}, False),
    ):
        caplog.clear()
        settings = replace(settings_of(values, "ORION"), uid=1, job_id=2)
        PasqalLocal(settings).acquire(service.exchange())
        warnings = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
        told = "name(ORION): QRMI_URL is the old name of QRMI_WARDEN_URL: rename it"
        assert warnings == [told] * is_old
    with pytest.raises(AcquisitionError, match=r"^ORION_QRMI_URL must be a URL"):
        PasqalLocal(settings_of({"QRMI_URL": "x"}, "ORION"))


def test_refusal_has_a_reason_and_any_other_error_may_have_opened_a_session() -> None:
    sent_back = {"input": {"user_id": "1000"}, "ctx": {"error": "sent"}, "msg": "sent"}
    missing = {"type": "missing", "loc": ["body", "user_id", 0], **sent_back}
    unprocessable = f"422 {HTTPStatus(422).phrase}"
    for detail, expected in (
        ("User ID not authorized.", f"403 Forbidden: User ID not authorized.{ADMIN}"),
        ("MUNGE credential expired", f"401 Unauthorized: MUNGE credential expired{SAME_KEY}"),
        ([missing, {"loc": ["x"]}], f"{unprocessable}: missing at body.user_id"),
        ([sent_back], unprocessable),
        ("MUNGE decode failed", f"500 Internal Server Error: MUNGE decode failed{SAME_KEY}"),
        ("Not Found", "404 Not Found: Not Found; check ORION_QRMI_WARDEN_URL"),
    ):
        answer = reply(int(expected[:3]), {"detail": detail})
        assert refused(FakeService({OPEN: answer})) == f"{URL}/sessions answered {expected}"
    answer = reply(409, {"detail": "Not enough QPU slots available."})
    answered = f"{URL}/sessions answered 409 Conflict: Not enough QPU slots available."
    assert refused(FakeService({OPEN: answer})) == f"busy: no QPU slots free: {answered}"
    service = FakeService({OPEN: reply(500, {"detail": "Internal Server Error"})})
    error, _ = failure_of(client_of(service).acquire)
    assert (error.may_have_acted, error.status, error.token) == (True, 500, None)
    assert len(service.requests) == 1


def test_each_try_has_another_credential_which_no_answer_shows_and_none_is_made_without() -> None:
    gave_up = f"{URL}/sessions answered 429 Too Many Requests; gave up after 3 tries"
    for count, expected in ((3, gave_up), (0, "no credential is left to ask with")):
        service = FakeService({OPEN: reply(429)})
        exchange = replace(service.exchange(), credentials=munge_credentials(count))
        _, text = failure_of(partial(PASQAL_LOCAL.client().acquire, exchange))
        proofs = proofs_of(service)
        assert (text, len(proofs), len(set(proofs))) == (expected, count, count)
    used: list[str] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        used.append(request.headers["x-munge-cred"])
        if len(used) == 1:
            return reply(429)
        return reply(401, {"detail": f"got {used[0]} and {used[1]}"})

    assert "got **** and ****" in refused(FakeService({OPEN: refuse}))


def test_session_is_revoked_or_gone_by_path_or_then_by_header_without_anything_of_the_job() -> None:
    of_no_job = PasqalLocal(settings_of({"QRMI_WARDEN_URL": API_URL}, "ORION"))
    unknown = reply(404, {"detail": "Session not found."})
    for by_path, by_header, asked in (
        (REVOKED, REVOKED, [BY_PATH]),
        (unknown, REVOKED, [BY_PATH]),
        (reply(405, {"detail": "Method Not Allowed"}), REVOKED, [BY_PATH, BY_HEADER]),
        (NOT_FOUND, REVOKED, [BY_PATH, BY_HEADER]),
        (NOT_FOUND, unknown, [BY_PATH, BY_HEADER]),
    ):
        with trying((by_path.text, by_header.text)):
            service = FakeService({BY_PATH: by_path, BY_HEADER: by_header})
            assert of_no_job.release(service.exchange(), TOKEN)
            assert (service.asked, len(set(proofs_of(service)))) == (asked, len(asked))
            sent = service.requests[-1]
            assert sent.headers["x-warden-session"] == TOKEN
            assert (sent.headers["content-type"], sent.content) == ("application/json", b"")


def test_what_may_be_open_stays_in_the_journal() -> None:
    token = "session-of-a-job"
    for answer, expected in (
        (reply(json={"revoked_at": None}), "the session is still open: Warden answered, but"),
        (reply(404, {"detail": "gateway"}), "the session may still be open: "),
        (reply(json=[]), "is not a JSON object"),
        (reply(500), f"gave up after {MOST_TRIES} tries"),
    ):
        with trying(expected):
            service = FakeService({f"DELETE /base/sessions/{token}": answer})
            with pytest.raises((ReleaseError, ServiceError)) as caught:
                client_of(service).release(token)
            text = text_of(caught.value)
            assert expected in text
            assert token not in text
            proofs = proofs_of(service)
            assert len(proofs) == len(set(proofs)) <= MOST_TRIES


def test_credentials_suffice_for_all_tries_of_either_version() -> None:
    service = FakeService({BY_PATH: NOT_FOUND, BY_HEADER: reply(500)})
    with pytest.raises(QrmiError, match=f"gave up after {MOST_TRIES} tries"):
        client_of(service).release(TOKEN)
    late = [*[reply(500)] * (MOST_TRIES - 1), NOT_FOUND]
    assert client_of(FakeService({BY_PATH: late, BY_HEADER: REVOKED})).release(TOKEN)


ACCOUNTS = "GET /base/accounting/jobs"


def accounts_of(*jobs: dict[str, object], total: int | None = None) -> httpx.Response:
    data = [{"session_id": TOKEN, "execution_time": 60, "shots": 100} | each for each in jobs]
    return reply(json={"data": data, "pagination": {"total": total or len(data)}})


def test_usage_is_that_of_the_sessions_jobs() -> None:
    full_page = accounts_of(*[{}] * 100, total=101)
    for answers, expected in (
        ([accounts_of({}, {"execution_time": 0})], Usage(60, 2, 200)),
        ([accounts_of()], Usage(0, 0, 0)),
        ([full_page, accounts_of({}, total=101)], Usage(6060, 101, 10100)),
        ([accounts_of({}, {"shots": None})], Usage(120, 2, None)),
        ([accounts_of({"execution_time": -1}, {"shots": True})], Usage(None, 2, None)),
    ):
        with trying(expected):
            service = FakeService({ACCOUNTS: [*answers]})
            assert client_of(service).usage(TOKEN) == expected
            sent = [dict(each.url.params) for each in service.requests]
            known = {"session_id": TOKEN, "limit": "100"}
            assert sent == [{**known, "offset": str(100 * page)} for page in range(len(answers))]
            assert len(set(proofs_of(service))) == len(answers)


def test_what_is_not_certainly_the_sessions_is_no_usage() -> None:
    for answer, expected in (
        (NOT_FOUND, "answered 404 Not Found: Not Found"),
        (accounts_of({}, {"session_id": "another"}), "tells of other sessions"),
        (accounts_of(total=1), "lacks jobs that it counts"),
        (accounts_of({}, total=1001), "no credential is left"),
        (reply(json={"data": []}), "holds no accounts of jobs"),
        (reply(json={"pagination": {"total": 0}}), "holds no accounts of jobs"),
    ):
        with trying(answer.text):
            service = FakeService({ACCOUNTS: answer})
            assert expected in complaint(ServiceError, client_of(service).usage, TOKEN)
            assert len(service.requests) <= PasqalLocal.munge_credentials["usage"]
