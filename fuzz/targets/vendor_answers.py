# SPDX-License-Identifier: GPL-3.0-or-later
"""What vendors' services answer, to every request that the worker makes of them.

The first byte of the input says which client asks; then answers stand with a NUL between them, and
are given in turn, the last one again and again. An answer is like HTTP's own: a status, lines of
headers, an empty line, the body. `$SENT` in a body stands for the credentials of the request.
"""

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import parse_qsl

import httpx

from fuzz.targets.claims import check_line
from spank_qrmi.clients import qrun_variables as names
from spank_qrmi.clients.http import HttpClient
from spank_qrmi.clients.qiskit_runtime import QiskitRuntime
from spank_qrmi.clients.qrun_service import quantum_system_from
from spank_qrmi.errors import QrmiError, ServiceError
from tests.unit.fake_services import (
    API_KEY,
    API_URL,
    IAM_URL,
    SERVICE_CRN,
    RecordingDeadline,
    begin_to_send,
    ibm_values,
    settings_of,
)
from tests.unit.fake_services import SECRETS as SECRETS_OF_VENDORS
from tests.unit.local_network import asking
from tests.unit.vendors import DIRECT_ACCESS, PASQAL_CLOUD, QISKIT_RUNTIME, VENDORS, Vendor

APP_ID_SECRET = "app-id-Kw27-do-not-show"  # noqa: S105 (nobody's)
SECRETS = (*SECRETS_OF_VENDORS, APP_ID_SECRET)
_SESSION_ID = re.compile(r"[A-Za-z0-9._-]{1,256}")
_OF_EVERY_REQUEST = frozenset(
    {
        *("accept", "accept-encoding", "connection", "content-length", "content-type", "host"),
        "user-agent",
    }
)
_HEADER = re.compile(rb"([A-Za-z0-9-]+): *([\x20-\x7e\x80-\xff]*)")

AnswersOf = Callable[[HttpClient], Iterator[Callable[[], object]]]


def check_vendor_answers(data: bytes) -> None:
    """Let one client work with these answers; only QrmiError may come of it."""
    client = list(CLIENTS.values())[data[0] % len(CLIENTS) if data else 0]
    service = HostileService(data[1:])
    deadline = RecordingDeadline()
    # One that an input spells out may be another client's, which this one cannot know.
    secrets = [secret for secret in SECRETS if secret.encode() not in data]
    with HttpClient(deadline, transport=service) as http, _no_thread_fails():
        for step in client(http):
            try:
                step()
            except QrmiError as error:
                check_failure(error, secrets)
    # A service that asks to wait gets no more than the time there is.
    assert sum(deadline.waits) < 1000 * len(deadline.waits) + 1


def check_failure(error: QrmiError, secrets: Iterable[str] = SECRETS) -> None:
    """Check the text of an error, and the token that was read from a broken answer."""
    check_line(str(error), secrets)
    token = error.token if isinstance(error, ServiceError) else None
    assert token is None or _SESSION_ID.fullmatch(token)


class _Halves(httpx.SyncByteStream):
    """A body that comes in two pieces; httpx has not read it before the client does."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        middle = len(self._body) // 2
        yield self._body[:middle]
        yield self._body[middle:]


class HostileService(httpx.BaseTransport):
    """Gives the answers that an input holds."""

    def __init__(self, data: bytes) -> None:
        self._answers = data.split(b"\0")
        self._turn = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer with the next answer, or break off like a connection where it is empty."""
        answer = self._answers[min(self._turn, len(self._answers) - 1)]
        self._turn += 1
        begin_to_send(request)
        if not answer:
            raise httpx.ReadError("broken off")
        head, _, body = answer.partition(b"\n\n")
        status, *lines = head.split(b"\n")
        return httpx.Response(
            int(status) if re.fullmatch(rb"[2-9]\d\d", status) else 200,
            headers=[(found[1], found[2]) for line in lines if (found := _HEADER.fullmatch(line))],
            stream=_Halves(body.replace(b"$SENT", _sent_secrets(request))),
        )


def _sent_secrets(request: httpx.Request) -> bytes:
    """Return what a request proves us by, as a service could repeat it."""
    headers = request.headers.items()
    sent = [value for name, value in headers if name.lower() not in _OF_EVERY_REQUEST]
    sent += [value for name, value in parse_qsl(request.read().decode()) if name == "apikey"]
    return " ".join(sent).replace('"', "").encode()


def asking_as(vendor: Vendor) -> AnswersOf:
    """Return what asks as for a job with the vendor's resource, from its start to its end."""

    def ask(http: HttpClient) -> Iterator[Callable[[], object]]:
        client = asking(vendor.client(), http)
        yield client.check_accessible
        yield client.full_status
        yield lambda: _check_session_id(client.acquire())
        yield lambda: client.release("a-session")
        yield lambda: client.usage("a-session")

    return ask


def preset_session(http: HttpClient) -> Iterator[Callable[[], object]]:
    """Ask as for a job that brings its own session."""
    settings = settings_of(ibm_values("QRMI_IBM_QRS_", SESSION_ID="a-session"))
    yield lambda: _check_session_id(asking(QiskitRuntime(settings), http).acquire())


def iam_jobs(http: HttpClient) -> Iterator[Callable[[], object]]:
    """Ask as the clean-up of qrun does, with a login of IAM."""
    values = {
        names.DAAPI_ENDPOINT: API_URL,
        names.IAM_ENDPOINT: IAM_URL,
        names.IAM_APIKEY: API_KEY,
        names.SERVICE_CRN: SERVICE_CRN,
    }
    yield from _job_questions(asking(quantum_system_from(values), http))


def app_id_jobs(http: HttpClient) -> Iterator[Callable[[], object]]:
    """Ask as the clean-up of qrun does, with a login of App ID."""
    values = {
        names.DAAPI_ENDPOINT: API_URL,
        names.APPID_CLIENT_ID: "client",
        names.APPID_SECRET: APP_ID_SECRET,
    }
    yield from _job_questions(asking(quantum_system_from(values), http))


CLIENTS: dict[str, AnswersOf] = {
    DIRECT_ACCESS.type_name: asking_as(DIRECT_ACCESS),
    QISKIT_RUNTIME.type_name: asking_as(QISKIT_RUNTIME),
    "preset_session": preset_session,
    PASQAL_CLOUD.type_name: asking_as(PASQAL_CLOUD),
    "iam_jobs": iam_jobs,
    "app_id_jobs": app_id_jobs,
    # What stands above keeps its place.
    **{each.type_name: asking_as(each) for each in VENDORS},
}
"""Who asks, by the first byte of an input modulo their number; new ones go to the end."""


def _check_session_id(session_id: str) -> None:
    assert _SESSION_ID.fullmatch(session_id)


def _job_questions(service: asking) -> Iterator[Callable[[], object]]:
    def check_job() -> None:
        job = service.job("a-job")
        if job is not None:
            check_line(job.status)
            assert (job.reason_message + job.reason_solution + "x").isprintable()

    yield check_job
    yield service.job_ids
    yield lambda: service.submit({"id": "a-job"})
    yield lambda: service.remove("a-job")


class _no_thread_fails:  # noqa: N801 (used like a function)
    """Raise what the thread of an attempt has raised: there it would only be printed."""

    def __enter__(self) -> None:
        self._hook, self._failures = threading.excepthook, list[BaseException]()
        threading.excepthook = lambda args: self._failures.append(args.exc_value or SystemExit())

    def __exit__(self, *_: object) -> None:
        threading.excepthook = self._hook
        if self._failures:
            raise self._failures[0]
