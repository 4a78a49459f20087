# SPDX-License-Identifier: GPL-3.0-or-later
"""Pasqal batches and their jobs: how they wait, run, end and are cancelled.

Who may touch a batch is decided elsewhere. All times are Unix seconds.
"""

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import cast

from spank_qrmi_simulator.execution.errors import ExecutionError, TimeLimitError
from spank_qrmi_simulator.execution.pool import WorkerPool
from spank_qrmi_simulator.retention import surplus

RUN_FUNCTION = "spank_qrmi_simulator.pulser_programs:run_program"
LONGEST_RUN_SECONDS = 60

PENDING = "PENDING"
RUNNING = "RUNNING"
DONE = "DONE"
CANCELED = "CANCELED"
ERROR = "ERROR"
UNFINISHED = frozenset({PENDING, RUNNING})


@dataclass(frozen=True)
class Program:
    """A sequence in Pulser's abstract representation, to be run `runs` times on a device."""

    device_type: str
    sequence: str
    runs: int
    variables: Mapping[str, object]


@dataclass
class BatchJob:
    """A job of a batch; `counter` is there once it is done, `errors` once it has failed."""

    job_id: str
    program: Program
    created_at: float
    status: str = PENDING
    started_at: float | None = None
    ended_at: float | None = None
    errors: list[str] = field(default_factory=list)
    counter: dict[str, int] | None = None

    def start(self, at: float) -> None:
        """Leave the queue for the device."""
        self.status = RUNNING
        self.started_at = at

    def end(self, status: str, at: float) -> None:
        """Leave the queue or the device for good."""
        self.status = status
        self.ended_at = at


@dataclass
class Batch:
    """Jobs that run one after the other."""

    batch_id: str
    device_type: str
    created_at: float
    jobs: list[BatchJob]

    def status(self) -> str:
        """Return the status that follows from the jobs'."""
        statuses = {job.status for job in self.jobs}
        if statuses & UNFINISHED:
            return PENDING if statuses == {PENDING} else RUNNING
        return next(status for status in (DONE, ERROR, CANCELED) if status in statuses)


class BatchQueue:
    """All batches, oldest first; all methods but `clear` belong to the event loop that serves."""

    def __init__(self, clock: Callable[[], float], pool: WorkerPool) -> None:
        self._now = clock
        self._pool = pool
        self._batches: dict[str, Batch] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def submit(self, device_type: str, programs: Sequence[Program]) -> Batch:
        """Return a new batch, which runs as soon as a worker is free."""
        now = self._now()
        jobs = [BatchJob(str(uuid.uuid4()), program, now) for program in programs]
        batch = Batch(str(uuid.uuid4()), device_type, now, jobs)
        self._batches[batch.batch_id] = batch
        for batch_id in surplus(self._batches, lambda one: one.status() not in UNFINISHED):
            del self._batches[batch_id]
        task = asyncio.create_task(self._run(batch))
        self._tasks[batch.batch_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(batch.batch_id, None))
        return batch

    def batches(self) -> list[Batch]:
        """Return all batches."""
        return list(self._batches.values())

    def batch(self, batch_id: str) -> Batch | None:
        """Return the batch of that id."""
        return self._batches.get(batch_id)

    def job(self, job_id: str) -> tuple[Batch, BatchJob] | None:
        """Return the job of that id with its batch."""
        for batch in self.batches():
            for job in batch.jobs:
                if job.job_id == job_id:
                    return batch, job
        return None

    def cancel(self, batch: Batch) -> None:
        """End what has not ended, at once."""
        for job in batch.jobs:
            if job.status in UNFINISHED:
                job.end(CANCELED, self._now())
        task = self._tasks.get(batch.batch_id)
        if task is not None:
            # A test may reset its site from another thread than the server's.
            task.get_loop().call_soon_threadsafe(task.cancel)

    def clear(self) -> None:
        """Cancel and forget all batches."""
        for batch in self.batches():
            self.cancel(batch)
        self._batches.clear()

    async def stop(self) -> None:
        """Cancel all batches and wait until nothing runs."""
        tasks = list(self._tasks.values())
        for batch in self.batches():
            self.cancel(batch)
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._pool.stop()

    async def _run(self, batch: Batch) -> None:
        for job in batch.jobs:
            if job.status not in UNFINISHED:
                continue
            try:
                counter = await self._pool.run(
                    RUN_FUNCTION,
                    asdict(job.program),
                    on_start=lambda job=job: job.start(self._now()),  # type: ignore[misc]
                    time_limit_seconds=LONGEST_RUN_SECONDS,
                )
            except ExecutionError as error:
                job.errors = [str(error)]
                job.end(ERROR, self._now())
            except TimeLimitError:
                job.errors = [f"stopped after {LONGEST_RUN_SECONDS} seconds"]
                job.end(ERROR, self._now())
            else:
                job.counter = cast("dict[str, int]", counter)
                job.end(DONE, self._now())
