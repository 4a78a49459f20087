# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics as prometheus_client's own parser reads them, and what is said without it."""

import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from spank_qrmi.errors import QrmiError
from spank_qrmi.monitor.exposition import Metric, text_of


def test_parser_reads_what_was_told() -> None:
    metrics = [
        Metric("held", "What is held.", ("state", "step"), {("a b", "c"): 2, ("d", "e"): 0.5}),
        Metric("made_total", "What was made.", samples={(): 3}),
        Metric("unknown", "Of which nothing is known."),
    ]
    families = list(text_string_to_metric_families(text_of(metrics).decode()))
    assert [(each.name, each.type, each.documentation) for each in families] == [
        ("held", "gauge", "What is held."),
        ("made", "counter", "What was made."),
        ("unknown", "gauge", "Of which nothing is known."),
    ]
    samples = [(each.name, each.labels, each.value) for one in families for each in one.samples]
    assert samples == [
        ("held", {"state": "a b", "step": "c"}, 2),
        ("held", {"state": "d", "step": "e"}, 0.5),
        ("made_total", {}, 3),
    ]


def test_label_cannot_end_its_line() -> None:
    text = text_of([Metric("held", "x", ("qpu",), {('a"} 1\nforged 1\x1b\\ü',): 1})]).decode()
    [family] = text_string_to_metric_families(text)
    [sample] = family.samples
    assert sample.labels == {"qpu": 'a"} 1?forged 1?\\ü'}


def test_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(QrmiError) as raised:
        text_of([])
    assert str(raised.value) == (
        "prometheus_client is not installed, which metrics need: run the spank-qrmi of the package "
        "or of `make install`, or install what the release's list of requirements names"
    )
