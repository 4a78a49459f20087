# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a plugin looks for its worker, wherever it lies itself, and when it starts it."""

import shutil
from pathlib import Path

from tests.unit.plugin_host import PluginHost, answer_of, told_to_user


def test_worker_is_found_beside_the_file_to_which_links_lead(
    host: PluginHost, tmp_path: Path
) -> None:
    second = tmp_path / "second" / "plugin.so"
    first = tmp_path / "first" / "spank_qrmi.so"
    for path, target in ((second, host.plugin), (first, Path("..", "second", "plugin.so"))):
        path.parent.mkdir()
        path.symlink_to(target)
    host.plugin = first
    place = f"{host.folder}/spank_qrmi.python should be a link to its Python interpreter"
    failure = f"cannot be found: {place} (No such file or directory)"
    assert host.run().shown_to_user == [told_to_user(failure)]
    host.answer_and_keep(answer_of(held=1))
    # Nobody asks this one.
    first.with_name("spank_qrmi.python").symlink_to("/bin/false")
    report = host.run()
    assert (report.task_statuses, report.shown_to_user) == ([0], [])
    assert len(host.requests) == 2
    # A release with a folder of its own may come meanwhile, and the earlier one be removed at once.
    newer = tmp_path / "newer"
    newer.mkdir()
    (newer / host.link.name).symlink_to(host.worker)
    (newer / "spank_qrmi.so").touch()
    switch = f"ln -sf {newer}/spank_qrmi.so {second}"
    host.answer(answer_of(held=1), f"{switch}; rm -f {host.folder}/spank_qrmi.*")
    assert host.run().logged("error") == []
    assert not host.link.is_symlink()


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
    # One that is removed meanwhile still finds its worker.
    host.answer(answer_of(held=1), f"rm -f {copy}")
    report = host.run()
    assert (report.task_statuses, report.logged("error"), copy.exists()) == ([0], [], False)


def test_worker_starts_before_slurmctld_is_asked(host: PluginHost) -> None:
    """Python gets ready while slurmctld answers, which takes longer where that is busy."""
    host.play("exit 3")
    assert host.run().all("load-beside-worker") == [b"7"]
