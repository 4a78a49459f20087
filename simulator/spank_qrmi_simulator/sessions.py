# SPDX-License-Identifier: GPL-3.0-or-later
"""Runtime sessions and their jobs: how they open, drain, expire and close.

Only the life of a session belongs here, in Unix seconds; who may touch it is decided elsewhere.
"""

from dataclasses import dataclass, field

from spank_qrmi_simulator.jobs import Job

FOR_EVER_SECONDS = 100 * 365 * 86400
"""The `max_ttl` of one that stays until it is closed."""


@dataclass
class Session:
    """A session from its creation on; it stays known after it has closed.

    `closed_how` is "drained" (no new jobs accepted and none left), "cancelled" or "expired".
    """

    session_id: str
    service_crn: str
    backend_name: str
    mode: str
    max_ttl_seconds: int
    created_at: float
    accepting_jobs: bool = True
    activated_at: float | None = None
    closed_at: float | None = None
    closed_how: str | None = None
    jobs: list[Job] = field(default_factory=list)

    def state(self) -> str:
        """Return "open", "active" or "closed"."""
        if self.closed_at is not None:
            return "closed"
        return "open" if self.activated_at is None else "active"

    def active_ttl_seconds(self, now: float) -> int:
        """Return the seconds of active time left; they run only while a session is active."""
        if self.activated_at is None:
            return self.max_ttl_seconds
        until = now if self.closed_at is None else self.closed_at
        return max(0, self.max_ttl_seconds - int(until - self.activated_at))

    def used_seconds(self, now: float) -> float:
        """Return for how long it has had the backend: since its first job, until it closed."""
        if self.activated_at is None:
            return 0.0
        return round((now if self.closed_at is None else self.closed_at) - self.activated_at, 3)

    def pending_jobs(self) -> list[Job]:
        """Return the jobs that have still to finish."""
        return [job for job in self.jobs if job.is_pending()]

    def add_job(self, job: Job) -> None:
        """Take a job in; one that runs makes the session active."""
        self.jobs.append(job)
        if job.status == "Running":
            self.note_job_start(job.created_at)

    def note_job_start(self, now: float) -> None:
        """Become active with the first job that runs."""
        if self.activated_at is None:
            self.activated_at = now

    def note_job_end(self, now: float) -> None:
        """Close if this was the last job and no new ones are accepted."""
        self._close_if_drained(now)

    def complete_jobs(self, now: float) -> None:
        """Let all pending jobs end well; a session that accepts no new ones then closes."""
        for job in self.pending_jobs():
            job.complete({}, now)
        self._close_if_drained(now)

    def set_accepting_jobs(self, accepting: bool, now: float) -> None:
        """Open or close the queue; a session without pending jobs closes with it."""
        self.accepting_jobs = accepting
        self._close_if_drained(now)

    def cancel(self, now: float) -> None:
        """Close at once: queued jobs never run, a running one finishes."""
        if self.closed_at is not None:
            return
        for job in self.pending_jobs():
            if job.status != "Running":
                job.cancel(now)
            elif job.stop is None:
                job.complete({}, now)
        self._close("cancelled", now)

    def expire(self, now: float) -> None:
        """Close a session that has outlived its `max_ttl`."""
        ends_at = self.created_at + self.max_ttl_seconds
        if self.closed_at is None and now >= ends_at:
            for job in self.pending_jobs():
                job.cancel(ends_at)
            self._close("expired", ends_at)

    def _close_if_drained(self, now: float) -> None:
        if self.closed_at is None and not self.accepting_jobs and not self.pending_jobs():
            self._close("drained", now)

    def _close(self, how: str, at: float) -> None:
        self.accepting_jobs = False
        self.closed_how = how
        self.closed_at = at
