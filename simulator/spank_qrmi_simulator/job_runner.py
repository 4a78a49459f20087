# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs IBM jobs: waits for the backend and for a worker, then notes how the job ended.

All of it happens in the server's event loop; only `Job.stop` may be called from other threads.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from spank_qrmi_simulator.execution.errors import (
    ExecutionError,
    LostWorkerError,
    TimeLimitError,
)
from spank_qrmi_simulator.execution.pool import WorkerPool
from spank_qrmi_simulator.ibm_backends import Backend
from spank_qrmi_simulator.jobs import RAN_TOO_LONG, Job
from spank_qrmi_simulator.sessions import Session

BACKEND_POLL_SECONDS = 0.1
RAN_TOO_LONG_REASON = "The job ran longer than its time limit."


@dataclass(frozen=True)
class Work:
    """What it takes to run a job: `function` is `module:name`, called with `order` in a worker.

    `keep_log` is awaited with what happened if there is no worker to write it into the job's log.
    """

    job: Job
    function: str
    order: Mapping[str, object]
    backend: Backend
    time_limit_seconds: int | None
    status_when_late: str = RAN_TOO_LONG
    session: Session | None = None
    keep_log: Callable[[str], Awaitable[None]] | None = None


class JobRunner:
    """The jobs that run or wait in this server."""

    def __init__(self, pool: WorkerPool, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._now = clock
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Work) -> None:
        """Let a job run as soon as its backend and a worker are free."""
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._run(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

        def cancel() -> None:
            # A site may be reset after its server's loop has ended.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(task.cancel)

        work.job.stop = cancel

    async def interrupt(self, job: Job, keep_log: Callable[[str], Awaitable[None]]) -> None:
        """Stop what runs a job and keep a log that says so; the job stays pending.

        Returns once the log is kept, or this runner is stopped.
        """
        job.interrupt()
        task = asyncio.ensure_future(keep_log("The job was cancelled."))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait({task})

    async def stop(self) -> None:
        """Stop all jobs and end all workers."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._pool.stop()

    async def _run(self, work: Work) -> None:
        job = work.job
        # A backend that is paused or in maintenance takes jobs, which wait.
        while not work.backend.is_working():
            await asyncio.sleep(BACKEND_POLL_SECONDS)
        if work.backend.holds_jobs:
            self._note_start(work)
        while work.backend.holds_jobs:
            await asyncio.sleep(BACKEND_POLL_SECONDS)
        try:
            outcome = await self._pool.run(
                work.function,
                work.order,
                on_start=lambda: self._note_start(work),
                time_limit_seconds=work.time_limit_seconds,
            )
        except LostWorkerError as error:
            await _keep_log(work, str(error))
            job.fail(str(error), error.reason_code, self._now())
        except ExecutionError as error:
            job.fail(str(error), error.reason_code, self._now())
        except TimeLimitError:
            await _keep_log(work, RAN_TOO_LONG_REASON)
            job.reason = RAN_TOO_LONG_REASON
            job.cancel(self._now(), work.status_when_late)
        else:
            job.complete(outcome, self._now())
        if work.session is not None:
            work.session.note_job_end(self._now())

    def _note_start(self, work: Work) -> None:
        work.job.status = "Running"
        if work.session is not None:
            work.session.note_job_start(self._now())


async def _keep_log(work: Work, text: str) -> None:
    if work.keep_log is not None:
        await work.keep_log(text)
