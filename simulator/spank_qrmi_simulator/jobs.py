# SPDX-License-Identifier: GPL-3.0-or-later
"""IBM jobs, of both services: what is known of one, and how it ends.

State only; times are Unix seconds. What runs a job is given to it as `stop`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

PENDING_STATUSES = frozenset({"Queued", "Running"})
"""Job statuses that the services list for `pending=true`."""
RAN_TOO_LONG = "Cancelled - Ran too long"


@dataclass
class Job:
    """A job; without `stop` nothing runs it, and it stays as it is until it is told to end.

    `results` is the text that the service hands out, `params` what the job was ordered with.
    """

    job_id: str
    created_at: float
    status: str = "Queued"
    backend_name: str = ""
    program_id: str = "sampler"
    service_crn: str = ""
    session_id: str | None = None
    params: Mapping[str, object] = field(default_factory=dict, repr=False)
    tags: tuple[str, ...] = ()
    cost_seconds: int = 0
    is_private: bool = False
    ended_at: float | None = None
    reason: str | None = None
    reason_code: int | None = None
    results: str | None = field(default=None, repr=False)
    logs: str = ""
    quantum_nanoseconds: int = 0
    stop: Callable[[], None] | None = field(default=None, repr=False)

    def is_pending(self) -> bool:
        """Return whether the job has still to finish."""
        return self.status in PENDING_STATUSES

    def complete(self, outcome: Mapping[str, object], now: float) -> None:
        """End well, with what the run brought."""
        if self.is_pending():
            results = outcome.get("results")
            self.results = None if results is None else str(results)
            self.logs = str(outcome.get("logs", ""))
            self.quantum_nanoseconds = int(str(outcome.get("quantum_nanoseconds", 0)))
            self._end("Completed", now)

    def fail(self, reason: str, reason_code: int, now: float) -> None:
        """End because the program failed; the reason is for its author."""
        if self.is_pending():
            self.reason = reason
            self.reason_code = reason_code
            self.logs = f"{reason}\n"
            self._end("Failed", now)

    def cancel(self, now: float, status: str = "Cancelled") -> None:
        """End without a result, whether it runs or waits."""
        if self.is_pending():
            self._end(status, now)
            self.interrupt()

    def interrupt(self) -> None:
        """Stop what runs the job; it stays pending until it is told to end."""
        if self.stop is not None:
            self.stop()

    def _end(self, status: str, now: float) -> None:
        self.status = status
        self.ended_at = now
