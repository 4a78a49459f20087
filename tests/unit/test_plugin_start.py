# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a plugin looks for its worker, wherever it lies itself, and when it starts it."""

import shutil
from pathlib import Path

from tests.unit.plugin_host import PluginHost, answer_of


def test_copy_is_a_whole_plugin(host: PluginHost, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "qpu.so"
    copy.parent.mkdir()
    shutil.copy(host.plugin, copy)
    host.plugin.unlink()
    host.plugin = copy
    host.answer_and_keep(answer_of(held=1))
    host.link.rename(copy.with_name(host.link.name))
    assert host.run().task_statuses == [0]
    assert len(host.requests) == 2


def test_worker_starts_before_slurmctld_is_asked(host: PluginHost) -> None:
    """Python gets ready while slurmctld answers, which takes longer where that is busy."""
    host.play("exit 3")
    assert host.run().all("load-beside-worker") == [b"7"]
