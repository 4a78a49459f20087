# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics, alerts and dashboard as a real Prometheus has them, and as promtool checks them."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from loopback.waiting import wait_until
from spank_qrmi.admin.node_metrics import metrics_of_node
from spank_qrmi.monitor.metrics import metrics_of, write_metrics
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


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def running(log: Path, *command: str) -> Iterator[None]:
    """Run a server meanwhile; its log is shown if that fails."""
    streams: Any = {"stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, env={"GOMAXPROCS": "1"}, **streams) as server,
    ):
        try:
            yield
        except BaseException:
            sys.stderr.write(log.read_text())
            raise
        finally:
            server.kill()


class Prometheus:
    """One that has read the monitor of a site, and the file of a node."""

    def __init__(self, port: int, state_directory: Path) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1"
        self.state_directory = state_directory

    def get(self, path: str, **parameters: str) -> Any:
        answer = httpx.get(f"{self._url}/{path}", params=parameters, trust_env=False).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Return labels and number of each result."""
        result = self.get("query", query=expression)["result"]
        return [(each["metric"], float(each["value"][1])) for each in result]

    def has_read_all(self) -> bool:
        """Return whether both have been read, and the alerts looked at."""
        try:
            [group] = self.get("rules")["groups"]
            is_read = len(self.query("up == 1")) == 2
        except (httpx.TransportError, ValueError, AssertionError):
            # It does not listen yet, or says that it is not ready.
            return False
        return is_read and all(each["health"] == "ok" for each in group["rules"])


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    textfiles = folder / "textfiles"
    textfiles.mkdir()
    state = folder / "state"
    fill_state(state)
    subprocess.run(
        [
            *(sys.executable, "-m", "spank_qrmi", "metrics", f"--state-dir={state}"),
            str(textfiles / "spank-qrmi.prom"),
        ],
        env=os.environ | {"SLURM_CONF": os.devnull},
        check=True,
    )
    node_port, port = free_port(), free_port()
    with ExitStack() as opened:
        monitor = opened.enter_context(MetricsServer(("127.0.0.1", 0)))
        monitor.show(CATALOG, SECONDS)
        opened.enter_context(
            running(
                folder / "node_exporter.log",
                *(program("prometheus-node-exporter"), "--collector.disable-defaults"),
                *("--collector.textfile", f"--collector.textfile.directory={textfiles}"),
                f"--web.listen-address=127.0.0.1:{node_port}",
            )
        )
        configuration = folder / "prometheus.yml"
        configuration.write_text(configuration_of(monitor.port, node_port))
        promtool("check", "config", configuration)
        opened.enter_context(
            running(
                folder / "prometheus.log",
                *(program("prometheus"), f"--config.file={configuration}"),
                *(f"--storage.tsdb.path={folder / 'data'}", "--log.level=warn"),
                f"--web.listen-address=127.0.0.1:{port}",
            )
        )
        started = Prometheus(port, state)
        wait_until(started.has_read_all, DEADLINE_SECONDS, "Prometheus that has read all")
        yield started


def fill_state(state: Path) -> None:
    """Let a node hold what could not be released, and count one event of each kind."""
    entry = Entry(7, 0, 0, 0, "a", "qiskit-runtime-service", {}, token="token", acquired_at=1)
    with Journal(state).begin(entry.with_failure("down", 2)):
        pass
    for event in Event:
        count(state, event)


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


def test_every_alert_is_tested() -> None:
    alerts = set(re.findall(r"(?m)^ +- alert: (\w+)$", ALERTS.read_text()))
    told = re.findall(
        r"alertname: (\w+)\n +exp_alerts:\n +- exp_labels:", TESTS_OF_ALERTS.read_text()
    )
    assert alerts == {*told}


def test_metrics_are_named_as_prometheus_wants(tmp_path: Path) -> None:
    of_monitor = tmp_path / "monitor.prom"
    write_metrics(CATALOG, SECONDS, of_monitor)
    promtool("check", "metrics", input=of_monitor.read_text())


def test_every_metric_is_read(prometheus: Prometheus) -> None:
    told = [*metrics_of(CATALOG, SECONDS), *metrics_of_node(prometheus.state_directory)]
    read = {
        metric.name: len(prometheus.query(metric.name)) == len(metric.samples) for metric in told
    }
    assert [name for name, is_read in read.items() if not is_read] == []
    busy = prometheus.query('spank_qrmi_qpu_state{qpu="sherbrooke"} == 1')
    assert [labels["state"] for labels, _ in busy] == ["busy"]
    failed = prometheus.query('spank_qrmi_node_holds{state="release failed"} > 0')
    assert [(labels["endpoint"], value) for labels, value in failed] == [("site", 1)]
    assert [value for _, value in prometheus.query("node_textfile_scrape_error")] == [0]


def test_alerts_see_what_was_read(prometheus: Prometheus) -> None:
    """Rules are looked at once a second: the last time may have been before all was read."""
    wait_until(
        lambda: {each["labels"]["alertname"] for each in prometheus.get("alerts")["alerts"]},
        DEADLINE_SECONDS,
        "alerts",
        accept=lambda names: names == {"QpuAway", "QpuMonitorSilent", "QpuReleasesFail"},
    )


# These say what has changed meanwhile, or that there is something of which there is nothing here.
EMPTY_HERE = ("increase(", "unreadable_entries > 0", 'step="gone"', "oldest_token")


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_query_of_the_dashboard_is_answered(prometheus: Prometheus, expression: str) -> None:
    found = prometheus.query(expression.replace("$qpu", ".*"))
    assert found or any(word in expression for word in EMPTY_HERE)


def test_metrics_that_are_asked_for_are_told(tmp_path: Path) -> None:
    told = {each.name for each in [*metrics_of(CATALOG, SECONDS), *metrics_of_node(tmp_path)]}
    asked = {*OUR_METRIC.findall("\n".join([ALERTS.read_text(), *EXPRESSIONS]))}
    assert asked - told == set()


def test_document_has_every_metric(tmp_path: Path) -> None:
    told = {each.name for each in [*metrics_of(CATALOG, SECONDS), *metrics_of_node(tmp_path)]}
    document = (REPOSITORY / "docs" / "administration.md").read_text()
    _, _, section = document.partition("\n## Metrics\n")
    assert {*OUR_METRIC.findall(section.partition("\n## ")[0])} == told
