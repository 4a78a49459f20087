# SPDX-License-Identifier: GPL-3.0-or-later
"""The site's state: accounts, tokens, backends, devices, sessions, requests, faults.

State and its rules only: no HTTP. All times are Unix seconds from the clock given to the site.
"""

import secrets
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from spank_qrmi_simulator.execution.pool import WorkerPool
from spank_qrmi_simulator.faults import FaultQueue
from spank_qrmi_simulator.ibm_backends import Backend
from spank_qrmi_simulator.job_runner import JobRunner
from spank_qrmi_simulator.jobs import Job
from spank_qrmi_simulator.munge import Decode, Unmunge
from spank_qrmi_simulator.pasqal_batches import BatchQueue
from spank_qrmi_simulator.pasqal_tokens import PasqalTokens
from spank_qrmi_simulator.retention import surplus
from spank_qrmi_simulator.sessions import Session

API_KEY = "simulator-api-key"
SERVICE_CRN = "crn:v1:simulator"
OPEN_PLAN_API_KEY = "simulator-open-plan-api-key"
OPEN_PLAN_SERVICE_CRN = "crn:v1:simulator-open-plan"
APP_ID_CLIENT_ID = "simulator-client"
APP_ID_SECRET = "simulator-app-id-secret"  # noqa: S105 (of an account that exists here alone)
TOKEN_START = "simulator-token-"  # noqa: S105 (a prefix)
"""How each bearer token begins."""
SESSION_ID_END = "-5e5510d1d1d1"
"""How the id of each session ends: one that strays into a log can be found there."""
LARGEST_MAX_TTL_SECONDS = 28800
"""Longest life of a session, which is also the default of the service."""
REQUESTS_REMEMBERED = 10_000


@dataclass(frozen=True)
class Account:
    """Who may use the site; the open plan has neither Direct Access nor dedicated mode."""

    api_key: str
    service_crn: str
    is_open_plan: bool = False


@dataclass
class Device:
    """A Pasqal device; a program can run on it when it is both up and available."""

    device_type: str
    status: str
    availability: str


@dataclass
class RequestRecord:
    """A request as the site saw it, without any secret; `status` is None until it is answered."""

    at: float
    method: str
    path: str
    query: str
    headers_present: list[str]
    user_agent: str | None
    authorization_sha256: str | None
    status: int | None = None
    ended_at: float | None = None
    fault: str | None = None


@dataclass(frozen=True)
class Token:
    """A bearer token that was issued to an account; App ID's need no service CRN beside them."""

    account: Account
    expires_at: float
    is_app_id: bool = False


