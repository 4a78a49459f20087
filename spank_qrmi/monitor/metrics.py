# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus is told of the QPUs of a catalog, and of the monitor's rounds.

A moment is told as such, not as an age: whoever reads it later knows how old it is by then.
"""

from collections.abc import Callable, Mapping, Sequence

from spank_qrmi.catalog.entries import Catalog, CatalogEntry
from spank_qrmi.monitor.exposition import Metric, Samples, text_of
from spank_qrmi.status import QpuState
from spank_qrmi.trust.files import StrPath
from spank_qrmi.trust.public_files import write_public_file

_QPU = ("qpu",)


def write_metrics(catalog: Catalog, seconds_by_name: Mapping[str, float], path: StrPath) -> None:
    """Write the metrics of a round to a file for node_exporter, whole or not at all.

    `seconds_by_name` says how long the call for each QPU took; one that was not asked is not in it.
    Raises ConfigError if the file cannot be written, QrmiError without prometheus_client.
    """
    write_public_file(path, text_of(metrics_of(catalog, seconds_by_name)))


def metrics_of(catalog: Catalog, seconds_by_name: Mapping[str, float]) -> list[Metric]:
    """Return the metrics of a round, see `write_metrics`."""
    entries = catalog.entries
    return [
        Metric(
            "spank_qrmi_monitor_round_timestamp_seconds",
            "When the monitor's last round was, in Unix time.",
            samples={(): catalog.as_of},
        ),
        Metric(
            "spank_qrmi_monitor_valid_until_timestamp_seconds",
            "Until when that round tells how QPUs are, in Unix time.",
            samples={(): catalog.valid_until},
        ),
        Metric(
            "spank_qrmi_qpu_state",
            "1 for the state that the QPU is in, 0 for the others.",
            ("qpu", "state"),
            {
                (entry.name, state.value): entry.status.state is state
                for entry in entries
                for state in QpuState
            },
        ),
        *_metrics_of_status(entries),
        Metric(
            "spank_qrmi_qpu_call_seconds",
            "How long the last round's call to the QPU's service took.",
            _QPU,
            {
                (entry.name,): seconds_by_name[entry.name]
                for entry in entries
                if entry.name in seconds_by_name
            },
        ),
        *_metrics_of_licenses(entries),
    ]


def _metrics_of_status(entries: Sequence[CatalogEntry]) -> list[Metric]:
    def gauge(name: str, help_text: str, value_of: Callable[[CatalogEntry], int | None]) -> Metric:
        values = ((entry.name, value_of(entry)) for entry in entries)
        samples: Samples = {(qpu,): value for qpu, value in values if value is not None}
        return Metric(f"spank_qrmi_qpu_{name}", help_text, _QPU, samples)

    return [
        gauge(
            "state_since_timestamp_seconds",
            "Since when the QPU is in its state, in Unix time.",
            lambda entry: entry.since,
        ),
        gauge(
            "answered_timestamp_seconds",
            "When the QPU's service last answered, in Unix time; none if it never did.",
            lambda entry: entry.answered_at,
        ),
        gauge(
            "waiting_jobs",
            "How many jobs wait at the service.",
            lambda entry: entry.status.waiting_jobs,
        ),
        gauge(
            "free_slots",
            "How many slots or lanes of the QPU are free.",
            lambda entry: entry.status.free_slots,
        ),
        gauge(
            "slots",
            "How many slots or lanes the QPU has.",
            lambda entry: entry.status.total_slots,
        ),
    ]


def _metrics_of_licenses(entries: Sequence[CatalogEntry]) -> list[Metric]:
    labels = ("qpu", "license")
    return [
        Metric(
            "spank_qrmi_qpu_licenses",
            "How many licences of the QPU Slurm has.",
            labels,
            {
                (entry.name, entry.license_name): entry.total_licenses
                for entry in entries
                if entry.total_licenses is not None
            },
        ),
        Metric(
            "spank_qrmi_qpu_withheld_licenses",
            "How many of these are kept from jobs.",
            labels,
            {
                (entry.name, entry.license_name): entry.withheld_licenses
                for entry in entries
                if entry.withheld_licenses is not None
            },
        ),
    ]
