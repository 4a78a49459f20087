# SPDX-License-Identifier: GPL-3.0-or-later
"""`spank-qrmi`, the administrator's command."""

import argparse
import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from spank_qrmi import __version__
from spank_qrmi.admin import qpus, usage
from spank_qrmi.admin.installation import (
    Places,
    count_files,
    install_plugins,
    uninstall_plugins,
)
from spank_qrmi.answer import logging_to
from spank_qrmi.configuration.common_plugstack import (
    STATE_DIRECTORY,
    WORKER_USER,
    Parse,
    parse_seconds,
)
from spank_qrmi.configuration.qrmi_plugstack import CATALOG
from spank_qrmi.errors import QrmiError
from spank_qrmi.redaction import Redactor, printable
from spank_qrmi.trust.running_code import refuse_untrusted_code

_SIMULATOR = "spank_qrmi_simulator"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; return 0, or 1 with one line on stderr if it failed."""
    options = _parser().parse_args(arguments)
    options.redactor = Redactor()

    def show(level: int, line: str) -> None:
        if level >= options.level:
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
    parser.set_defaults(level=logging.WARNING)
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
        either.add_argument("--verbose", action="store_true", help="list all files")
    _add_check_command(commands)
    _add_journal_commands(commands)
    _add_qpus_command(commands)
    _add_monitor_command(commands)
    usage.add_command(commands)
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


def _add_check_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    check = commands.add_parser("check", help="look whether QPU jobs will work on this node")
    check.add_argument("names", nargs="*", metavar="NAME", help="these QPUs alone")
    how = check.add_mutually_exclusive_group()
    how.add_argument("--offline", action="store_true", help="ask no service")
    how.add_argument(
        "--acquire", action="store_true", help="acquire each QPU too, and release it, timed"
    )
    check.add_argument("--json", action="store_true", help="for programs")
    check.add_argument("--plugstack", type=_absolute, metavar="FILE", help="another plugstack.conf")
    check.add_argument("--config", type=_absolute, metavar="FILE", help="another qrmi_config.json")
    check.add_argument(
        "--timeout",
        type=_reader(parse_seconds),
        default=30,
        metavar="SECONDS",
        help="for the services to answer",
    )
    check.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    from spank_qrmi.admin import check_command  # noqa: PLC0415 (as in _uninstall)

    return check_command.run(options)


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
    tokens = commands.add_parser("tokens", help="show the access tokens that jobs here share")
    dropped = tokens.add_mutually_exclusive_group()
    dropped.add_argument("--drop", metavar="NAME", help="forget the token of this QPU's login")
    dropped.add_argument("--all", action="store_true", help="forget all tokens")
    tokens.set_defaults(run=_tokens, worker_user=None)
    for each in (status, metrics, release, tokens):
        each.add_argument(STATE_DIRECTORY.name, type=_absolute, metavar="DIR")
        each.add_argument(
            "--plugstack",
            type=_absolute,
            metavar="FILE",
            help="whose line of spank_qrmi.so says the rest, if not that of slurm.conf",
        )


def _add_qpus_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("qpus", help="show which QPUs jobs can ask for, and their state")
    parser.add_argument("names", nargs="*", metavar="NAME", help="these alone")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--watch", action="store_true", help="again and again, until it is ended")
    parser.add_argument(
        CATALOG.name,
        type=_absolute,
        metavar="DIR|FILE",
        help="another catalog than that of plugstack.conf",
    )
    parser.set_defaults(run=qpus.run)


def _add_monitor_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    monitor = commands.add_parser(
        "monitor", help="watch the QPUs, and let jobs wait in the queue for those that are away"
    )
    what = monitor.add_mutually_exclusive_group()
    what.add_argument("--once", action="store_true", help="one round, then end")
    what.add_argument("--release-all", action="store_true", help="give back all licences, then end")
    what.add_argument(
        "--print-licenses", action="store_true", help="print what slurm.conf needs, then end"
    )
    for name, usual, text in (
        ("--interval", 30, "from round to round"),
        ("--grace", 90, "after so long without a word a QPU is away"),
    ):
        monitor.add_argument(
            name, type=_reader(parse_seconds), default=usual, metavar="SECONDS", help=text
        )
    monitor.add_argument(
        "--licenses", choices=("reservations", "dbd", "none"), default="reservations"
    )
    monitor.add_argument("--publish", type=_absolute, metavar="DIR", help="write the catalog there")
    monitor.add_argument(
        "--metrics", type=_absolute, metavar="FILE", help="for node_exporter's textfile collector"
    )
    monitor.add_argument(
        "--metrics-listen", type=_read_listen_address, metavar="ADDRESS:PORT", help="on loopback"
    )
    monitor.add_argument(
        "--config", type=_absolute, metavar="FILE", help="another qrmi_config.json"
    )
    monitor.add_argument(
        "--plugstack", type=_absolute, metavar="FILE", help="another plugstack.conf"
    )
    monitor.add_argument(
        "--slurm-bin", type=_absolute, metavar="DIR", help="where scontrol and sacctmgr are"
    )
    monitor.set_defaults(run=_monitor, level=logging.INFO)


def _reader(parse: Parse) -> Callable[[str], object]:
    """Return what reads an option as plugstack.conf's arguments are read."""

    def read(text: str) -> object:
        try:
            return parse("it", text)
        except QrmiError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def _read_listen_address(text: str) -> object:
    from spank_qrmi.monitor.metrics_server import parse_listen_address  # noqa: PLC0415 (as in _uninstall)

    return _reader(parse_listen_address)(text)


