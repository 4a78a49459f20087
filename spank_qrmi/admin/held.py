# SPDX-License-Identifier: GPL-3.0-or-later
"""`spank-qrmi status`, `metrics`, `tokens` and `release`: what the jobs of this node hold."""

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import replace

import orjson

from spank_qrmi.admin import inventory
from spank_qrmi.admin.node_metrics import metrics_of_node
from spank_qrmi.admin.node_tokens import NodeTokens
from spank_qrmi.configuration.common_plugstack import CommonArguments
from spank_qrmi.configuration.qrmi_plugstack import find_arguments
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import JournalError, QrmiError
from spank_qrmi.job.accounts import accounting_of
from spank_qrmi.job.admin_comment import comment_late
from spank_qrmi.job.releaser import Releaser
from spank_qrmi.job.step import open_network
from spank_qrmi.monitor.exposition import text_of
from spank_qrmi.network.worker_side import Network
from spank_qrmi.redaction import printable
from spank_qrmi.state.accounting import EndedBy
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi.state.orphans import in_fair_order, is_being_acquired, is_due, select_orphans
from spank_qrmi.trust import privileges
from spank_qrmi.trust.public_files import write_public_file
from spank_qrmi.trust.running_code import refuse_untrusted_code
from spank_qrmi.worker.process import WORKER_LIMITS, fork_network_process


def show(options: argparse.Namespace) -> None:
    """Print what the journal holds; raise JournalError for anybody but root."""
    journal = _journal(options)
    privileges.limit(WORKER_LIMITS)
    if options.json:
        sys.stdout.write(orjson.dumps(inventory.document_of(journal)).decode() + "\n")
        return
    for line in inventory.lines_of(journal):
        sys.stdout.write(f"{line}\n")


def tell_metrics(options: argparse.Namespace) -> None:
    """Print metrics of what the node holds, or write their file; raise JournalError as above."""
    _journal(options)
    privileges.limit(WORKER_LIMITS)
    text = text_of(metrics_of_node(options.node.state_directory))
    if options.file is None:
        sys.stdout.write(text.decode())
    else:
        write_public_file(options.file, text)


def tell_tokens(options: argparse.Namespace) -> None:
    """Print which access tokens jobs share, or what became of dropping some; raise as above."""
    _journal(options)
    tokens = NodeTokens(options.node, options.plugstack)
    if options.all:
        lines = [tokens.drop_all()]
    else:
        lines = tokens.lines() if options.drop is None else [tokens.drop(options.drop)]
    for line in lines:
        sys.stdout.write(f"{printable(line)}\n")


def release(options: argparse.Namespace) -> int:
    """Print one line for each entry; return 1 if one of them could not be released."""
    journal = _journal(options)
    refuse_untrusted_code()
    with contextlib.closing(fork_network_process()) as network:
        return _release_with(network, journal, options)


def _release_with(network: Network, journal: Journal, options: argparse.Namespace) -> int:
    now = time.time()
    entries, unreadable = _split(journal.entries(options.job))
    # What is over waits for its record alone.
    entries = [entry for entry in entries if not entry.is_over]
    if options.orphaned:
        entries = select_orphans(entries, now)
    if options.due:
        entries = [entry for entry in entries if is_due(entry, now)]
    wanted = in_fair_order(entry for entry in entries if not is_being_acquired(entry))
    deadline = Deadline(options.timeout)
    for entry in wanted:
        options.redactor.add(entry.secrets())
    held = [entry for entry in wanted if entry.is_held]
    open_network(network, held, options.node, options.redactor, deadline)
    accounting = accounting_of(options.node, EndedBy.TIMER if options.due else EndedBy.COMMAND)
    # Half of the time is left for what waits behind those that hang.
    seconds = options.timeout / 2
    releaser = Releaser(*(journal, deadline, network), entry_seconds=seconds, accounting=accounting)
    outcomes = releaser.release_all(wanted)
    accounting.write_late(journal, deadline)
    comment_late(accounting, journal, deadline)
    lines = [
        f"job {entry.job_id}: {entry.resource_name}: {_result(entry, error)}"
        for entry, error in zip(wanted, outcomes, strict=True)
    ]
    lines += [
        f"job {entry.job_id}: {entry.resource_name}: skipped: its step is still acquiring it"
        for entry in entries
        if is_being_acquired(entry)
    ]
    for line in [*lines, *unreadable]:
        sys.stdout.write(f"{options.redactor.clear(line)}\n")
    has_failed = bool(unreadable) or any(error is not None for error in outcomes)
    return int(has_failed)


def _split(found: Iterable[Entry | JournalError]) -> tuple[list[Entry], list[str]]:
    """Return the entries, and a line for each that cannot be read."""
    entries: list[Entry] = []
    unreadable: list[str] = []
    for each in found:
        if isinstance(each, Entry):
            entries.append(each)
        else:
            unreadable.append(f"failed: {each}")
    return entries, unreadable


def _result(entry: Entry, error: QrmiError | None) -> str:
    if error is not None:
        return f"failed: {error}"
    if entry.is_given_up(time.time()):
        return f"dropped: its endpoint is of user {entry.uid}, and its time is over"
    return "has ended by itself" if entry.token is None else "released"


def _journal(options: argparse.Namespace) -> Journal:
    if os.geteuid() != 0:
        raise JournalError("only root may see and release what jobs hold: run it as root")
    options.node = _arguments_of_node(options)
    return Journal(options.node.state_directory)


def _arguments_of_node(options: argparse.Namespace) -> CommonArguments:
    """Return what plugstack.conf says, and options say otherwise."""
    arguments = find_arguments(options.plugstack)
    return replace(
        arguments,
        state_directory=str(options.state_dir or arguments.state_directory),
        worker_user=options.worker_user or arguments.worker_user,
    )
