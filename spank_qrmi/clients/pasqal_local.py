# SPDX-License-Identifier: GPL-3.0-or-later
"""Pasqal's QPU on premises (`pasqal-local`): its middleware Warden opens a session for each job.

Owns its variables (QRMI_WARDEN_URL, once QRMI_URL, and QRMI_JOB_QPU_SLOTS) and the life of the
session, of Warden's versions 1 and 2; jobs are the user's program's business, except that Warden is
asked what they have used. Root alone may open and revoke sessions, and see accounts: each request
for that has a MUNGE credential of its own.
"""

import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar

from spank_qrmi.clients.base import Client, Exchange, Hold, ReadTo, Settings
from spank_qrmi.clients.http import RequestOptions
from spank_qrmi.clients.response import Response, whole_number
from spank_qrmi.clients.retry import MOST_TRIES
from spank_qrmi.clients.session_ids import is_session_id, keep_readable_id, session_id_of
from spank_qrmi.errors import AcquisitionError, QrmiError, ReleaseError, ServiceError
from spank_qrmi.numbers_in_text import parse_number
from spank_qrmi.status import QpuState, QpuStatus
from spank_qrmi.usage import Usage

if TYPE_CHECKING:
    from typing_extensions import Unpack

_URL_KEY = "QRMI_WARDEN_URL"
_OLD_URL_KEY = "QRMI_URL"
_SLOTS_KEY = "QRMI_JOB_QPU_SLOTS"

_CREDENTIAL_HEADER = "X-Munge-Cred"
_SESSION_HEADER = "X-Warden-Session"

_LARGEST_SLOTS = 1_000_000
_LARGEST_UID = 2**31 - 1
"""Warden and the vendor's client keep a user's number in 32 bits with a sign."""

_MOST_PAGES = 10
_PAGE_JOBS = 100
"""Warden's own limit (GET /accounting/jobs). A session with more than 1000 jobs tells no usage."""

_NO_SESSION = "Session not found"
_NOT_DECODED = "MUNGE decode failed"
_SAME_KEY = (
    "this node and Warden's host need the same MUNGE key, clocks that agree, and a munged that runs"
)
_HINTS: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: _SAME_KEY,
    HTTPStatus.FORBIDDEN: (
        "Warden must take user 0 for an administrator (api.admin_users) and let the job's user in "
        "(api.authorized_users)"
    ),
    HTTPStatus.INTERNAL_SERVER_ERROR: _SAME_KEY,
}
"""By status of a refusal, what the administrator is to look at."""

log = logging.getLogger(__name__)


