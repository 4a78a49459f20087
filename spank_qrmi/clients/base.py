# SPDX-License-Identifier: GPL-3.0-or-later
"""What every vendor client offers, and what it is given to work with.

A client knows its vendor's exchanges and variables, nothing of Slurm, jobs or processes.
"""

import logging
from abc import abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, Protocol
from urllib.parse import quote
from uuid import uuid4

from spank_qrmi.clients.http import HttpClient
from spank_qrmi.clients.request import base_url, is_header_value
from spank_qrmi.clients.tokens import Login, TokenSource
from spank_qrmi.errors import AcquisitionError, QrmiError, ServiceError, UnavailableError
from spank_qrmi.status import QpuStatus
from spank_qrmi.usage import NOT_TOLD, Usage

log = logging.getLogger(__name__)

_NOTHING_MORE = "nothing more is told"


def path_segment(text: str) -> str:
    """Return `text` as one segment of a URL's path; raise AcquisitionError if it cannot be one."""
    # A URL with one of these is another URL to a service, or to a proxy on the way.
    if text in {"", ".", ".."}:
        raise AcquisitionError(f"{text!r} cannot be the name of a resource")
    return quote(text, safe="", errors="surrogateescape")


@dataclass(frozen=True)
class Settings:
    """One resource as a client sees it: its name and its variables without the `<name>_` prefix.

    Blank values count as unset. `remaining_seconds` is what is left of the job's time limit, None
    for a job without one; `uid` and `job_id` are the job's too, None where something is released.
    With `has_sites_login` endpoints and credentials are all the site's, and
    its access token is the node's, shared by jobs; any other is the job's own. `values` holds
    secrets and is left out of `repr`.
    """

    failure: ClassVar[type[QrmiError]] = AcquisitionError
    """What is raised for a variable that is missing or cannot be used."""

    remedy: ClassVar[str] = (
        "add {key} to the resource's environment in qrmi_config.json or export the variable when "
        "submitting"
    )
    """What to do about one that is missing."""

    blank_remedy: ClassVar[str | None] = (
        "unset it in the job's environment to use the site's, or give it a value"
    )
    """What to do about one that is blank; None: as if it were missing."""

    resource_name: str
    values: Mapping[str, str] = field(repr=False)
    remaining_seconds: int | None = None
    has_sites_login: bool = False
    uid: int | None = None
    job_id: int | None = None

    def get(self, key: str) -> str | None:
        """Return the stripped value of `key`, or None if it is unset or blank.

        Raises `failure` for a placeholder, `<your API key>`, that an example has in its place.
        """
        value = self.values.get(key, "").strip()
        if value.startswith("<") and value.endswith(">"):
            raise self.failure(
                f"{self.variable(key)} still holds the placeholder of the example: put your own "
                "value there"
            )
        return value or None

    def require(self, key: str) -> str:
        """Return the stripped value of `key`; raise `failure` naming it if there is none."""
        value = self.get(key)
        if value is None:
            problem = f"not set: {self.remedy.format(key=key)}"
            if self.blank_remedy is not None and key in self.values:
                problem = f"set to nothing: {self.blank_remedy}"
            raise self.failure(f"{self.variable(key)} is {problem}")
        return value

    def require_url(self, key: str) -> str:
        """Return `key` as a base URL, see `base_url`; raise `failure` if it is none."""
        url = base_url(self.require(key))
        if url is None:
            raise self.failure(
                f"{self.variable(key)} must be a URL that starts with https:// or http://, without "
                "user name, query or fragment"
            )
        return url

    def require_header_value(self, key: str) -> str:
        """Return the value of `key`; raise `failure` if no header can carry it."""
        value = self.require(key)
        if not is_header_value(value):
            raise self.failure(f"{self.variable(key)} must be plain ASCII text on one line")
        return value

    def variable(self, key: str) -> str:
        """Return the full name of the environment variable that holds `key`."""
        return f"{self.resource_name}_{key}"


@dataclass(frozen=True)
class Hold:
    """What a service holds for us once `acquire` has taken it, until it is released.

    `what` names it for people, with what they need to find it at the service; after
    `longest_seconds` it ends by itself, None if it may stay for ever.
    """

    what: str
    longest_seconds: int | None


class ReadTo(Enum):
    """What a key is read for; one that a release needs too is kept until then.

    RUN is for the vendor's own client alone, in the user's program.
    """

    ACQUIRE = "acquire"
    RELEASE = "release"
    RUN = "run"