def _absolute(text: str) -> Path:
    return Path(text).absolute()


def _install(options: argparse.Namespace) -> None:
    # Below another root, a packager's folders are not the node's.
    if options.root == Path("/"):
        refuse_untrusted_code()
    places = Places(options.plugindir, options.sysconfdir, options.prefix)
    _tell("installed", install_plugins(places, options.root), options)


def _uninstall(options: argparse.Namespace) -> int:
    # What asks services is imported for those who do: it takes longer than all of `qpus`.
    from spank_qrmi.admin.removal import obstacles  # noqa: PLC0415 (as that says)

    found = obstacles(options.root)
    for line in found:
        sys.stderr.write(f"spank-qrmi: {printable(line)}\n")
    if found or options.check:
        return int(bool(found))
    _tell("removed", uninstall_plugins(options.root), options)
    return 0


def _tell(done: str, paths: Sequence[Path], options: argparse.Namespace) -> None:
    """Print what was done with these paths: each on request, otherwise how many files where."""
    if options.verbose:
        sys.stdout.writelines(f"{done} {path}\n" for path in paths)
    elif paths:
        count, places = count_files(paths, options.root)
        word = "file" if count == 1 else "files"
        where = ", ".join(map(str, places))
        sys.stdout.write(f"{done} {count} {word} below {where}\n")


def _become_worker_server(options: argparse.Namespace) -> NoReturn:
    from spank_qrmi.worker import server as worker_server  # noqa: PLC0415 (as in _uninstall)

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
    from spank_qrmi.admin import held  # noqa: PLC0415 (as in _uninstall)

    held.show(options)


def _metrics(options: argparse.Namespace) -> None:
    from spank_qrmi.admin import held  # noqa: PLC0415 (as in _uninstall)

    held.tell_metrics(options)


def _tokens(options: argparse.Namespace) -> None:
    from spank_qrmi.admin import held  # noqa: PLC0415 (as in _uninstall)

    held.tell_tokens(options)


def _release(options: argparse.Namespace) -> int:
    from spank_qrmi.admin import held  # noqa: PLC0415 (as in _uninstall)

    return held.release(options)


def _monitor(options: argparse.Namespace) -> int:
    from spank_qrmi.monitor import command as monitor  # noqa: PLC0415 (as in _uninstall)

    return monitor.run(options)
