# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics as Prometheus reads them; the only module that knows prometheus_client, an extra."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spank_qrmi.errors import QrmiError
from spank_qrmi.redaction import printable

if TYPE_CHECKING:
    from prometheus_client import Metric as Family

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


Samples = Mapping[tuple[str, ...], float]
"""Numbers by the values of their labels."""


@dataclass(frozen=True)
class Metric:
    """One metric as it is now: a value for the values of its labels, whose names are `labels`.

    The name of a counter ends in `_total`; every other metric is a gauge. What is not known has no
    sample.
    """

    name: str
    help_text: str
    labels: tuple[str, ...] = ()
    samples: Samples = field(default_factory=dict)


def check_library() -> None:
    """Raise QrmiError that says what to install if there is no prometheus_client."""
    try:
        import prometheus_client  # noqa: F401, PLC0415 (an extra, and slow)
    except ImportError as error:
        raise QrmiError(
            f"{error.name} is not installed, which metrics need: run the spank-qrmi of the package "
            "or of `make install`, or install what the release's list of requirements names"
        ) from error


def text_of(metrics: Iterable[Metric]) -> bytes:
    """Return metrics in Prometheus's text format; raise QrmiError as `check_library` does."""
    check_library()
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 (as above)

    families = list(_families_of(metrics))

    class Collector:
        def collect(self) -> Iterable["Family"]:
            return families

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return generate_latest(registry)


def _families_of(metrics: Iterable[Metric]) -> Iterator["Family"]:
    from prometheus_client.core import (  # noqa: PLC0415 (as above)
        CounterMetricFamily,
        GaugeMetricFamily,
    )

    for metric in metrics:
        kind = CounterMetricFamily if metric.name.endswith("_total") else GaugeMetricFamily
        family = kind(metric.name, metric.help_text, labels=metric.labels)
        for values, number in metric.samples.items():
            family.add_metric([printable(value) for value in values], number)
        yield family
