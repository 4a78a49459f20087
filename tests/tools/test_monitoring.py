# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics, alerts and dashboard as a real Prometheus has them, and as promtool checks them."""

import json
import os
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from loopback.processes import Daemon
from loopback.waiting import wait_until
from spank_qrmi.admin.node_metrics import metrics_of_node
from spank_qrmi.monitor.exposition import Metric, text_of
from spank_qrmi.monitor.metrics import metrics_of
from spank_qrmi.monitor.metrics_server import MetricsServer
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
DEADLINE_SECONDS = 60
OUR_METRIC = re.compile(r"\bspank_qrmi_\w+")


def program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:{UNPACKED}")
    assert found is not None, f"{name} is missing: make test-tools has it"
    return found


def promtool(*arguments: object, **options: str) -> str:
    """Return what promtool says; it must find nothing."""
    done = ended(program("promtool"), *arguments, **options)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    return text


@dataclass(frozen=True)
class Prometheus:
    """One that has read the monitor of a site, and the file of a node."""

    port: int
    # What these two tell.
    metrics: list[Metric]

    def get(self, path: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}"
        answer = httpx.get(url, params=parameters, trust_env=False).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Return labels and number of each result."""
        result = self.get("query", query=expression)["result"]
        return [(each["metric"], float(each["value"][1])) for each in result]

    def has_read_both(self) -> bool:
        try:
            return len(self.query("up == 1")) == 2
        except (httpx.TransportError, ValueError, AssertionError):
            # It does not listen yet, or says that it is not ready.
            return False


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "textfiles").mkdir()
    # It holds what could not be released, and has counted one event of each kind.
    state = folder / "state"
    entry = Entry(7, 0, 0, 0, "a", "qiskit-runtime-service", {}, token="token", acquired_at=1)
    with Journal(state).begin(entry.with_failure("down", 2)):
        pass
    for event in Event:
        count(state, event)
    words = ("-m", "spank_qrmi", "metrics", f"--state-dir={state}")
    environment = os.environ | {"SLURM_CONF": os.devnull}
    written = folder / "textfiles" / "spank-qrmi.prom"
    assert ended(sys.executable, *words, written, env=environment).returncode == 0
    with ExitStack() as opened:

        def start(name: str, *options: str) -> Daemon:
            words, log = [program(name), *options], folder / f"{name}.log"
            server = Daemon(name, words, log, {"GOMAXPROCS": "1"})
            opened.callback(server.stop)
            return server

        monitor = opened.enter_context(MetricsServer(("127.0.0.1", 0)))
        monitor.show(CATALOG, SECONDS)
        node_port, port = free_port(), free_port()
        start(
            *("prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{node_port}"),
            *("--collector.disable-defaults", "--collector.textfile"),
            f"--collector.textfile.directory={written.parent}",
        )
        configuration = folder / "prometheus.yml"
        configuration.write_text(configuration_of(monitor.port, node_port))
        promtool("check", "config", configuration)
        server = start(
            *("prometheus", f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"),
            *(f"--config.file={configuration}", f"--storage.tsdb.path={folder / 'data'}"),
        )
        metrics = [*metrics_of(CATALOG, SECONDS), *metrics_of_node(state)]
        started = Prometheus(port, metrics)
        wait_until(
            lambda: server.check() and started.has_read_both(), DEADLINE_SECONDS, "readings of both"
        )
        yield started


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def configuration_of(monitor_port: int, node_port: int) -> str:
    return f"""
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{ALERTS}"]
scrape_configs:
  - {{job_name: monitor, static_configs: [{{targets: ["127.0.0.1:{monitor_port}"]}}]}}
  - {{job_name: node, static_configs: [{{targets: ["127.0.0.1:{node_port}"]}}]}}
"""


def test_alerts_are_told_when_they_should_be() -> None:
    assert "SUCCESS" in promtool("test", "rules", TESTS_OF_ALERTS)
    alerts = set(re.findall(r"(?m)^ +- alert: (\w+)$", ALERTS.read_text()))
    told = re.findall(
        r"alertname: (\w+)\n +exp_alerts:\n +- exp_labels:", TESTS_OF_ALERTS.read_text()
    )
    assert alerts == {*told}


def test_every_metric_is_read_and_named_as_prometheus_wants(prometheus: Prometheus) -> None:
    promtool("check", "metrics", input=text_of(prometheus.metrics).decode())
    told = {metric.name: len(metric.samples) for metric in prometheus.metrics}
    assert {name: len(prometheus.query(name)) for name in told} == told
    busy = prometheus.query('spank_qrmi_qpu_state{qpu="sherbrooke"} == 1')
    assert [labels["state"] for labels, _ in busy] == ["busy"]
    failed = prometheus.query('spank_qrmi_node_holds{state="release failed"} > 0')
    assert [(labels["endpoint"], value) for labels, value in failed] == [("site", 1)]
    assert [value for _, value in prometheus.query("node_textfile_scrape_error")] == [0]


def test_alerts_see_what_was_read(prometheus: Prometheus) -> None:
    """Rules are looked at once a second: the last time may have been before all was read."""

    def rules() -> dict[str, tuple[str, bool]]:
        [group] = prometheus.get("rules")["groups"]
        return {
            each["name"]: (each["health"], each["state"] != "inactive") for each in group["rules"]
        }

    told = dict.fromkeys(("QpuAway", "QpuMonitorSilent", "QpuReleasesFail"), ("ok", True))
    silent = dict.fromkeys(("QpuSessionOlderThanJob", "QpuNodeMetricsOld"), ("ok", False))
    wait_until(rules, DEADLINE_SECONDS, "alerts", accept=lambda seen: seen == told | silent)


def test_every_query_of_the_dashboard_is_answered(prometheus: Prometheus) -> None:
    """Some say what has changed, and need two readings."""

    def unanswered() -> list[str]:
        return [each for each in EXPRESSIONS if not prometheus.query(each.replace("$qpu", ".+"))]

    # These say that there is something of which there is nothing here.
    of_nothing = ("unreadable_entries > 0", 'step="gone"', "oldest_token")
    empty = [each for each in EXPRESSIONS if any(word in each for word in of_nothing)]
    assert len(empty) == len(of_nothing)
    wait_until(unanswered, DEADLINE_SECONDS, "answers", accept=lambda left: left == empty)


def test_metrics_that_are_asked_for_are_told_and_the_document_has_each(tmp_path: Path) -> None:
    told = {each.name for each in [*metrics_of(CATALOG, SECONDS), *metrics_of_node(tmp_path)]}
    assert {*OUR_METRIC.findall("\n".join([ALERTS.read_text(), *EXPRESSIONS]))} <= told
    document = (REPOSITORY / "docs" / "administration.md").read_text()
    _, _, section = document.partition("\n## Metrics\n")
    assert {*OUR_METRIC.findall(section.partition("\n## ")[0])} == told
