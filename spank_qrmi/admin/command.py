# SPDX-License-Identifier: GPL-3.0-or-later
"""`spank-qrmi`, the administrator's command."""

import argparse
import contextlib
import importlib.util
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import orjson

from spank_qrmi import __version__
from spank_qrmi.admin import inventory
from spank_qrmi.admin.installation import Places, install_plugins, uninstall_plugins
from spank_qrmi.admin.node_metrics import metrics_of_node
from spank_qrmi.admin.removal import obstacles
from spank_qrmi.answer import logging_to
from spank_qrmi.configuration.common_plugstack import (
    STATE_DIRECTORY,
    WORKER_USER,
    CommonArguments,
    Parse,
    parse_seconds,
)
from spank_qrmi.configuration.qrmi_plugstack import find_arguments
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import JournalError, QrmiError
from spank_qrmi.job.releaser import Releaser
from spank_qrmi.job.step import open_network
from spank_qrmi.monitor.exposition import text_of
from spank_qrmi.network.worker_side import Network
from spank_qrmi.redaction import Redactor, printable
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi.state.orphans import in_fair_order, is_being_acquired, is_due, select_orphans
from spank_qrmi.trust import privileges
from spank_qrmi.trust.public_files import write_public_file
from spank_qrmi.trust.running_code import refuse_untrusted_code
from spank_qrmi.worker import server as worker_server
from spank_qrmi.worker.process import WORKER_LIMITS, fork_network_process

_SIMULATOR = "spank_qrmi_simulator"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; return 0, or 1 with one line on stderr if it failed."""
    options = _parser().parse_args(arguments)
    options.redactor = Redactor()

    def show(level: int, line: str) -> None:
        if level >= logging.WARNING:
            sys.stderr.write(f"spank-qrmi: {options.redactor.clear(line)}\n")

    try:
        with logging_to(show):
            return options.run(options) or 0
    except QrmiError as error:
        show(logging.ERROR, str(error))
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spank-qrmi", description="Administer the QPU plugins of this node."
    )
    parser.add_argument("-V", "--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    install = commands.add_parser("install", help="put the plugins where Slurm finds them")
    usual = Places()
    install.add_argument("--plugindir", type=_absolute, default=usual.plugins)
    install.add_argument("--sysconfdir", type=_absolute, default=usual.configuration)
    install.add_argument("--prefix", type=_absolute, default=usual.prefix)
    install.set_defaults(run=_install)
    uninstall = commands.add_parser("uninstall", help="take away what install has written")
    uninstall.add_argument(
        "--check", action="store_true", help="remove nothing, but say what stands in the way"
    )
    uninstall.set_defaults(run=_uninstall)
    for either in (install, uninstall):
        either.add_argument(
            "--root", type=_absolute, default=Path("/"), help="work below this folder instead"
        )
    _add_journal_commands(commands)
    serve = commands.add_parser("worker-server", help="have workers ready for plugins")
    serve.add_argument(
        "--socket",
        type=_absolute,
        metavar="PATH",
        help="serve this socket; without it the one that systemd passes on",
    )
    serve.set_defaults(run=_become_worker_server)
    # Its arguments are the simulator's: no character makes an option of one of them.
    simulate = commands.add_parser(
        "simulate",
        help="serve a simulated QPU site over HTTP; --help says how",
        add_help=False,
        prefix_chars="\0",
    )
    simulate.add_argument("arguments", nargs="*")
    simulate.set_defaults(run=_become_simulator)
    return parser


def _add_journal_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    status = commands.add_parser("status", help="show what jobs of this node hold")
    status.add_argument("--json", action="store_true", help="for programs")
    status.set_defaults(run=_status, worker_user=None)
    metrics = commands.add_parser("metrics", help="tell Prometheus what jobs of this node hold")
    metrics.add_argument(
        "file",
        type=_absolute,
        nargs="?",
        metavar="FILE",
        help="for node_exporter's textfile collector, whose folder it is in; without it, printed",
    )
    metrics.set_defaults(run=_metrics, worker_user=None)
    release = commands.add_parser("release", help="give back what jobs of this node hold")
    which = release.add_mutually_exclusive_group(required=True)
    which.add_argument("--orphaned", action="store_true", help="what no living step holds")
    which.add_argument("--job", type=int, metavar="ID", help="what one job holds")
    which.add_argument("--all", action="store_true", help="everything, running jobs' QPUs too")
    release.add_argument(
        "--due", action="store_true", help="of these, not what has failed lately, as the timer does"
    )
    release.add_argument("--timeout", type=_reader(parse_seconds), default=20, metavar="SECONDS")
    release.add_argument(
        WORKER_USER.name,
        type=_reader(WORKER_USER.parse),
        metavar="USER",
    )
    release.set_defaults(run=_release)
    for each in (status, metrics, release):
        each.add_argument(STATE_DIRECTORY.name, type=_absolute, metavar="DIR")
        each.add_argument(
            "--plugstack",
            type=_absolute,
            metavar="FILE",
            help="whose line of spank_qrmi.so says the rest, if not that of slurm.conf",
        )


def _reader(parse: Parse) -> Callable[[str], object]:
    """Return what reads an option as plugstack.conf's arguments are read."""

    def read(text: str) -> object:
        try:
            return parse("it", text)
        except QrmiError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def _absolute(text: str) -> Path:
    return Path(text).absolute()


