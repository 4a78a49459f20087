# SPDX-License-Identifier: GPL-3.0-or-later
"""IBM Qiskit Runtime, since 2026 Quantum Compute Service: a backend whose jobs run in a session.

Owns its variables (QRMI_IBM_QRS_*, QRMI_IBM_QCS_*) and the life of the session; jobs are the user's
program's business, except that release asks whether some are still pending.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar

from spank_qrmi.at_once import begin
from spank_qrmi.clients.base import Client, Exchange, Hold, ReadTo, Settings, path_segment
from spank_qrmi.clients.http import RequestOptions
from spank_qrmi.clients.ibm import SERVICE_KEYS, IbmService, endpoints_of
from spank_qrmi.clients.response import Response, whole_number
from spank_qrmi.clients.session_ids import is_session_id, keep_readable_id, session_id_of
from spank_qrmi.errors import AcquisitionError, QrmiError, ReleaseError
from spank_qrmi.numbers_in_text import parse_number
from spank_qrmi.status import QpuStatus
from spank_qrmi.usage import Usage

if TYPE_CHECKING:
    from typing_extensions import Unpack

_MODE_KEY = "SESSION_MODE"
_MAX_TTL_KEY = "SESSION_MAX_TTL"

_DEDICATED = "dedicated"
_BATCH = "batch"
_DEFAULT_MAX_TTL_SECONDS = 28800
_LARGEST_MAX_TTL_SECONDS = 2**31 - 1

_ACCESSIBLE_STATUSES = frozenset({"active", "online"})

_REFUSED_BY_PLAN = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN})

_CHECK_SHARE = 3 / 4
_LIST_SHARE = 1 / 3
_PATCH_SHARE = 1 / 2
_USAGE_SHARE = 1 / 2

_PAGE_JOBS = 200
"""The longest list that the vendor's own client asks for."""


def _preset_keys(prefix: str) -> tuple[str, ...]:
    return (f"{prefix}SESSION_ID", "QRMI_JOB_ACQUISITION_TOKEN")


def _keys(prefix: str) -> dict[str, ReadTo]:
    of_session = (f"{prefix}{_MODE_KEY}", f"{prefix}{_MAX_TTL_KEY}", *_preset_keys(prefix))
    return {
        **{f"{prefix}{key}": ReadTo.RELEASE for key in SERVICE_KEYS},
        **dict.fromkeys(of_session, ReadTo.ACQUIRE),
        f"{prefix}TIMEOUT_SECONDS": ReadTo.RUN,
    }