class PasqalLocal(Client):
    """One QPU; holding it is a session of Warden's, its id the token."""

    keys: ClassVar[Mapping[str, ReadTo]] = {
        _URL_KEY: ReadTo.RELEASE,
        _OLD_URL_KEY: ReadTo.RELEASE,
        _SLOTS_KEY: ReadTo.ACQUIRE,
    }
    sent_to: ClassVar[Mapping[str, tuple[str, ...]]] = {_OLD_URL_KEY: (), _URL_KEY: ()}
    munge_credentials: ClassVar[Mapping[str, int]] = {
        "acquire": MOST_TRIES,
        # The first request of a release learns which version this is.
        "release": MOST_TRIES + 1,
        "usage": _MOST_PAGES,
    }
    tells_usage = True
    lowered_by_users: ClassVar[tuple[str, ...]] = (_SLOTS_KEY,)

    def __init__(self, settings: Settings) -> None:
        self.resource_name = settings.resource_name
        self._settings = settings
        url, old_url = settings.get(_URL_KEY), settings.get(_OLD_URL_KEY)
        self._has_old_url = url is None and old_url is not None
        key = _OLD_URL_KEY if self._has_old_url else _URL_KEY
        self._url = settings.require_url(key)
        self._url_variable = settings.variable(key)
        self._slots = _slots(settings)
        # Version 1 lets a session live until somebody revokes it.
        self.hold = Hold(f"{_session_text(settings)} at {self._url}", None)

    def status(self, exchange: Exchange) -> QpuStatus:
        """Ask if the QPU is accessible (Warden, GET /accessible); its message says why not."""
        response = exchange.http.request(
            "GET", f"{self._url}/accessible", headers={}, is_repeatable=True
        )
        if not response.is_success:
            raise AcquisitionError(self._refusal_text(response))
        answer = response.json_object(self._url_variable)
        message = response.shown(answer.get("message"))
        if answer.get("is_accessible") is True:
            return QpuStatus(QpuState.ONLINE, message)
        return QpuStatus(QpuState.OFFLINE, message or "Warden does not say why")

    def full_status(self, exchange: Exchange) -> QpuStatus:
        """Add how many QPU slots are free, where version 2 counts them (GET /qpu-slots)."""
        status = self.status(exchange)
        # Others have no such endpoint, and a QPU that is accessible is so without the answer.
        with contextlib.suppress(ServiceError):
            response = exchange.http.request(
                "GET", f"{self._url}/qpu-slots", headers={}, is_repeatable=True, max_tries=1
            )
            slots = response.json_object() if response.is_success else {}
            free, total = (
                whole_number(slots.get(f"qpu_slots_{kind}")) for kind in ("available", "total")
            )
            status = replace(status, free_slots=free, total_slots=total)
        if status.is_online and status.free_slots == 0:
            return replace(status, state=QpuState.BUSY, reason="no QPU slots are free")
        return status

    def acquire(self, exchange: Exchange) -> str:
        """Open a session for the job's user and return its id (Warden, POST /sessions).

        Raises AcquisitionError if it is refused, ServiceError if there is no usable response, with
        `may_have_acted` if a session may be open nevertheless, and its id as `token` if even a part
        of the response tells it. To ask again would open another one in version 1.
        """
        order = self._order()
        if self._has_old_url:
            log.warning(
                "name(%s): %s is the old name of %s: rename it",
                *(self.resource_name, _OLD_URL_KEY, _URL_KEY),
            )
        with keep_readable_id():
            response = self._request(
                exchange,
                *("POST", "/sessions"),
                json=order,
                is_repeatable=False,
                judged=(HTTPStatus.INTERNAL_SERVER_ERROR,),
            )
            if not response.is_success:
                raise self._session_refusal(response)
            return session_id_of(response)

    def release(self, exchange: Exchange, token: str, *, was_told: bool = False) -> bool:
        """Revoke the session `token`; to revoke one twice does no harm.

        Version 1 has DELETE /sessions/{id}; version 2, which does not know that, DELETE /sessions.
        Raises ReleaseError, or ServiceError, if it may still be open.
        """
        if not is_session_id(token):
            raise ReleaseError("the acquisition token is no session id: nothing can be revoked")
        tries = min(exchange.credentials.left - 1, MOST_TRIES)
        response = self._revoke(exchange, f"/sessions/{token}", token, max_tries=tries)
        if _is_unknown_path(response):
            response = self._revoke(exchange, "/sessions", token)
        if response.status == HTTPStatus.NOT_FOUND and _detail(response).startswith(_NO_SESSION):
            return True
        if not response.is_success:
            raise ReleaseError(f"the session may still be open: {self._refusal_text(response)}")
        if response.json_object(self._url_variable).get("revoked_at", "") is None:
            raise ReleaseError("the session is still open: Warden answered, but did not revoke it")
        return True

    def usage(self, exchange: Exchange, token: str) -> Usage:
        """Return what those jobs of the session have used that are over, see `_job_accounts`."""
        jobs = self._job_accounts(exchange, token)
        return Usage(_sum_of(jobs, "execution_time"), len(jobs), _sum_of(jobs, "shots"))

    def _job_accounts(self, exchange: Exchange, token: str) -> list[dict[str, object]]:
        """Return the accounts of the session's jobs (Warden, GET /accounting/jobs).

        Times are in seconds. Warden 0.1.0 has no such endpoint, and FastAPI ignores a filter that
        it does not know: raises ServiceError then, and for more jobs than there are credentials.
        """
        jobs: list[dict[str, object]] = []
        while True:
            response = self._request(
                exchange,
                *("GET", "/accounting/jobs"),
                query={"session_id": token, "limit": str(_PAGE_JOBS), "offset": str(len(jobs))},
                secrets=(token,),
                is_repeatable=True,
            )
            if not response.is_success:
                raise response.refusal(self._refusal_text(response))
            page, total = _page_of(response)
            if any(job.get("session_id") != token for job in page):
                raise response.unusable_error("tells of other sessions")
            jobs += page
            if len(jobs) >= total:
                return jobs
            if not page:
                raise response.unusable_error("lacks jobs that it counts")

    def _order(self) -> dict[str, object]:
        """Return the body that opens a session: either version reads the names that it knows."""
        uid, job_id = self._settings.uid, self._settings.job_id
        if uid is None or job_id is None:
            raise AcquisitionError(
                "a session of Warden is for a job and its user, of which none is"
            )
        if uid > _LARGEST_UID:
            raise AcquisitionError(f"Warden takes no user above {_LARGEST_UID}: the job's is {uid}")
        order: dict[str, object] = {
            "user_id": str(uid),
            "slurm_job_id": str(job_id),
            "scheduler_job_id": str(job_id),
        }
        return order if self._slots is None else {**order, "qpu_slots": self._slots}

    def _revoke(
        self, exchange: Exchange, path: str, token: str, max_tries: int = MOST_TRIES
    ) -> Response:
        return self._request(
            exchange,
            *("DELETE", path),
            headers={_SESSION_HEADER: token, "Content-Type": "application/json"},
            secrets=(token,),
            is_repeatable=True,
            max_tries=max_tries,
        )

    def _request(
        self,
        exchange: Exchange,
        method: str,
        path: str,
        *,
        is_repeatable: bool,
        headers: Mapping[str, str] | None = None,
        **options: "Unpack[RequestOptions]",
    ) -> Response:
        """Make a request; each try has another credential, and there are no more tries than those.

        Another munged would refuse one that it has seen.
        """
        credentials = exchange.credentials
        options["max_tries"] = max(1, min(options.get("max_tries", MOST_TRIES), credentials.left))
        options["secrets"] = (*options.get("secrets", ()), *credentials.secrets)
        return exchange.http.request(
            method,
            f"{self._url}{path}",
            headers=headers or {},
            headers_of_try=lambda: {_CREDENTIAL_HEADER: credentials.take()},
            is_repeatable=is_repeatable,
            **options,
        )

    def _session_refusal(self, response: Response) -> QrmiError:
        text = self._refusal_text(response)
        if response.status == HTTPStatus.CONFLICT:
            return AcquisitionError(f"busy: no QPU slots free: {text}")
        is_final = response.status != HTTPStatus.INTERNAL_SERVER_ERROR
        if is_final or _detail(response).startswith(_NOT_DECODED):
            return AcquisitionError(text)
        return ServiceError(text, status=response.status, may_have_acted=True)

    def _refusal_text(self, response: Response) -> str:
        hint = _HINTS.get(response.status, "")
        if response.status == HTTPStatus.NOT_FOUND:
            hint = f"check {self._url_variable}"
        problem = _first_problem(response)
        parts = (f"{response.source} answered {response.status_text()}{problem}", hint)
        return "; ".join(filter(None, parts))


