# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics as Prometheus reads them."""

from collections import defaultdict

from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, ...], float]


def samples_in(text: str) -> dict[str, Samples]:
    """Return each metric's numbers by the values of its labels, in the order of their names."""
    found: dict[str, Samples] = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sample.labels[label] for label in sorted(sample.labels))
            found[sample.name][labels] = sample.value
    return found
