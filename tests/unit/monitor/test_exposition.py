# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics as prometheus_client's own parser reads them, and what is said without it."""

import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from spank_qrmi.errors import QrmiError
from spank_qrmi.monitor.exposition import Metric, text_of
from tests.unit.metric_samples import samples_in
from tests.unit.outcomes import refusal_of


def test_parser_reads_what_was_told_and_no_label_ends_its_line() -> None:
    held = {("a b", 'c"} 1\nforged 1\x1b\\ü'): 2, ("d", "e"): 0.5}
    metrics = [
        Metric("held", "What is held.", ("state", "step"), held),
        Metric("made_total", "What was made.", samples={(): 3}),
        Metric("unknown", "Of which nothing is known."),
    ]
    text = text_of(metrics).decode()
    families = text_string_to_metric_families(text)
    assert [(each.name, each.type, each.documentation) for each in families] == [
        ("held", "gauge", "What is held."),
        ("made", "counter", "What was made."),
        ("unknown", "gauge", "Of which nothing is known."),
    ]
    held = {("a b", 'c"} 1?forged 1?\\ü'): 2, ("d", "e"): 0.5}
    assert samples_in(text) == {"held": held, "made_total": {(): 3}}


def test_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    assert refusal_of(QrmiError, text_of, []) == (
        "prometheus_client is not installed, which metrics need: run the spank-qrmi of the package "
        "or of `make install`, or install what the release's list of requirements names"
    )
