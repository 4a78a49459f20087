# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus reads of a catalog: what is known of each QPU, and nothing of what is not."""

import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from spank_qrmi.catalog.entries import Catalog, CatalogEntry
from spank_qrmi.errors import ConfigError, QrmiError
from spank_qrmi.monitor.metrics import metrics_of, write_metrics
from spank_qrmi.status import QpuState, QpuStatus
from tests.unit.metric_samples import samples_in

AS_OF = 1_700_000_000
BUSY = QpuStatus(QpuState.BUSY, "full", waiting_jobs=7, free_slots=0, total_slots=3)
KNOWN = CatalogEntry(
    *("sherbrooke", ("sherbrooke",), BUSY, AS_OF - 60, AS_OF - 1, "qpu_sherbrooke", 4, 2),
    uids=(1234,),
)
UNKNOWN = CatalogEntry(
    "fresnel", ("fresnel",), QpuStatus(QpuState.UNKNOWN), AS_OF - 5, None, "qpu_fresnel"
)
CATALOG = Catalog(AS_OF, AS_OF + 90, (KNOWN, UNKNOWN))
SECONDS = {"sherbrooke": 0.25}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "monitor.prom"


def test_parser_reads_all_that_is_known(path: Path) -> None:
    write_metrics(CATALOG, SECONDS | {"gone": 3.0}, path)
    one = ("sherbrooke",)
    assert samples_in(path.read_text()) == {
        "spank_qrmi_monitor_round_timestamp_seconds": {(): AS_OF},
        "spank_qrmi_monitor_valid_until_timestamp_seconds": {(): AS_OF + 90},
        "spank_qrmi_qpu_state": {
            (entry.name, state.value): state is entry.status.state
            for entry in (KNOWN, UNKNOWN)
            for state in QpuState
        },
        "spank_qrmi_qpu_state_since_timestamp_seconds": {one: AS_OF - 60, ("fresnel",): AS_OF - 5},
        "spank_qrmi_qpu_answered_timestamp_seconds": {one: AS_OF - 1},
        "spank_qrmi_qpu_waiting_jobs": {one: 7},
        "spank_qrmi_qpu_free_slots": {one: 0},
        "spank_qrmi_qpu_slots": {one: 3},
        "spank_qrmi_qpu_call_seconds": {one: 0.25},
        "spank_qrmi_qpu_licenses": {("qpu_sherbrooke", "sherbrooke"): 4},
        "spank_qrmi_qpu_withheld_licenses": {("qpu_sherbrooke", "sherbrooke"): 2},
    }
    # Everybody reads it, and it names no user.
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert "1234" not in path.read_text()


def test_next_round_replaces_the_file(path: Path) -> None:
    write_metrics(CATALOG, SECONDS, path)
    write_metrics(replace(CATALOG, entries=(UNKNOWN,)), {}, path)
    assert [*samples_in(path.read_text())["spank_qrmi_qpu_state_since_timestamp_seconds"]] == [
        ("fresnel",)
    ]
    assert [*path.parent.iterdir()] == [path]


def test_folder_that_others_can_write_is_refused(path: Path) -> None:
    path.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="must be writable by its owner alone"):
        write_metrics(CATALOG, SECONDS, path)


def test_missing_library_leaves_the_former_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(b"former")
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(QrmiError, match="which metrics need"):
        write_metrics(CATALOG, SECONDS, path)
    assert path.read_bytes() == b"former"


def test_every_metric_has_a_text_and_a_name_of_ours() -> None:
    metrics = metrics_of(CATALOG, SECONDS)
    assert [each.name for each in metrics if not each.name.startswith("spank_qrmi_")] == []
    assert [each.name for each in metrics if not each.help_text.endswith(".")] == []
