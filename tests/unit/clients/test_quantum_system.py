# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs of Direct Access: submitted, read, cancelled, deleted; what each answer means."""

import threading
from base64 import b64encode
from functools import partial
from typing import Any

import httpx

from spank_qrmi.clients import qrun_variables as names
from spank_qrmi.clients.http import HttpClient
from spank_qrmi.clients.qrun_service import quantum_system_from
from spank_qrmi.clients.quantum_system import QuantumJob
from spank_qrmi.errors import AcquisitionError, AuthenticationError, ServiceError, VariableError
from tests.unit.fake_services import (
    API_KEY,
    API_URL,
    BEARER_TOKEN,
    IAM_URL,
    SERVICE_CRN,
    FakeService,
    RecordingDeadline,
    Reply,
    complaint,
    failure_of,
    nested_reply,
    reply,
    token_reply,
)
from tests.unit.local_network import asking
from tests.unit.outcomes import trying

IAM = {
    names.DAAPI_ENDPOINT: API_URL,
    names.IAM_APIKEY: API_KEY,
    names.SERVICE_CRN: SERVICE_CRN,
    names.IAM_ENDPOINT: IAM_URL,
}
APP_ID = {
    names.DAAPI_ENDPOINT: f"{API_URL}/",
    names.APPID_CLIENT_ID: "demo",
    names.APPID_SECRET: API_KEY,
}
JOBS = "/base/v1/jobs"
GET, DELETE = f"GET {JOBS}/one", f"DELETE {JOBS}/one"
CANCEL, SUBMIT, LIST = f"POST {JOBS}/one/cancel", f"POST {JOBS}", f"GET {JOBS}"
APP_ID_TOKEN = "POST /base/v1/token"
NO_JOB = reply(404, {"errors": [{"code": "1291", "message": "Job not found."}]})
RUNNING, CANCELLED = (reply(200, {"status": status}) for status in ("Running", "Cancelled"))
OK, BUSY = reply(204), reply(409, {"errors": [{"code": "1337", "message": "no"}]})


def system_of(
    replies: dict[str, Reply | list[Reply]], variables: dict[str, str] = IAM, **options: Any
) -> tuple[FakeService, asking]:
    service = FakeService(replies)
    http = HttpClient(**{"deadline": RecordingDeadline(), "transport": service, **options})
    return service, asking(quantum_system_from(variables), http)


def test_app_id_asks_the_service_itself_and_sends_no_crn() -> None:
    incomplete_iam = {**IAM, **APP_ID, names.SERVICE_CRN: " "}
    for variables in (APP_ID, incomplete_iam):
        service, system = system_of({APP_ID_TOKEN: token_reply(), GET: RUNNING}, variables)
        system.job("one")
        login, asked = service.requests
        basic = b64encode(f"demo:{API_KEY}".encode()).decode()
        assert (login.headers["authorization"], login.content) == (f"Basic {basic}", b"")
        assert asked.headers["authorization"] == f"Bearer {BEARER_TOKEN}"
        assert "service-crn" not in asked.headers


def test_job_is_read_from_its_document_and_three_statuses_are_final() -> None:
    failed = {
        "status": "Failed",
        "reason_code": 5203,
        "reason_message": "no\x1b[2J",
        "reason_solution": "try",
        "usage": {"quantum_nanoseconds": 7},
    }
    completed = {"status": "Completed", "reason_code": True, "usage": []}
    for answer, expected in (
        (reply(200, {"status": "Queued\n"}), QuantumJob("one", "Queued")),
        (reply(200, failed), QuantumJob("one", "Failed", 5203, "no?[2J", "try", 7)),
        (reply(200, completed), QuantumJob("one", "Completed")),
        (NO_JOB, None),
    ):
        service, system = system_of({GET: answer})
        assert system.job("one") == expected, answer
        assert service.asked == [GET], answer
    _, system = system_of({GET: reply(200, {"status": 5})})
    text = complaint(ServiceError, system.job, "one")
    assert text.endswith("/v1/jobs/one gives no status of the job")
    for status in ("Completed", "Failed", "Cancelled"):
        assert QuantumJob("one", status).is_final, status
        assert not QuantumJob("one", status.lower()).is_final, status


def test_service_without_the_jobs_route_is_asked_for_its_list() -> None:
    listed = reply(200, {"jobs": [{"id": "two"}, 5, {"id": "one", "status": "Running"}]})
    for answer in (reply(405), reply(404, {"detail": "Not Found"})):
        _, system = system_of({GET: answer, LIST: listed})
        assert system.job("one") == QuantumJob("one", "Running")
        _, system = system_of({GET: answer, LIST: reply(200, {"jobs": []})})
        assert system.job("one") is None
        for unusable in (reply(200, {"jobs": None}), reply(400)):
            _, system = system_of({GET: answer, LIST: unusable})
            complaint(ServiceError, system.job, "one")


def test_submission_is_made_once() -> None:
    service, system = system_of({SUBMIT: OK})
    system.submit({"id": "one"})
    assert service.requests[1].content == b'{"id":"one"}'
    for answer, may_have_acted in ((reply(500), True), (reply(429, Retry_After="7"), False)):
        service, system = system_of({SUBMIT: answer})
        error, text = failure_of(partial(system.submit, {}))
        assert (error.status, error.may_have_acted) == (answer.status_code, may_have_acted)
        assert error.retry_after_seconds == (None if may_have_acted else 7.0)
        assert "gave up" not in text
        assert service.asked == [SUBMIT]