class QiskitRuntime(Client):
    """One backend (`qiskit-runtime-service`); holding it is an open session, its id the token."""

    prefix: ClassVar[str] = "QRMI_IBM_QRS_"
    keys: ClassVar[Mapping[str, ReadTo]] = _keys(prefix)
    sent_to: ClassVar[Mapping[str, tuple[str, ...]]] = endpoints_of(prefix, *_preset_keys(prefix))
    tells_usage = True

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.resource_name = settings.resource_name
        self._service = IbmService.from_settings(settings, prefix=self.prefix)
        self.login = self._service.login
        self._path = f"/backends/{path_segment(settings.resource_name)}/status"
        self._mode_key = f"{self.prefix}{_MODE_KEY}"
        self._mode = _session_mode(settings, self._mode_key)
        self._max_ttl_seconds = _max_ttl_seconds(settings, f"{self.prefix}{_MAX_TTL_KEY}")
        self._preset_keys = _preset_keys(self.prefix)
        # A session that the user brought is the user's to end.
        self.hold = None if any(map(settings.get, self._preset_keys)) else self._session_hold()

    def status(self, exchange: Exchange) -> QpuStatus:
        """Ask if the backend is active (Qiskit Runtime REST, GET /backends/{name}/status)."""
        # Closing what was opened meanwhile must have time left even if the response never comes.
        return self._service.backend_status(
            exchange, self._path, _ACCESSIBLE_STATUSES, _CHECK_SHARE
        )

    def acquire(self, exchange: Exchange) -> str:
        """Open a session, or take the one that the user named (POST /sessions, GET /sessions/{id}).

        Raises AcquisitionError if it is refused or unusable, ServiceError if there is no usable
        response, with `may_have_acted` if a session may be open nevertheless, and its id as `token`
        if even a part of the response tells it.
        """
        for key in self._preset_keys:
            session_id = self._settings.get(key)
            if session_id is not None:
                self._check_preset(exchange, session_id, self._settings.variable(key))
                return session_id
        name = self._settings.resource_name
        body = {
            "max_ttl": self._max_ttl_seconds,
            "mode": self._mode,
            "backend": name,
            "backend_name": name,
        }
        with keep_readable_id():
            response = self._service.request(
                exchange, "POST", "/sessions", json=body, is_repeatable=False
            )
            if not response.is_success:
                raise self._session_refusal(response)
            return session_id_of(response)

    def release(self, exchange: Exchange, token: str, *, was_told: bool = False) -> bool:
        """End the session `token`; it is gone if that is its state, or it is twice not found.

        It is told to accept no more jobs and so ends as completed (PATCH /sessions/{id}); if some
        are pending, or that cannot be found out meanwhile (GET /jobs), it is closed as well (DELETE
        /sessions/{id}/close). Raises ReleaseError with all reasons if it may still be open, also
        after `was_told` if it was: services are reported that agree and end nothing.
        """
        if not is_session_id(token):
            raise ReleaseError("the acquisition token is no session id: nothing can be closed")
        session = _Session(self._service, exchange, token)
        if was_told:
            return self._look_again(session)
        is_idle = begin(session.is_idle)
        reply = session.tell("PATCH", json={"accepting_jobs": False}, share=_PATCH_SHARE)
        if not is_idle() or reply is _Reply.FAILED:
            reply = session.tell("DELETE", "/close")
        if reply is _Reply.FAILED:
            raise ReleaseError(f"the session may still be open: {'; '.join(session.reasons)}")
        return reply is _Reply.GONE

    def usage(self, exchange: Exchange, token: str) -> Usage:
        """Return how long the session has used the backend (GET /sessions/{id}, `elapsed_time`).

        The vendor's own client tells that as a session's usage. How many jobs it had is told too,
        if the service lists them.
        """
        session = _Session(self._service, exchange, token)
        response = session.ask("GET", share=_USAGE_SHARE)
        self._service.check_success(response)
        return Usage(_seconds_in(response.json_object()), session.job_count())

    def _look_again(self, session: "_Session") -> bool:
        """Return True if what was told to end is gone, close it and raise ReleaseError if not."""
        if session.is_gone() or session.tell("DELETE", "/close") is _Reply.GONE:
            return True
        reasons = "; ".join(session.reasons) or "it was closed anew"
        raise ReleaseError(f"the session was still open although it was told to end: {reasons}")

    def _session_hold(self) -> Hold:
        what = (
            f"a {self._mode} session on {self._settings.resource_name} at "
            f"{self._service.endpoint_url}"
        )
        return Hold(what, self._max_ttl_seconds)

    def _check_preset(self, exchange: Exchange, session_id: str, variable: str) -> None:
        """Raise AcquisitionError unless jobs can run in the session that `variable` names."""
        advice = f"unset {variable} to get a new one"
        if not is_session_id(session_id):
            raise AcquisitionError(f"{variable} is not a session id: {advice}")
        response = _Session(self._service, exchange, session_id).ask("GET")
        if response.status == HTTPStatus.NOT_FOUND:
            raise AcquisitionError(f"the session in {variable} does not exist: {advice}")
        self._service.check_success(response)
        session = response.json_object()
        problem = _session_problem(session)
        backend = response.shown(session.get("backend_name"))
        if backend and backend != self._settings.resource_name:
            problem = f"is of another backend, {backend}"
        if problem:
            raise AcquisitionError(f"the session in {variable} {problem}: {advice}")

    def _session_refusal(self, response: Response) -> QrmiError:
        """Return the error for a session that was refused, with the usual cause of some."""
        refusal = self._service.refusal(response)
        if self._mode != _DEDICATED or response.status not in _REFUSED_BY_PLAN:
            return refusal
        hint = f"accounts on the open plan need {self._settings.variable(self._mode_key)}={_BATCH}"
        return AcquisitionError(f"{refusal}; {hint}")


class IbmQuantumComputeService(QiskitRuntime):
    """The same service under its newer name (`ibm-quantum-compute-service`)."""

    prefix = "QRMI_IBM_QCS_"
    keys = _keys(prefix)
    sent_to = endpoints_of(prefix, *_preset_keys(prefix))


class _Reply(Enum):
    """What comes of telling a service to end a session."""

    FAILED = "failed"
    AGREED = "agreed"
    GONE = "gone"


