# SPDX-License-Identifier: GPL-3.0-or-later
"""Slurm's own files, read as slurmd reads them."""

from pathlib import Path

import pytest

from spank_qrmi.configuration import slurm_files
from spank_qrmi.configuration.slurm_files import (
    epilog_seconds,
    find_plugstack,
    find_slurm_conf,
    read_plugstack,
    read_slurm_conf,
)
from spank_qrmi.errors import ConfigError


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_slurm_conf_is_the_one_that_slurm_was_told_of_or_in_a_usual_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "slurm.conf", "")
    monkeypatch.setenv("SLURM_CONF", str(path))
    assert find_slurm_conf() == path
    monkeypatch.delenv("SLURM_CONF")
    folders = tuple(str(tmp_path / name) for name in ("none", "here"))
    monkeypatch.setattr(slurm_files, "USUAL_FOLDERS", folders)
    assert find_slurm_conf() is None
    (tmp_path / "here").mkdir()
    path = write(tmp_path / "here" / "slurm.conf", "")
    assert find_slurm_conf() == path


def test_values_of_slurm_conf_are_read_as_slurm_reads_them(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    # An include may name the cluster, and is beside slurm.conf wherever it stands.
    write(tmp_path / "parts" / "of_x.conf", "include last.conf\n")
    write(tmp_path / "last.conf", "KillWait = 7\n")
    path = write(
        tmp_path / "slurm.conf",
        "# EpilogTimeout=1\n"
        "ClusterName=x\n"
        "PROLOGEPILOGTIMEOUT=5 UnkillableStepTimeout=9 # KillWait=1\n"
        "prologepilogtimeout=15\n"
        'PluginDir="/a b"\n'
        "SlurmctldParameters=a=1,\\\nb\n"
        "Include parts/of_%c.conf\n",
    )
    assert read_slurm_conf(path) == {
        "clustername": "x",
        "killwait": "7",
        "prologepilogtimeout": "15",
        "unkillablesteptimeout": "9",
        "plugindir": "/a b",
        "slurmctldparameters": "a=1,b",
    }


def test_time_of_an_epilog(tmp_path: Path) -> None:
    times = {
        "": None,
        "PrologEpilogTimeout=15": 15,
        "PrologEpilogTimeout=15 EpilogTimeout=20": 20,
        "PrologEpilogTimeout=65534": None,
        "EpilogTimeout=0": None,
    }
    path = tmp_path / "slurm.conf"
    assert {text: epilog_seconds(write(path, text)) for text in times} == times


def test_files_that_include_each_other_come_to_an_end(tmp_path: Path) -> None:
    path = write(tmp_path / "slurm.conf", "include slurm.conf\nKillWait=7\n")
    assert read_slurm_conf(path) == {"killwait": "7"}
    stack = write(tmp_path / "plugstack.conf", "include plugstack.conf\noptional a.so\n")
    assert [line.path for line in read_plugstack(stack)] == ["a.so"]


def test_plugstack_is_the_named_one_or_beside_slurm_conf(tmp_path: Path) -> None:
    path = write(tmp_path / "slurm.conf", "ClusterName=x\n")
    assert find_plugstack(path) == tmp_path / "plugstack.conf"
    assert read_plugstack(tmp_path / "plugstack.conf") == []
    write(path, "PlugStackConfig=/elsewhere/stack.conf\n")
    assert find_plugstack(path) == Path("/elsewhere/stack.conf")


def test_lines_of_plugstack_come_in_the_order_in_which_slurm_loads_them(tmp_path: Path) -> None:
    folder = tmp_path / "plugstack.conf.d"
    folder.mkdir()
    write(folder / "b.conf", "optional b.so x=1\n")
    write(folder / ".hidden.conf", "optional hidden.so\n")
    write(folder / "a.conf", "required /lib/spank_qrmi.so\t/etc/q.json --on-failure=fail#end\n")
    path = write(
        tmp_path / "plugstack.conf",
        "# optional none.so\ninclude plugstack.conf.d/*.conf\ninclude nothing*.conf\nodd c.so\n"
        'optional c.so "a b"\n',
    )
    lines = read_plugstack(path)
    assert [(line.place, line.is_required, line.library, line.arguments) for line in lines] == [
        (f"{folder}/a.conf:1", True, "spank_qrmi.so", ("/etc/q.json", "--on-failure=fail")),
        (f"{folder}/b.conf:1", False, "b.so", ("x=1",)),
        (f"{path}:5", False, "c.so", ('"a', 'b"')),
    ]


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for read in (read_slurm_conf, read_plugstack):
        with pytest.raises(ConfigError, match=f"{tmp_path}: cannot be read: Is a directory"):
            read(tmp_path)