def _install(options: argparse.Namespace) -> None:
    # Below another root, a packager's folders are not the node's.
    if options.root == Path("/"):
        refuse_untrusted_code()
    places = Places(options.plugindir, options.sysconfdir, options.prefix)
    for path in install_plugins(places, options.root):
        sys.stdout.write(f"installed {path}\n")


def _uninstall(options: argparse.Namespace) -> int:
    found = obstacles(options.root)
    for line in found:
        sys.stderr.write(f"spank-qrmi: {printable(line)}\n")
    if found or options.check:
        return int(bool(found))
    for path in uninstall_plugins(options.root):
        sys.stdout.write(f"removed {path}\n")
    return 0


def _become_worker_server(options: argparse.Namespace) -> NoReturn:
    # Its workers are to have nothing of this command's.
    command = [sys.executable, "-I", "-m", "spank_qrmi.worker.server"]
    if options.socket is not None:
        command.append(str(options.socket))
    os.execve(command[0], command, worker_server.environment_for_server())  # noqa: S606 (it has no shell to be misled by)


def _become_simulator(options: argparse.Namespace) -> NoReturn:
    if importlib.util.find_spec(_SIMULATOR) is None:
        raise QrmiError(
            "the simulated site is a package of its own: install the file "
            f"{_SIMULATOR}-{__version__}-py3-none-any.whl of this release beside spank-qrmi"
        )
    command = [sys.executable, "-I", "-m", _SIMULATOR, *options.arguments]
    os.execv(command[0], command)  # noqa: S606 (it has no shell to be misled by)


def _status(options: argparse.Namespace) -> None:
    journal = _journal(options)
    privileges.limit(WORKER_LIMITS)
    if options.json:
        sys.stdout.write(orjson.dumps(inventory.document_of(journal)).decode() + "\n")
        return
    for line in inventory.lines_of(journal):
        sys.stdout.write(f"{line}\n")


def _metrics(options: argparse.Namespace) -> None:
    _journal(options)
    privileges.limit(WORKER_LIMITS)
    text = text_of(metrics_of_node(options.node.state_directory))
    if options.file is None:
        sys.stdout.write(text.decode())
    else:
        write_public_file(options.file, text)


def _release(options: argparse.Namespace) -> int:
    """Print one line for each entry; return 1 if one of them could not be released."""
    journal = _journal(options)
    refuse_untrusted_code()
    with contextlib.closing(fork_network_process()) as network:
        return _release_with(network, journal, options)


def _release_with(network: Network, journal: Journal, options: argparse.Namespace) -> int:
    now = time.time()
    entries, unreadable = _split(journal.entries(options.job))
    if options.orphaned:
        entries = select_orphans(entries, now)
    if options.due:
        entries = [entry for entry in entries if is_due(entry, now)]
    wanted = in_fair_order(entry for entry in entries if not is_being_acquired(entry))
    deadline = Deadline(options.timeout)
    for entry in wanted:
        options.redactor.add(entry.secrets())
    open_network(network, wanted, options.node, options.redactor, deadline)
    # Half of the time is left for what waits behind those that hang.
    releaser = Releaser(journal, deadline, network, entry_seconds=options.timeout / 2)
    outcomes = releaser.release_all(wanted)
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