class Site:
    """One simulated site; `reset` brings it back to its first state.

    With noise, IBM programs run with the errors of the machines that the backends are like. MUNGE
    credentials are read by `decode`, without it by the munged of this machine.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        token_lifetime_seconds: int = 3600,
        *,
        with_noise: bool = False,
        decode: Decode | None = None,
    ) -> None:
        self.now = clock
        self.token_lifetime_seconds = token_lifetime_seconds
        self.with_noise = with_noise
        self.decode = decode or Unmunge()
        self.accounts = (
            Account(API_KEY, SERVICE_CRN),
            Account(OPEN_PLAN_API_KEY, OPEN_PLAN_SERVICE_CRN, is_open_plan=True),
        )
        self._tokens: dict[str, Token] = {}
        self.direct_access_jobs: dict[str, Job] = {}
        self.runtime_jobs: dict[str, Job] = {}
        self.pasqal_tokens = PasqalTokens(clock, token_lifetime_seconds)
        workers = WorkerPool()
        self.job_runner = JobRunner(workers, clock)
        self.pasqal_batches = BatchQueue(clock, workers)
        self.reset()

    def reset(self) -> None:
        """Forget sessions, requests, faults and changes, but not the tokens that clients keep."""
        self.tokens_issued = 0
        self.faults = FaultQueue()
        self.requests: deque[RequestRecord] = deque(maxlen=REQUESTS_REMEMBERED)
        self._sessions: dict[str, Session] = {}
        for jobs in (self.direct_access_jobs, self.runtime_jobs):
            for job in jobs.values():
                job.cancel(self.now())
            jobs.clear()
        self.pasqal_batches.clear()
        self.quantum_system_backends = _backends(
            ibm_torino="online",
            ibm_quebec="online",
            ibm_paused="paused",
            ibm_offline="offline",
            ibm_kingston="online",
            test_heron="online",
            test_eagle="online",
        )
        self.qiskit_runtime_backends = _backends(
            ibm_sherbrooke="active",
            ibm_brisbane="active",
            ibm_maintenance="maintenance",
            ibm_marrakesh="active",
        )
        devices = (
            Device("FRESNEL", "UP", "ACTIVE"),
            Device("EMU_FREE", "UP", "ACTIVE"),
            Device("FRESNEL_CAN1", "DOWN", "INACTIVE"),
        )
        self.devices = {device.device_type: device for device in devices}

    async def stop(self) -> None:
        """End all that runs; the server's event loop calls it last."""
        await self.job_runner.stop()
        await self.pasqal_batches.stop()

    def account_of_api_key(self, api_key: str) -> Account | None:
        """Return the account that owns an API key."""
        return next((one for one in self.accounts if one.api_key == api_key), None)

    def issue_token(self, account: Account, *, is_app_id: bool = False) -> tuple[str, Token]:
        """Return a new bearer token's text and what is known of it."""
        now = self.now()
        self._tokens = {text: old for text, old in self._tokens.items() if old.expires_at > now}
        text = f"{TOKEN_START}{secrets.token_urlsafe(24)}"
        token = Token(account, now + self.token_lifetime_seconds, is_app_id)
        self._tokens[text] = token
        self.tokens_issued += 1
        return text, token

    def token(self, text: str) -> Token | None:
        """Return what is known of a token that was issued and has not expired."""
        token = self._tokens.get(text)
        return None if token is None or token.expires_at <= self.now() else token

    def expire_tokens(self) -> None:
        """Make every token issued so far invalid."""
        self._tokens.clear()
        self.pasqal_tokens.expire()

    def open_session(
        self, account: Account, backend_name: str, mode: str, max_ttl_seconds: int
    ) -> Session:
        """Return a new session of the account."""
        session = Session(
            session_id=str(uuid.uuid4())[: -len(SESSION_ID_END)] + SESSION_ID_END,
            service_crn=account.service_crn,
            backend_name=backend_name,
            mode=mode,
            max_ttl_seconds=max_ttl_seconds,
            created_at=self.now(),
        )
        self._sessions[session.session_id] = session
        for session_id in surplus(self._sessions, lambda one: one.closed_at is not None):
            del self._sessions[session_id]
        return session

    def sessions(self) -> list[Session]:
        """Return all sessions, oldest first; those past their `max_ttl` have closed."""
        for session in self._sessions.values():
            session.expire(self.now())
        return list(self._sessions.values())

    def session(self, session_id: str) -> Session | None:
        """Return the session of that id, as it is now."""
        return next((one for one in self.sessions() if one.session_id == session_id), None)

    def add_job(self, session: Session, status: str) -> Job:
        """Return a new job that was put into the session, and that nothing runs."""
        job = Job(
            job_id=str(uuid.uuid4()),
            created_at=self.now(),
            status=status,
            backend_name=session.backend_name,
            service_crn=session.service_crn,
            session_id=session.session_id,
        )
        self.add_runtime_job(job, session)
        return job

    def add_runtime_job(self, job: Job, session: Session | None) -> None:
        """Take in a job of Qiskit Runtime, and of a session if it has one."""
        self.runtime_jobs[job.job_id] = job
        if session is not None:
            session.add_job(job)
        for job_id in surplus(self.runtime_jobs, lambda one: not one.is_pending()):
            self.remove_runtime_job(self.runtime_jobs[job_id])

    def remove_runtime_job(self, job: Job) -> None:
        """Forget a job of Qiskit Runtime, in its session too."""
        del self.runtime_jobs[job.job_id]
        session = None if job.session_id is None else self._sessions.get(job.session_id)
        if session is not None:
            session.jobs.remove(job)


def _backends(**statuses: str) -> dict[str, Backend]:
    return {name: Backend(name, status) for name, status in statuses.items()}
