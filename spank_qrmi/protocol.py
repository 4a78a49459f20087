# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages between a plugin and its worker: the one written definition of the format.

A message is the preamble, any number of records, and the end record:

    preamble    b"QRMI" and one byte, the format's version
    record      tag (1 byte), length of the payload (4 bytes, big-endian), payload
    end record  tag b".", length 0

The plugin sends one request and the worker one answer, over one socket. Payloads are bytes without
NUL; numbers are ASCII decimal.

A node may be upgraded while jobs run: the plugin that a slurmstepd has loaded then asks the worker
of another release, a newer one or, after a rollback, an older one. Therefore

- records may be added within a version, and whoever does not know a tag skips its record;
- the version changes with the meaning of a record; the answer bears the version of the request;
- what gives something back (ALWAYS_UNDERSTOOD) is asked for by the same records in every version,
  all else is refused in a version that is not the worker's own.

`plugin/message.pxd` is the same format for the plugin's side, and
the unit tests hold the two against each other.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from spank_qrmi.errors import ProtocolError
from spank_qrmi.numbers_in_text import parse_number

VERSION = 1
PREAMBLE = b"QRMI%c" % VERSION
MAX_VALUE_BYTES = 256 * 1024
MAX_PAYLOAD_BYTES = MAX_VALUE_BYTES + 256
MAX_MESSAGE_BYTES = 8 * 1024 * 1024
MAX_VARIABLE_NAME_BYTES = 255
"""The plugin takes no answer that sets a variable of a longer name."""
# slurm/slurm.h: INFINITE and NO_VAL, a job without a time limit and one whose limit is not set.
_NO_LIMIT_MINUTES = frozenset({0xFFFFFFFF, 0xFFFFFFFE})

_HEADER_BYTES = 5
_LARGEST_NUMBER = 10**20 - 1

STEP_NAMES = {0xFFFFFFFB: "batch", 0xFFFFFFFA: "interactive"}
"""The steps that acquire for their whole job: SLURM_BATCH_SCRIPT, SLURM_INTERACTIVE_STEP of
slurm/slurm.h."""


def step_name(step_id: int) -> str:
    """Return a step as Slurm's commands write it."""
    return STEP_NAMES.get(step_id, str(step_id))


class RequestTag(bytes, Enum):
    """What a record of a request holds."""

    VERB = b"v"
    QPU_OPTION = b"q"
    JOB_ID = b"j"
    RESTART_COUNT = b"r"
    STEP_ID = b"s"
    UID = b"u"
    TIME_LIMIT_MINUTES = b"l"
    START_TIME = b"b"
    ACCOUNT = b"A"
    PARTITION = b"p"
    LICENSES = b"L"
    USER = b"U"
    RESTARTS = b"R"
    ARRAY_JOB_ID = b"y"
    ARRAY_TASK_ID = b"Y"
    HET_JOB_ID = b"h"
    HET_JOB_OFFSET = b"H"
    GID = b"g"
    NODE_INDEX = b"n"
    TIMEOUT_SECONDS = b"d"
    ARGUMENT = b"a"
    VARIABLE = b"e"
    Q_BACKEND = b"B"
    Q_PRIMITIVE = b"P"
    SLURM_CONF = b"c"
    QUANTUM_JOB = b"k"
    KILLED_QUANTUM_JOB = b"K"
    END = b"."


_REPEATED_TAGS = (
    *(RequestTag.ARGUMENT, RequestTag.VARIABLE, RequestTag.GID),
    *(RequestTag.QUANTUM_JOB, RequestTag.KILLED_QUANTUM_JOB),
)


class AnswerTag(bytes, Enum):
    """What a record of an answer holds."""

    LOG = b"g"
    VARIABLE = b"e"
    MESSAGE = b"m"
    LEFT = b"n"
    VERDICT = b"v"
    END = b"."


class Verb(str, Enum):
    """What the worker is asked to do."""

    ACQUIRE = "acquire"
    RELEASE = "release"
    RELEASE_JOB = "release-job"
    QRUN_ENVIRONMENT = "qrun-environment"
    QRUN_CLEANUP = "qrun-cleanup"


ALWAYS_UNDERSTOOD = frozenset({Verb.RELEASE, Verb.RELEASE_JOB, Verb.QRUN_CLEANUP})


