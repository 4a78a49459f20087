# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker processes: how many run at once, how they are asked, cancelled and ended.

A process of its own is the only thing that stops a simulation half-way. Workers are started when
the first program needs them and stay for the next, because importing Qiskit takes seconds.
"""

import asyncio
import sys
from collections.abc import Callable, Mapping

import orjson

from spank_qrmi_simulator.execution.errors import (
    RUN_FAILED,
    ExecutionError,
    LostWorkerError,
    TimeLimitError,
)
from spank_qrmi_simulator.execution.worker import LENGTH

MOST_WORKERS = 2
WORKER_MODULE = "spank_qrmi_simulator.execution.worker"


class WorkerPool:
    """Runs functions in worker processes; all its methods belong to one event loop."""

    def __init__(self, most_workers: int = MOST_WORKERS) -> None:
        self._slots = asyncio.Semaphore(most_workers)
        self._idle: list[_Worker] = []

    async def run(
        self,
        function: str,
        arguments: Mapping[str, object],
        *,
        on_start: Callable[[], None] = lambda: None,
        time_limit_seconds: float | None = None,
    ) -> dict[str, object]:
        """Return what the function `module:name` makes of the arguments, all of it JSON.

        Waits for a free worker, then calls `on_start`. The time limit does not count the wait nor
        the worker's imports. Raises ExecutionError and TimeLimitError; cancelling ends the worker.
        """
        async with self._slots:
            on_start()
            worker = self._idle.pop() if self._idle else await _started_worker()
            try:
                await worker.ask({"function": function})
                request = {"function": function, "arguments": arguments}
                result = await asyncio.wait_for(worker.ask(request), time_limit_seconds)
            except asyncio.TimeoutError as error:
                await worker.end()
                raise TimeLimitError from error
            except ExecutionError:
                await self._put_back(worker)
                raise
            except BaseException:
                await worker.end()
                raise
            await self._put_back(worker)
            return result

    async def stop(self) -> None:
        """End the idle workers; those of running programs end when their `run` is cancelled."""
        while self._idle:
            await self._idle.pop().end()

    async def _put_back(self, worker: "_Worker") -> None:
        if worker.is_alive():
            self._idle.append(worker)
        else:
            await worker.end()


async def _started_worker() -> "_Worker":
    try:
        return await _Worker.start()
    except OSError as error:
        message = f"the simulation's process cannot be started: {error.strerror}"
        raise LostWorkerError(message) from error


class _Worker:
    """One process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls) -> "_Worker":
        pipe = asyncio.subprocess.PIPE
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable, "-m", WORKER_MODULE, stdin=pipe, stdout=pipe, start_new_session=True
            )
        )

    def is_alive(self) -> bool:
        stdout = self._process.stdout
        return self._process.returncode is None and stdout is not None and not stdout.at_eof()

    async def ask(self, request: Mapping[str, object]) -> dict[str, object]:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise LostWorkerError("the simulation's process has no pipes")
        try:
            frame = orjson.dumps(request)
            stdin.write(LENGTH.pack(len(frame)) + frame)
            await stdin.drain()
            (length,) = LENGTH.unpack(await stdout.readexactly(LENGTH.size))
            answer = orjson.loads(await stdout.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise LostWorkerError("the simulation's process ended unexpectedly") from error
        if "error" in answer:
            raise ExecutionError(answer["error"], answer.get("reason_code", RUN_FAILED))
        result: dict[str, object] = answer["result"]
        return result

    async def end(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._process.stdout is not None:
            await self._process.stdout.read()
        await self._process.wait()
