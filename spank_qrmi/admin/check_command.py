# SPDX-License-Identifier: GPL-3.0-or-later
"""`spank-qrmi check`: its findings as lines for people or for programs."""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterable, Iterator

import orjson

from spank_qrmi.check.all_checks import OF_FILES, OF_NODE, Runner
from spank_qrmi.check.finding import Finding, Verdict
from spank_qrmi.check.node import Node
from spank_qrmi.check.qpus import QpuChecks
from spank_qrmi.errors import QrmiError
from spank_qrmi.network.worker_side import Network
from spank_qrmi.redaction import Redactor, is_secret_name
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi.trust import privileges
from spank_qrmi.worker.process import WORKER_LIMITS, fork_network_process

Found = tuple[str, Finding]
"""A check's name and what it found."""


def run(options: argparse.Namespace) -> int:
    """Print what is found; return the exit status, that of the worst finding."""
    if os.geteuid() != 0:
        # Not 1, which would say that something was looked at and is doubtful.
        sys.stderr.write("spank-qrmi: only root sees what jobs will meet: run it as root\n")
        return int(Verdict.WRONG)
    node = Node(options.names, plugstack=options.plugstack, config=options.config)
    found = list(_findings(node, options))
    clear = options.redactor.clear
    cleared = [
        (check, Finding(each.verdict, clear(each.text), clear(each.remedy)))
        for check, each in found
    ]
    write = _write_document if options.json else _write_lines
    worst = max((each.verdict for _, each in cleared), default=Verdict.RIGHT)
    write(cleared, worst)
    return int(worst)


def _findings(node: Node, options: argparse.Namespace) -> Iterator[Found]:
    runner = Runner()
    yield from runner.run(OF_NODE, node)
    if options.offline:
        privileges.limit(WORKER_LIMITS)
        yield from _findings_of_files(runner, node, options.redactor)
        return
    with contextlib.closing(fork_network_process()) as network:
        yield from _findings_of_files(runner, node, options.redactor)
        yield from _findings_of_qpus(runner, node, options, network)


def _findings_of_files(runner: Runner, node: Node, redactor: Redactor) -> Iterator[Found]:
    _hide_secrets(node, redactor)
    yield from runner.run(OF_FILES, node)


def _hide_secrets(node: Node, redactor: Redactor) -> None:
    """Hide all secrets that findings could come by; what cannot be read is told by its check."""
    for arguments in _arguments_of_lines(node):
        redactor.add(
            value
            for word in arguments
            for name, sign, value in [word.partition("=")]
            if sign and is_secret_name(name)
        )
    with contextlib.suppress(QrmiError):
        redactor.add_variables(node.arguments.node_variables.items())
    with contextlib.suppress(QrmiError):
        redactor.add(node.config.secrets() if node.config else ())
    with contextlib.suppress(QrmiError):
        for entry in Journal(node.arguments.state_directory).entries():
            if isinstance(entry, Entry):
                redactor.add(entry.secrets())


def _arguments_of_lines(node: Node) -> list[tuple[str, ...]]:
    """Return the arguments of all lines, none if they cannot be read."""
    try:
        return [line.arguments for line in node.lines]
    except QrmiError:
        return []


def _findings_of_qpus(
    runner: Runner, node: Node, options: argparse.Namespace, network: Network
) -> Iterator[Found]:
    checks = QpuChecks(node, network, options.redactor, options.timeout)
    try:
        yield from checks.look(acquires=options.acquire)
    except QrmiError as error:
        for finding in runner.in_the_way(error):
            yield "QPU", finding


def _write_lines(found: Iterable[Found], _: Verdict) -> None:
    for check, finding in found:
        sys.stdout.write(f"{finding.verdict.name.lower():<8}  {check}: {finding.text}\n")
        if finding.remedy:
            sys.stdout.write(f"{'':<8}  {'do':>{len(check)}}: {finding.remedy}\n")


def _write_document(found: Iterable[Found], worst: Verdict) -> None:
    findings = [
        {
            "check": check,
            "verdict": finding.verdict.name.lower(),
            "text": finding.text,
            "remedy": finding.remedy,
        }
        for check, finding in found
    ]
    document = {"verdict": worst.name.lower(), "findings": findings}
    sys.stdout.write(orjson.dumps(document).decode() + "\n")
