# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus reads of a catalog: what is known of each QPU, and nothing of what is not."""

import stat
from pathlib import Path

from spank_qrmi.catalog.entries import Catalog, CatalogEntry
from spank_qrmi.monitor.metrics import write_metrics
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


def test_parser_reads_all_that_is_known(tmp_path: Path) -> None:
    path = tmp_path / "monitor.prom"
    path.touch(mode=0o600)
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
    # It has replaced the former file, everybody reads it, and it names no user.
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert "1234" not in path.read_text()