APP_ID_VARIABLES = "IBMQRUN_APPID_CLIENT_ID and IBMQRUN_APPID_SECRET"


def test_refusal_names_the_variables() -> None:
    for replies, hint in (
        ({GET: reply(401)}, f"check {APP_ID_VARIABLES}"),
        ({GET: reply(403)}, f"the client in {APP_ID_VARIABLES} may not use"),
        (
            {APP_ID_TOKEN: reply(401, {"errors": [{"message": "wrong"}]})},
            "/v1/token refused the client id and secret: 401 Unauthorized: wrong; check "
            f"{APP_ID_VARIABLES}",
        ),
    ):
        _, system = system_of({APP_ID_TOKEN: token_reply(), **replies}, APP_ID)
        assert hint in complaint(AuthenticationError, system.job, "one"), replies


def test_job_is_removed_whatever_its_status() -> None:
    for replies, asked, expected in (
        ({GET: NO_JOB}, [GET], False),
        ({GET: CANCELLED, DELETE: OK}, [GET, DELETE], True),
        ({GET: CANCELLED, DELETE: NO_JOB}, [GET, DELETE], True),
        ({GET: RUNNING, CANCEL: OK, DELETE: OK}, [GET, CANCEL, DELETE], True),
        ({GET: RUNNING, CANCEL: BUSY, DELETE: OK}, [GET, CANCEL, DELETE], True),
        ({GET: RUNNING, CANCEL: NO_JOB, DELETE: OK}, [GET, CANCEL, DELETE], True),
        ({GET: RUNNING, CANCEL: OK, DELETE: [BUSY, OK]}, [GET, CANCEL, DELETE, DELETE], True),
    ):
        with trying(asked):
            service, system = system_of(replies)
            assert system.remove("one") is expected
            assert service.asked == asked


def test_job_that_may_be_there_is_an_error_after_some_seconds() -> None:
    for replies, status, least_seconds in (
        ({GET: reply(400)}, 400, 0),
        ({GET: RUNNING, CANCEL: reply(400)}, 400, 0),
        ({GET: RUNNING, CANCEL: OK, DELETE: BUSY}, 409, 1),
    ):
        with trying(replies):
            deadline = RecordingDeadline()
            _, system = system_of(replies, deadline=deadline)
            error, _ = failure_of(partial(system.remove, "one"))
            assert error.status == status
            assert least_seconds <= sum(deadline.waits) < 10


def test_listed_jobs_without_a_usable_id_are_left_out() -> None:
    jobs = '{"jobs": [{"id": "one"}, {"id": 5}, {}, 7, {"id": '
    _, system = system_of({LIST: nested_reply(jobs, "}]}")})
    assert system.job_ids() == {"one"}
    # Nor is an id usable that would change the URL.
    complaint(AcquisitionError, system.job, "..")


def test_variables_are_checked_before_any_request() -> None:
    no_key = (
        f"no credentials for the service: set {', '.join(names.IAM_VARIABLES)} "
        f"(IBMQRUN_IAM_APIKEY is missing), or {APP_ID_VARIABLES}"
    )
    colon = {names.IAM_APIKEY: "", names.APPID_CLIENT_ID: "a:b", names.APPID_SECRET: "c"}
    for changes, expected in (
        ({names.DAAPI_ENDPOINT: ""}, "IBMQRUN_DAAPI_ENDPOINT is not set: "),
        ({names.SERVICE_CRN: "ü"}, "IBMQRUN_SERVICE_CRN must be plain ASCII"),
        ({names.IAM_APIKEY: " "}, no_key),
        ({names.IAM_APIKEY: " ", names.APPID_CLIENT_ID: "a"}, no_key),
        ({names.IAM_APIKEY: " ", names.APPID_SECRET: "c"}, no_key),
        (colon, "IBMQRUN_APPID_CLIENT_ID must not hold a colon"),
    ):
        with trying(changes):
            text = complaint(VariableError, quantum_system_from, {**IAM, **changes})
            assert text.startswith(expected)


def test_limit_of_a_try_is_that_of_a_silence_and_then_it_is_repeated() -> None:
    service, system = system_of({GET: RUNNING}, try_seconds=45.0)
    system.job("one")
    assert service.requests[1].extensions["timeout"]["read"] == 45.0
    is_over = threading.Event()

    def hang(_request: httpx.Request) -> httpx.Response:
        is_over.wait(10)
        return RUNNING

    service, system = system_of({GET: [hang, RUNNING]}, try_seconds=0.1)
    assert system.job("one") == QuantumJob("one", "Running")
    is_over.set()
    assert service.asked == [GET, GET]


def test_request_takes_no_longer_than_it_may() -> None:
    deadline = RecordingDeadline()
    _, system = system_of({GET: reply(503)}, deadline=deadline, request_seconds=2.5)
    assert "no time is left" in complaint(ServiceError, system.job, "one")
    # The recorded waits take no time, so only a single longer wait ends it.
    assert all(seconds < 2.5 for seconds in deadline.waits)
