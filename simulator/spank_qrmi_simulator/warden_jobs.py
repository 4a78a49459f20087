# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs of Pasqal's Warden: they end at once, every atom measured as 0. No sequence runs."""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from spank_qrmi_simulator.timestamps import timestamp


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

    def document(self) -> dict[str, object]:
        """Return what is told of it; the results are a text, which is JSON itself."""
        counter = {"0" * self.atom_count: self.shots}
        is_done = self.atom_count > 0
        return {
            "id": self.job_id,
            "user_id": self.user_id,
            "created_at": timestamp(self.created_at),
            "status": "DONE" if is_done else "ERROR",
            "results": orjson.dumps({"counter": counter}).decode() if is_done else None,
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


def problem(kind: str, key: str, given: object) -> dict[str, object]:
    """Return one thing that is wrong with a body, and what was `given`, as pydantic tells it."""
    return {"type": kind, "loc": ["body", key], "msg": "wrong", "input": given}


def atom_count_of(sequence: str) -> int:
    """Return how many atoms a sequence's register has, 0 if it is no sequence."""
    try:
        document = orjson.loads(sequence)
    except orjson.JSONDecodeError:
        return 0
    register = document.get("register") if isinstance(document, dict) else None
    return len(register) if isinstance(register, list) else 0