def _session_text(settings: Settings) -> str:
    """Return what is held, as the administrator of Warden finds it there."""
    if settings.job_id is None:
        return "a session of Warden"
    return f"a session of Warden for job {settings.job_id} of user {settings.uid}"


def _slots(settings: Settings) -> int | None:
    """Return how many QPU slots to ask for, None to leave that to Warden."""
    text = settings.get(_SLOTS_KEY)
    if text is None:
        return None
    slots = parse_number(text, _LARGEST_SLOTS)
    if not slots:
        raise AcquisitionError(
            f"{settings.variable(_SLOTS_KEY)} must be a whole number from 1 to {_LARGEST_SLOTS}"
        )
    return slots


def _page_of(response: Response) -> tuple[list[dict[str, object]], int]:
    """Return accounts, and how many there are with those of other pages; raise ServiceError."""
    document = response.json_object()
    page, pagination = document.get("data"), document.get("pagination")
    total = whole_number(pagination.get("total")) if isinstance(pagination, dict) else None
    if not isinstance(page, list) or total is None:
        raise response.unusable_error("holds no accounts of jobs")
    return [job if isinstance(job, dict) else {} for job in page], total


def _sum_of(jobs: Sequence[Mapping[str, object]], key: str) -> int | None:
    """Return the sum of a number of each job, None if one does not tell it."""
    told = (whole_number(job.get(key)) for job in jobs)
    numbers = [each for each in told if each is not None and each >= 0]
    return sum(numbers) if len(numbers) == len(jobs) else None


def _is_unknown_path(response: Response) -> bool:
    """Return whether Warden has no such endpoint: FastAPI says so in words of its own."""
    if response.status == HTTPStatus.METHOD_NOT_ALLOWED:
        return True
    return response.status == HTTPStatus.NOT_FOUND and _detail(response) == "Not Found"


def _detail(response: Response) -> str:
    """Return the text of a refusal, empty if it has none."""
    return response.shown(_details(response))


def _first_problem(response: Response) -> str:
    """Return what and where the first problem of a body that was refused is.

    The rest of FastAPI's list repeats what was sent, session ids among it.
    """
    details = _details(response)
    first = details[0] if isinstance(details, list) and details else None
    if not isinstance(first, dict):
        return ""
    place = first.get("loc")
    words = [response.shown(each) for each in place] if isinstance(place, list) else []
    kind = response.shown(first.get("type"))
    return f": {kind or 'refused'} at {'.'.join(filter(None, words))[:100]}" if any(words) else ""


def _details(response: Response) -> object:
    try:
        return response.json_object().get("detail")
    except ServiceError:
        return None
