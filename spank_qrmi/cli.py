# SPDX-License-Identifier: GPL-3.0-or-later
"""`spank-qrmi`, the administrator's command."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from spank_qrmi import __version__
from spank_qrmi.errors import QrmiError
from spank_qrmi.installation import install_plugins, uninstall_plugins
from spank_qrmi.simulator import command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; return 0, or 1 with one line on stderr if it failed."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except QrmiError as error:
        sys.stderr.write(f"spank-qrmi: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spank-qrmi", description="Administer the QPU plugins of this node."
    )
    parser.add_argument("-V", "--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    install = commands.add_parser("install", help="put the plugins where Slurm finds them")
    install.add_argument("--plugindir", type=_absolute, default=Path("/usr/lib64/slurm"))
    install.add_argument("--sysconfdir", type=_absolute, default=Path("/etc/slurm"))
    install.set_defaults(run=_install)
    uninstall = commands.add_parser("uninstall", help="take away what install has written")
    uninstall.set_defaults(run=_uninstall)
    for either in (install, uninstall):
        either.add_argument(
            "--root", type=_absolute, default=Path("/"), help="work below this folder instead"
        )
    simulate = commands.add_parser("simulate", help="serve a simulated QPU site over HTTP")
    command.add_arguments(simulate)
    return parser


def _absolute(text: str) -> Path:
    return Path(text).absolute()


def _install(options: argparse.Namespace) -> None:
    for path in install_plugins(options.plugindir, options.sysconfdir, options.root):
        sys.stdout.write(f"installed {path}\n")


def _uninstall(options: argparse.Namespace) -> None:
    for path in uninstall_plugins(options.root):
        sys.stdout.write(f"removed {path}\n")
