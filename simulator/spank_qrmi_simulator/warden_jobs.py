# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs of Pasqal's Warden: they end at once, every atom measured as 0. No sequence runs."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TypeVar

import orjson
from starlette.datastructures import QueryParams

from spank_qrmi_simulator.timestamps import timestamp

LARGEST_PAGE = 100
LARGEST_OFFSET = 10**9
FILTERS = ("user_id", "session_id", "slurm_job_id", "status")
"""Each may be given several times."""

_Read = TypeVar("_Read")


@dataclass(frozen=True)
class JobOrder:
    """A sequence in Pulser's abstract representation, to be run `shots` times."""

    sequence: str
    shots: int


@dataclass(frozen=True)
class WardenJob:
    """A job that has ended, well if its sequence has atoms."""

    job_id: int
    qpu_name: str
    user_id: str
    created_at: float
    atom_count: int
    shots: int
    session_id: str
    slurm_job_id: str

    @property
    def status(self) -> str:
        """How it has ended."""
        return "DONE" if self.atom_count > 0 else "ERROR"

    def account(self) -> dict[str, object]:
        """Return what it has used, in seconds: as on a QPU that measures one shot in each."""
        return {
            "id": self.job_id,
            "user_id": self.user_id,
            "session_id": self.session_id,
            "slurm_job_id": self.slurm_job_id,
            "status": self.status,
            "shots": self.shots,
            "execution_time": self.shots if self.status == "DONE" else 0,
            "wait_time": 0,
        }

    def document(self) -> dict[str, object]:
        """Return what is told of it; the results are a text, which is JSON itself."""
        counter = {"0" * self.atom_count: self.shots}
        return {
            "id": self.job_id,
            "user_id": self.user_id,
            "created_at": timestamp(self.created_at),
            "status": self.status,
            "results": orjson.dumps({"counter": counter}).decode() if self.atom_count else None,
        }


def job_order_in(body: Mapping[str, object]) -> JobOrder | list[object]:
    """Return what a body asks for, or all that is wrong with it, as pydantic tells that."""
    problems: list[object] = []
    sequence, shots = body.get("sequence"), body.get("shots")
    if not isinstance(sequence, str):
        problems.append(
            problem("string_type" if "sequence" in body else "missing", "sequence", body)
        )
        sequence = ""
    if not isinstance(shots, int) or isinstance(shots, bool) or shots < 1:
        problems.append(problem("int_type" if "shots" in body else "missing", "shots", body))
        shots = 0
    return problems or JobOrder(sequence, shots)


def accounts_page(
    jobs: Iterable[WardenJob], query: QueryParams
) -> dict[str, object] | list[object]:
    """Return what those jobs have used that a query asks for, or all that is wrong with it."""
    problems: list[object] = []

    def read(key: str, kind: str, read_text: Callable[[str], _Read], default: _Read) -> _Read:
        text = query.get(key)
        try:
            return default if text is None else read_text(text)
        except ValueError:
            problems.append(problem(kind, key, text, place="query"))
            return default

    after = read("ended_after", "datetime_parsing", _moment, 0.0)
    before = read("ended_before", "datetime_parsing", _moment, math.inf)
    offset = read("offset", "int_parsing", lambda text: _number(text, 0, LARGEST_OFFSET), 0)
    limit = read("limit", "int_parsing", lambda text: _number(text, 1, LARGEST_PAGE), LARGEST_PAGE)
    if problems:
        return problems
    wanted = {key: query.getlist(key) for key in FILTERS if key in query}
    found = [
        job.account()
        for job in jobs
        if after <= job.created_at < before
        and all(str(getattr(job, key)) in values for key, values in wanted.items())
    ]
    page, start = found[offset : offset + limit], min(offset, len(found))
    pagination = {"total": len(found), "start": start, "end": start + len(page)}
    return {"data": page, "pagination": pagination}


def _moment(text: str) -> float:
    # Python 3.10 does not know Z.
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def _number(text: str, least: int, largest: int) -> int:
    number = int(text)
    if not least <= number <= largest:
        raise ValueError(text)
    return number


def problem(kind: str, key: str, given: object, place: str = "body") -> dict[str, object]:
    """Return one thing that is wrong with a request, and what was `given`, as pydantic tells it."""
    return {"type": kind, "loc": [place, key], "msg": "wrong", "input": given}


def atom_count_of(sequence: str) -> int:
    """Return how many atoms a sequence's register has, 0 if it is no sequence."""
    try:
        document = orjson.loads(sequence)
    except orjson.JSONDecodeError:
        return 0
    register = document.get("register") if isinstance(document, dict) else None
    return len(register) if isinstance(register, list) else 0
