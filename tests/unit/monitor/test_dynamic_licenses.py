# SPDX-License-Identifier: GPL-3.0-or-later
"""Licences of slurmdbd: what is said to be in use keeps jobs from them."""

from pathlib import Path

import pytest

from spank_qrmi.errors import MonitorError
from spank_qrmi.monitor.dynamic_licenses import DynamicLicenses
from spank_qrmi.monitor.licenses import License
from spank_qrmi.trust.slurm_commands import SlurmCommands
from tests.unit.fake_scontrol import FakeScontrol

A = "qpu_a@spank_qrmi"


@pytest.fixture
def scontrol(tmp_path: Path) -> FakeScontrol:
    return FakeScontrol(tmp_path / "slurm", "slurm-wlm 24.11.5")


def test_older_slurm_is_refused(tmp_path: Path) -> None:
    for version in ("slurm 22.05.8", "slurm 23.01.0", "slurm", ""):
        older = SlurmCommands(FakeScontrol(tmp_path / f"of {version}", version).folder)
        with pytest.raises(MonitorError, match=r"needs Slurm 23\.02 or later, .*reservations$"):
            pytest.fail(f"{version!r} was taken: {DynamicLicenses(older)}")
    for version in ("slurm 23.02.0-0rc1", "slurm 26.05.5"):
        newer = SlurmCommands(FakeScontrol(tmp_path / f"of {version}", version).folder)
        assert DynamicLicenses(newer).read() == {}, version


def test_only_licences_of_qpus_that_slurmdbd_has_count_and_are_given_back(
    commands: SlurmCommands, scontrol: FakeScontrol
) -> None:
    scontrol.add(A, 3, 1, "LastConsumed=3 LastDeficit=2")
    scontrol.add("qpu_b@other", 3, 1, "LastDeficit=0")
    scontrol.add("qpu_c", 3)
    scontrol.add("matlab@flex", 3, 0, "LastDeficit=3")
    dynamic = DynamicLicenses(commands)
    assert dynamic.read() == {
        "qpu_a": License(3, 1, withheld=2, most_withheld=3),
        "qpu_b": License(3, 1, withheld=0, most_withheld=3),
    }
    assert dynamic.release_all() == ["qpu_a"]
    assert scontrol.licence(A)["rest"] == "LastConsumed=1 LastDeficit=0"
    assert scontrol.licence("matlab@flex")["rest"] == "LastDeficit=3"


def test_what_jobs_have_is_in_use_too(commands: SlurmCommands, scontrol: FakeScontrol) -> None:
    scontrol.add(A, 3, 1)
    dynamic = DynamicLicenses(commands)
    for count in (3, 1, 0):
        dynamic.read()
        dynamic.withhold("qpu_a", count)
        assert dynamic.read()["qpu_a"].withheld == count
    assert [call for call in scontrol.calls() if call.startswith("sacctmgr")] == [
        "sacctmgr --immediate modify resource where name=qpu_a server=spank_qrmi set "
        f"lastconsumed={in_use}"
        for in_use in (4, 2, 1)
    ]