class _Session:
    """What is asked about one session, whose id no text shows."""

    def __init__(self, service: IbmService, exchange: Exchange, session_id: str) -> None:
        self._service = service
        self._exchange = exchange
        self._id = session_id
        self._list_reasons: list[str] = []
        self._reasons: list[str] = []

    @property
    def reasons(self) -> list[str]:
        """Return why requests were in vain; one cause often fails all of them in the same words."""
        return list(dict.fromkeys([*self._list_reasons, *self._reasons]))

    def ask(self, method: str, path: str = "", **options: "Unpack[RequestOptions]") -> Response:
        """Make a request at a path below the session's own."""
        return self._ask(method, f"/sessions/{self._id}{path}", **options)

    def is_idle(self) -> bool:
        """Return whether the service says that no jobs are pending."""
        query = {"pending": "true", "session_id": self._id}
        with _note_failure(self._list_reasons):
            # Closing must have time left even if the list never comes.
            response = self._ask("GET", "/jobs", query=query, share=_LIST_SHARE)
            self._service.check_success(response)
            return response.json_object().get("jobs", []) == []
        return False

    def job_count(self) -> int | None:
        """Return how many jobs the service lists of it (GET /jobs), None if that is not told."""
        query = {"session_id": self._id, "limit": str(_PAGE_JOBS), "exclude_params": "true"}
        with suppress(QrmiError):
            response = self._ask("GET", "/jobs", query=query, max_tries=1)
            self._service.check_success(response)
            document = response.json_object()
            jobs, *numbers = document.get("jobs", []), document.get("count"), document.get("limit")
            count, limit = map(whole_number, numbers)
            if isinstance(jobs, list):
                if len(jobs) < min(limit or _PAGE_JOBS, _PAGE_JOBS):
                    return len(jobs)
                # It is not established whether this is of all pages.
                return count if count is not None and count > len(jobs) else None
        return None

    def tell(self, method: str, path: str = "", **options: "Unpack[RequestOptions]") -> _Reply:
        """Make one request that ends the session."""
        with _note_failure(self._reasons):
            response = self.ask(method, path, **options)
            if response.status == HTTPStatus.NOT_FOUND:
                self._reasons.append(self._service.refusal_text(response))
                is_gone = self._is_closed_or_missing(options.get("share", 1.0))
                return _Reply.GONE if is_gone else _Reply.FAILED
            self._service.check_success(response)
            return _Reply.AGREED
        return _Reply.FAILED

    def is_gone(self) -> bool:
        """Return whether the service says that the session has ended.

        One wrong 404, as a gateway gives that is being changed, would leave it open for good.
        """
        return self._is_closed_or_missing() and self._is_closed_or_missing()

    def _is_closed_or_missing(self, share: float = 1.0) -> bool:
        with _note_failure(self._reasons):
            response = self.ask("GET", share=share)
            if response.status == HTTPStatus.NOT_FOUND:
                return True
            self._service.check_success(response)
            return _is_closed(response.json_object())
        return False

    def _ask(self, method: str, path: str, **options: "Unpack[RequestOptions]") -> Response:
        options["secrets"] = (self._id,)
        return self._service.request(self._exchange, method, path, is_repeatable=True, **options)


@contextmanager
def _note_failure(reasons: list[str]) -> Iterator[None]:
    """Add to `reasons` why what is asked failed."""
    try:
        yield
    except QrmiError as error:
        reasons.append(str(error))


def _session_mode(settings: Settings, key: str) -> str:
    """Return the session's mode; raise AcquisitionError if there is no such mode."""
    mode = (settings.get(key) or _DEDICATED).lower()
    if mode not in {_DEDICATED, _BATCH}:
        raise AcquisitionError(f"{settings.variable(key)} must be {_DEDICATED} or {_BATCH}")
    return mode


def _max_ttl_seconds(settings: Settings, key: str) -> int:
    """Return the longest life of a session: as set, else what is left of the job's time limit."""
    text = settings.get(key)
    if text is None:
        remaining_seconds = settings.remaining_seconds
        if remaining_seconds is None:
            return _DEFAULT_MAX_TTL_SECONDS
        return max(1, min(_DEFAULT_MAX_TTL_SECONDS, remaining_seconds))
    seconds = parse_number(text, _LARGEST_MAX_TTL_SECONDS)
    if not seconds:
        raise AcquisitionError(
            f"{settings.variable(key)} must be a whole number of seconds from 1 to "
            f"{_LARGEST_MAX_TTL_SECONDS}"
        )
    return seconds


def _seconds_in(session: Mapping[str, object]) -> float | None:
    """Return for how long a session has had its backend, None if that is not told."""
    seconds = session.get("elapsed_time")
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        return None
    return float(seconds) if 0 <= seconds <= _LARGEST_MAX_TTL_SECONDS else None


def _is_closed(session: Mapping[str, object]) -> bool:
    state = session.get("state")
    return isinstance(state, str) and state.lower() == "closed"


def _session_problem(session: Mapping[str, object]) -> str:
    """Return why jobs cannot run in `session`, or an empty string."""
    if _is_closed(session):
        return "is closed"
    if session.get("accepting_jobs") is False:
        return "accepts no more jobs"
    active_ttl_seconds = session.get("active_ttl")
    if isinstance(active_ttl_seconds, (int, float)) and active_ttl_seconds <= 0:
        return "has no time left"
    return ""