class Verdict(str, Enum):
    """Whether the job can run; `--on-failure` is the plugin's to apply.

    A release or clean-up that could be tried answers RUN; what failed is in its messages.
    """

    RUN = "run"
    FAIL = "fail"


@dataclass(frozen=True)
class Request:
    """One request, checked.

    `time_limit_minutes` is None for a job without limit, or if Slurm could not tell; `start_time`
    is in Unix seconds. `account`, `partition` and `licenses`, a list as Slurm writes it, are those
    of slurmctld's record of the job, empty where it has none; None if they are not told. So is
    `user`, the name of the job's user, which Slurm does not always know, and `restarts`: some
    releases of Slurm tell a plugin none (`restart_count`). A task of an array has
    `array_job_id` and `array_task_id`, a component of a heterogeneous job `het_job_id`, its
    leader's, and `het_job_offset`. `gids` are the groups of the job's processes, empty if they are
    not told: there is always one. `node_index` is the node's place among those of the step, from 0.
    `variables` are the job's, and hold secrets. `quantum_jobs` are
    ids of the jobs of Direct Access that the step's tasks may have submitted; those of
    `killed_quantum_jobs` may even arrive there yet, since their tasks were killed. `slurm_conf` is
    the path of the file that Slurm reads, for the epilog. `version` is the plugin's. `stepd_pid` is
    the slurmstepd that asks: no part of the message, but known from the kernel.
    """

    verb: Verb
    job_id: int
    restart_count: int
    step_id: int
    uid: int
    timeout_seconds: int
    qpu_option: str = ""
    q_backend: str = ""
    q_primitive: str = ""
    slurm_conf: str = ""
    time_limit_minutes: int | None = None
    start_time: int | None = None
    account: str | None = None
    partition: str | None = None
    licenses: str | None = None
    user: str | None = None
    restarts: int | None = None
    array_job_id: int | None = None
    array_task_id: int | None = None
    het_job_id: int | None = None
    het_job_offset: int | None = None
    gids: tuple[int, ...] = ()
    node_index: int = 0
    arguments: tuple[str, ...] = field(default=(), repr=False)
    variables: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    quantum_jobs: tuple[str, ...] = ()
    killed_quantum_jobs: tuple[str, ...] = ()
    version: int = VERSION
    # If it is gone, our parent is another process. But then the deadline is cancelled too, and
    # nothing will be acquired.
    stepd_pid: int = field(default_factory=os.getppid)


def preamble(version: int) -> bytes:
    """Return how a message of a version starts."""
    return PREAMBLE[:-1] + bytes([version])


def encode_record(tag: RequestTag | AnswerTag, payload: bytes) -> bytes:
    """Return one record; raise ProtocolError for a NUL or for more than MAX_PAYLOAD_BYTES."""
    if b"\0" in payload:
        raise ProtocolError(f"record {tag.value!r} holds a NUL byte")
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ProtocolError(f"record {tag.value!r} is longer than {MAX_PAYLOAD_BYTES} bytes")
    return b"%b%b%b" % (tag.value, len(payload).to_bytes(4, "big"), payload)


def read_version(receive: Callable[[int], bytes]) -> int:
    """Read the preamble of a message and return its version.

    `receive(count)` returns at most `count` bytes and b"" at the end of the stream. Raises
    ProtocolError if no message starts there.
    """
    start = _read_exactly(receive, len(PREAMBLE))
    if start[:-1] != PREAMBLE[:-1]:
        raise ProtocolError("message does not start with the preamble")
    return start[-1]


def _read_exactly(receive: Callable[[int], bytes], count: int) -> bytes:
    chunks = b""
    while len(chunks) < count:
        chunk = receive(count - len(chunks))
        if not chunk:
            raise ProtocolError("message ends in the middle")
        chunks += chunk
    return chunks


