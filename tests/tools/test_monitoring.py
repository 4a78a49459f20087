# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics, alerts and dashboard know each other, as promtool reads and evaluates them."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from spank_qrmi.admin.node_metrics import metrics_of_node
from spank_qrmi.monitor.exposition import Metric, text_of
from spank_qrmi.monitor.metrics import metrics_of
from spank_qrmi.state.counts import Event, count
from spank_qrmi.state.journal import Entry, Journal
from tests.tools.programs import ended
from tests.unit.monitor.test_metrics import CATALOG, SECONDS

REPOSITORY = Path(__file__).parents[2]
ALERTS = REPOSITORY / "examples" / "monitoring" / "alerts.yml"
TESTS_OF_ALERTS = REPOSITORY / "tests" / "tools" / "alerts_test.yml"
DASHBOARD = json.loads((REPOSITORY / "examples" / "monitoring" / "dashboard.json").read_text())
EXPRESSIONS = [each["expr"] for panel in DASHBOARD["panels"] for each in panel["targets"]]
# As `make test-tools` unpacks it, if it is not installed.
UNPACKED = REPOSITORY / "build" / "prometheus" / "usr" / "bin"
OUR_METRIC = re.compile(r"\bspank_qrmi_\w+")


def promtool(*arguments: object, **options: str) -> str:
    """Return what promtool says; it must find nothing."""
    program = shutil.which("promtool", path=f"{os.environ['PATH']}:{UNPACKED}")
    assert program is not None, "promtool is missing: make test-tools has it"
    done = ended(program, *arguments, **options)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    return text


@pytest.fixture
def metrics(tmp_path: Path) -> list[Metric]:
    """What a monitor tells, and a node that holds what could not be released."""
    entry = Entry(7, 0, 0, 0, "a", "qiskit-runtime-service", {}, token="token", acquired_at=1)
    with Journal(tmp_path).begin(entry.with_failure("down", 2)):
        pass
    for event in Event:
        count(tmp_path, event)
    return [*metrics_of(CATALOG, SECONDS), *metrics_of_node(tmp_path)]


def test_alerts_are_told_when_they_should_be() -> None:
    assert "SUCCESS" in promtool("test", "rules", TESTS_OF_ALERTS)
    alerts = set(re.findall(r"(?m)^ +- alert: (\w+)$", ALERTS.read_text()))
    told = re.findall(
        r"alertname: (\w+)\n +exp_alerts:\n +- exp_labels:", TESTS_OF_ALERTS.read_text()
    )
    assert alerts == {*told}


# These say that there is something of which there is nothing here.
EMPTY_HERE = ("unreadable_entries > 0", 'step="gone"', "oldest_token")


def test_alerts_and_queries_of_the_dashboard_find_what_is_told(
    metrics: list[Metric], tmp_path: Path
) -> None:
    told = text_of(metrics).decode()
    promtool("check", "metrics", input=told)
    samples = [line.rsplit(" ", 1) for line in told.splitlines() if line[0] != "#"]
    queries = []
    for each in EXPRESSIONS:
        default = " or vector(0)" if any(word in each for word in EMPTY_HERE) else ""
        expression = f"absent({each.replace('$qpu', '.*')}{default})"
        queries.append({"expr": expression, "eval_time": "20m"})
    alerts = {
        "expr": "group by (alertname) (ALERTS)",
        "eval_time": "20m",
        "exp_samples": [
            {"labels": f'{{alertname="{name}"}}', "value": 1}
            for name in ("QpuAway", "QpuReleasesFail")
        ],
    }
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": f"{value}x20"} for name, value in samples],
        "promql_expr_test": [*queries, alerts],
    }
    file = tmp_path / "test.yml"
    file.write_text(json.dumps({"rule_files": [str(ALERTS)], "tests": [test]}))
    promtool("test", "rules", file)


def test_metrics_that_are_asked_for_are_told_and_the_document_has_each(
    metrics: list[Metric],
) -> None:
    told = {each.name for each in metrics}
    assert {*OUR_METRIC.findall("\n".join([ALERTS.read_text(), *EXPRESSIONS]))} <= told
    document = (REPOSITORY / "docs" / "administration.md").read_text()
    _, _, section = document.partition("\n## Metrics\n")
    assert {*OUR_METRIC.findall(section.partition("\n## ")[0])} == told
