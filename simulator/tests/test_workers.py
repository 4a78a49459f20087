# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulator's worker processes: reused, limited, cancelled, ended. No Qiskit here."""

import asyncio
import io
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import pytest

from spank_qrmi_simulator.execution.errors import ExecutionError, TimeLimitError
from spank_qrmi_simulator.execution.pool import WORKER_MODULE, WorkerPool
from spank_qrmi_simulator.execution.worker import LENGTH, serve
from tests.deadlines import killed_after

PROJECT = Path(__file__).parents[2]
FUNCTIONS = "simulator.tests.worker_functions"
LONGEST_SECONDS = 30


def with_pool(use: Callable[[WorkerPool], Awaitable[None]], most_workers: int = 2) -> None:
    async def run() -> None:
        pool = WorkerPool(most_workers)
        try:
            await use(pool)
        finally:
            await pool.stop()

    asyncio.run(asyncio.wait_for(run(), LONGEST_SECONDS))


async def process_of(pool: WorkerPool) -> int:
    return int(str((await pool.run(f"{FUNCTIONS}:process_id", {}))["process"]))


def has_ended(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def test_worker_serves_one_program_after_the_other_and_ends_with_the_pool() -> None:
    processes = []

    async def use(pool: WorkerPool) -> None:
        answer = await pool.run(f"{FUNCTIONS}:process_id", {"text": "\n\0ü" * 100_000})
        assert answer["text"] == "\n\0ü" * 100_000
        processes.append(answer["process"])
        processes.append(await process_of(pool))

    with_pool(use)
    assert processes[0] == processes[1]
    assert has_ended(processes[0])


@pytest.mark.parametrize(
    ("function", "text", "reason_code"),
    [
        ("fail", "not today", 1517),
        ("stumble", "KeyError: 'surprise'", 5203),
        ("ramble", "ValueError: x{900}x*$", 5203),
        ("nothing", "no attribute 'nothing'", 5203),
        ("die", "ended unexpectedly", 5203),
    ],
)
def test_failures_are_told_and_the_next_program_runs(
    function: str, text: str, reason_code: int
) -> None:
    async def use(pool: WorkerPool) -> None:
        with pytest.raises(ExecutionError, match=text) as failure:
            await pool.run(f"{FUNCTIONS}:{function}", {})
        assert failure.value.reason_code == reason_code
        assert await process_of(pool) > 0

    with_pool(use)


def test_missing_package_is_told_with_its_remedy() -> None:
    async def use(pool: WorkerPool) -> None:
        with pytest.raises(ExecutionError, match="install spank_qrmi_simulator again"):
            await pool.run("no_such_package:run", {})

    with_pool(use)


def test_process_that_cannot_be_started_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    async def use(pool: WorkerPool) -> None:
        monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
        with pytest.raises(ExecutionError, match="cannot be started: Resource temporarily"):
            await process_of(pool)
        monkeypatch.undo()
        assert await process_of(pool) > 0

    with_pool(use)


def test_program_that_runs_too_long_is_ended() -> None:
    async def use(pool: WorkerPool) -> None:
        before = await process_of(pool)
        with pytest.raises(TimeLimitError):
            await pool.run(f"{FUNCTIONS}:sleep", {"seconds": 60}, time_limit_seconds=0.05)
        assert has_ended(before)

    with_pool(use)


def test_cancelled_program_is_ended_and_frees_its_place() -> None:
    async def use(pool: WorkerPool) -> None:
        started = asyncio.Event()
        before = await process_of(pool)
        sleeping = asyncio.create_task(
            pool.run(f"{FUNCTIONS}:sleep", {"seconds": 60}, on_start=started.set)
        )
        await started.wait()
        waiting = asyncio.create_task(process_of(pool))
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping
        assert has_ended(before)
        assert await waiting != before

    with_pool(use, most_workers=1)


def test_program_can_be_cancelled_at_any_moment_of_its_workers_start() -> None:
    async def use(pool: WorkerPool) -> None:
        for turns in range(12):
            starting = asyncio.create_task(process_of(pool))
            for _ in range(turns):
                await asyncio.sleep(0)
            starting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await starting

    with_pool(use, most_workers=1)


def test_no_more_programs_run_at_once_than_allowed() -> None:
    async def use(pool: WorkerPool) -> None:
        running = 0
        most = 0

        async def sleep() -> None:
            nonlocal running, most

            def note_start() -> None:
                nonlocal running, most
                running += 1
                most = max(most, running)

            await pool.run(f"{FUNCTIONS}:sleep", {"seconds": 0.05}, on_start=note_start)
            running -= 1

        await asyncio.gather(*(sleep() for _ in range(5)))
        assert most == 2

    with_pool(use)


def test_worker_ends_with_its_server_even_if_that_is_killed() -> None:
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-m', '{WORKER_MODULE}'])"
    pipe = subprocess.PIPE
    # The pipes are this test's: they stay open when the server is gone.
    with (
        subprocess.Popen(
            [sys.executable, "-c", start], cwd=PROJECT, stdin=pipe, stdout=pipe
        ) as server,
        killed_after(LONGEST_SECONDS, server),
    ):
        assert server.stdin is not None
        assert server.stdout is not None
        frame = orjson.dumps({"function": f"{FUNCTIONS}:process_id", "arguments": {}})
        server.stdin.write(LENGTH.pack(len(frame)) + frame)
        server.stdin.flush()
        (length,) = LENGTH.unpack(server.stdout.read(LENGTH.size))
        assert b"process" in server.stdout.read(length)
        server.kill()
        assert server.stdout.read() == b""


def test_worker_answers_in_frames() -> None:
    requests = [
        {"function": f"{FUNCTIONS}:process_id"},
        {"function": f"{FUNCTIONS}:process_id", "arguments": {"text": "x"}},
        {"function": f"{FUNCTIONS}:fail", "arguments": {}},
        {"function": f"{FUNCTIONS}:stumble", "arguments": {}},
        {"function": "no_such_package:run", "arguments": {}},
    ]
    frames = [orjson.dumps(request) for request in requests]
    stream = io.BytesIO(b"".join(LENGTH.pack(len(frame)) + frame for frame in frames))
    written = io.BytesIO()
    serve(stream, written)
    written.seek(0)
    answers = []
    while header := written.read(LENGTH.size):
        answers.append(orjson.loads(written.read(LENGTH.unpack(header)[0])))
    assert answers[:3] == [
        {"result": {}},
        {"result": {"process": os.getpid(), "text": "x"}},
        {"error": "not today", "reason_code": 1517},
    ]
    assert answers[3] == {"error": "KeyError: 'surprise'"}
    assert "install spank_qrmi_simulator again" in answers[4]["error"]