def read_records(receive: Callable[[int], bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield (tag, payload) of what follows a preamble, up to the end record, which is left out.

    Raises ProtocolError if what comes is not one whole message within the limits.
    """
    message_bytes = len(PREAMBLE)
    while True:
        header = _read_exactly(receive, _HEADER_BYTES)
        tag, length = header[:1], int.from_bytes(header[1:], "big")
        if length > MAX_PAYLOAD_BYTES:
            raise ProtocolError(f"record {tag!r} is longer than {MAX_PAYLOAD_BYTES} bytes")
        message_bytes += _HEADER_BYTES + length
        if message_bytes > MAX_MESSAGE_BYTES:
            raise ProtocolError(f"message is longer than {MAX_MESSAGE_BYTES} bytes")
        if tag == RequestTag.END.value:
            return
        yield tag, _read_exactly(receive, length)


def decode_request(receive: Callable[[int], bytes], version: int) -> Request:
    """Read the request that follows a preamble of this version.

    Raises ProtocolError if it is malformed or incomplete, or in another version than ours and not
    among what is always understood.
    """
    single: dict[RequestTag, str] = {}
    repeated: dict[RequestTag, list[str]] = {tag: [] for tag in _REPEATED_TAGS}
    for tag_byte, payload in read_records(receive):
        try:
            tag = RequestTag(tag_byte)
        except ValueError:
            continue
        text = payload.decode("utf-8", "surrogateescape")
        if tag in repeated:
            repeated[tag].append(text)
        elif tag in single:
            raise ProtocolError(f"request holds record {tag_byte!r} twice")
        else:
            single[tag] = text
    return _request_of(version, single, repeated)


def _verb_of(single: dict[RequestTag, str], version: int) -> Verb:
    text = single.get(RequestTag.VERB, "")
    if version != VERSION and text not in {verb.value for verb in ALWAYS_UNDERSTOOD}:
        raise ProtocolError(
            f"the plugin and the QPU worker on this node are of different releases (message format "
            f"{version} and {VERSION}): submit the job again; if this stays, the administrator "
            "must install the plugin again"
        )
    try:
        return Verb(text)
    except ValueError as error:
        raise ProtocolError("request asks for something unknown") from error


def _request_of(
    version: int, single: dict[RequestTag, str], repeated: dict[RequestTag, list[str]]
) -> Request:
    def number_in(text: str, tag: RequestTag) -> int:
        found = parse_number(text, _LARGEST_NUMBER)
        if found is None:
            raise ProtocolError(f"request's record {tag.value!r} is no number")
        return found

    def number(tag: RequestTag) -> int:
        return number_in(single.get(tag, ""), tag)

    def optional_number(tag: RequestTag) -> int | None:
        return number(tag) if tag in single else None

    time_limit_minutes = optional_number(RequestTag.TIME_LIMIT_MINUTES)
    variables = (text.partition("=") for text in repeated[RequestTag.VARIABLE])
    return Request(
        verb=_verb_of(single, version),
        version=version,
        job_id=number(RequestTag.JOB_ID),
        restart_count=number(RequestTag.RESTART_COUNT),
        step_id=number(RequestTag.STEP_ID),
        uid=number(RequestTag.UID),
        timeout_seconds=number(RequestTag.TIMEOUT_SECONDS),
        qpu_option=single.get(RequestTag.QPU_OPTION, ""),
        q_backend=single.get(RequestTag.Q_BACKEND, ""),
        q_primitive=single.get(RequestTag.Q_PRIMITIVE, ""),
        slurm_conf=single.get(RequestTag.SLURM_CONF, ""),
        time_limit_minutes=None if time_limit_minutes in _NO_LIMIT_MINUTES else time_limit_minutes,
        start_time=optional_number(RequestTag.START_TIME),
        account=single.get(RequestTag.ACCOUNT),
        partition=single.get(RequestTag.PARTITION),
        licenses=single.get(RequestTag.LICENSES),
        user=single.get(RequestTag.USER),
        restarts=optional_number(RequestTag.RESTARTS),
        array_job_id=optional_number(RequestTag.ARRAY_JOB_ID),
        array_task_id=optional_number(RequestTag.ARRAY_TASK_ID),
        het_job_id=optional_number(RequestTag.HET_JOB_ID),
        het_job_offset=optional_number(RequestTag.HET_JOB_OFFSET),
        gids=tuple(number_in(text, RequestTag.GID) for text in repeated[RequestTag.GID]),
        node_index=optional_number(RequestTag.NODE_INDEX) or 0,
        arguments=tuple(repeated[RequestTag.ARGUMENT]),
        variables=tuple((name, value) for name, _, value in variables),
        quantum_jobs=tuple(repeated[RequestTag.QUANTUM_JOB]),
        killed_quantum_jobs=tuple(repeated[RequestTag.KILLED_QUANTUM_JOB]),
    )