class OneTimeCredentials:
    """Credentials of which each is for one try of one request; no representation shows them.

    `secrets` are all of them: some services take one more than once.
    """

    def __init__(self, texts: Sequence[str] = ()) -> None:
        self.secrets = tuple(texts)
        self._left = deque(texts)

    @property
    def left(self) -> int:
        """How many have not been taken."""
        return len(self._left)

    def take(self) -> str:
        """Return the next one; raise ServiceError if there is none."""
        if not self._left:
            raise ServiceError("no credential is left to ask with")
        return self._left.popleft()


@dataclass(frozen=True)
class Exchange:
    """What asks for one piece of work: requests within its deadline, and access tokens for them.

    `credentials` are those of one call, as many as the client says that it needs.
    """

    http: HttpClient
    tokens: TokenSource
    credentials: OneTimeCredentials = field(default_factory=OneTimeCredentials)


class Client(Protocol):
    """One resource at its vendor's service: is it there, take it, give it back.

    It is a value made of settings; whatever asks is handed to it. Errors are AcquisitionError
    (cannot be used, with the reason), ReleaseError and ServiceError; their texts leave out the
    resource's name, which the caller puts in front.
    """

    resource_name: str

    keys: ClassVar[Mapping[str, ReadTo]]
    """Every key of its settings that it reads, or the vendor's client in a job."""

    sent_to: ClassVar[Mapping[str, tuple[str, ...]]]
    """Each endpoint key with the keys of the credentials that are sent there, itself or as a token
    made from it."""

    longest_task_seconds: ClassVar[int | None] = None
    """What the vendor's own client can at most take as a task's timeout; None: any."""

    hold: Hold | None
    """What `acquire` makes the service hold; None if there is nothing that we must release."""

    login: Login | None = None
    """What its requests need an access token for; None if they need none."""

    munge_credentials: ClassVar[Mapping[str, int]] = {}
    """By method, how many of root's MUNGE credentials it needs at most, one for each try of each
    request. They are the site's own: with any, no endpoint is a user's to choose."""

    tells_usage: ClassVar[bool] = False
    """Whether the service tells by `usage` what was used; it is asked when no job waits."""

    lowered_by_users: ClassVar[tuple[str, ...]] = ()
    """Keys of whole numbers of which a user may have less than the site says, but not more."""

    def __init__(self, settings: Settings) -> None:
        """Check the settings, without any request; raise AcquisitionError if one is missing."""

    @abstractmethod
    def status(self, exchange: Exchange) -> QpuStatus:
        """Return whether jobs can run there now, and what else the service tells with that.

        May be called while another thread acquires. Raises AcquisitionError for a refusal.
        """

    def full_status(self, exchange: Exchange) -> QpuStatus:
        """Return the status with what takes further requests, which no job waits for."""
        return self.status(exchange)

    def check_accessible(self, exchange: Exchange) -> None:
        """Ask whether jobs can run there now; raise UnavailableError with the reason if not."""
        status = self.status(exchange)
        if status.problem:
            raise UnavailableError(status.problem)
        log.debug("name(%s): accessible: %s", self.resource_name, status.text or _NOTHING_MORE)

    @abstractmethod
    def acquire(self, exchange: Exchange) -> str:
        """Take the resource; return the acquisition token.

        Raises ServiceError with `may_have_acted` if it may be taken without a usable response, and
        with `token` if the response at least tells what there is to release.
        """

    @abstractmethod
    def release(self, exchange: Exchange, token: str, *, was_told: bool = False) -> bool:
        """Give back what `acquire` took; return whether the service says that it is gone.

        If it only agrees to end it, it is to be asked later, which costs the job no time: with
        `was_told` this asks first, and tells again what is still there. Raises ReleaseError.
        """

    def usage(self, exchange: Exchange, token: str) -> Usage:
        """Return what was used of what is gone, as the service counts it; raise QrmiError."""
        return NOT_TOLD


class UnheldClient(Client):
    """One whose resource is there for every job: holding it is a note of ours.

    The service knows of none, and is asked for nothing to take or to give back.
    """

    hold = None

    def acquire(self, exchange: Exchange) -> str:
        """Return a random token, a UUID of version 4 (RFC 9562, 5.4); nothing is asked."""
        return str(uuid4())

    def release(self, exchange: Exchange, token: str, *, was_told: bool = False) -> bool:
        """Do nothing: nothing is there."""
        return True
