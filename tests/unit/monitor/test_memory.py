# SPDX-License-Identifier: GPL-3.0-or-later
"""What is on disk between rounds, and who may work with it."""

import os
import time
from pathlib import Path

import pytest

from spank_qrmi.errors import MonitorError
from spank_qrmi.monitor import memory as memory_module
from spank_qrmi.monitor.memory import locked_memory
from spank_qrmi.monitor.watched import WatchedQpu
from spank_qrmi.status import QpuState, QpuStatus
from tests.unit.failing_systems import room_for

STATUS = QpuStatus(QpuState.BUSY, "full", 3, 0, 4, "c", "a", "f")
QPUS = {
    "a": WatchedQpu(*("a", ("t", "u"), STATUS, 10, 20, STATUS, 20, False, 3, 0.5, (1,), ())),
    "b": WatchedQpu("b", ("t",), STATUS, 10),
}


def test_what_was_saved_is_there_again(tmp_path: Path) -> None:
    with locked_memory(tmp_path) as memory:
        assert memory.load() == {}
        memory.save(QPUS)
    with locked_memory(tmp_path) as memory:
        assert memory.load() == QPUS
    folder = tmp_path / "monitor"
    modes = {path.name: path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())}
    assert modes == {"monitor": 0o700, "lock": 0o600, "qpus.json": 0o600}


def test_file_that_cannot_be_read_or_written_is_told(tmp_path: Path, lines: list[str]) -> None:
    path = tmp_path / "monitor" / "qpus.json"
    told = "qpus.json: cannot be read, nothing is known of earlier rounds"
    with locked_memory(tmp_path) as memory:
        for content in ("", "{", "[1]", "{}x", '[{"name": "a"}]', '[{"name": "a", "types": 1}]'):
            path.write_text(content)
            assert memory.load() == {}, content
            assert told in lines.pop(), content
            memory.save(QPUS)
            assert memory.load() == QPUS, content
        # No link is followed.
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
        assert memory.load() == {}
        assert told in lines.pop()
        with room_for(10):
            memory.save(QPUS)
        assert lines == [f"{path}: cannot be written: File too large"]


def test_second_monitor_is_refused_and_a_folder_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_module, "_PATIENCE_SECONDS", 0.1)
    with locked_memory(tmp_path) as memory:
        memory.save(QPUS)
        with pytest.raises(MonitorError, match=r"monitor: another monitor works with it: stop"):
            locked_memory(tmp_path).__enter__()
        assert memory.load() == QPUS
    with pytest.raises(MonitorError, match=r"lock/monitor: cannot be used"):
        locked_memory(tmp_path / "monitor" / "lock").__enter__()


def test_what_killed_monitors_have_left_is_waited_for_and_goes(tmp_path: Path) -> None:
    folder = tmp_path / "monitor"
    with locked_memory(tmp_path):
        for name, age in ((".new-old", 3600), (".new-young", 0)):
            (folder / name).write_text("half")
            os.utime(folder / name, (time.time() - age,) * 2)
        pid = os.fork()
        if pid == 0:
            # It has the lock too, as a process of a round's has.
            time.sleep(0.3)
            os._exit(0)
    with locked_memory(tmp_path):
        assert {path.name for path in folder.iterdir()} == {"lock", ".new-young"}
    os.waitpid(pid, 0)
