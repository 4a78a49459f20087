# SPDX-License-Identifier: GPL-3.0-or-later
"""`spank-qrmi monitor`: what its options have done, as root."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from spank_qrmi.catalog.files import publish
from spank_qrmi.configuration.qrmi_plugstack import PluginArguments, find_arguments
from spank_qrmi.configuration.slurm_files import find_slurm_conf, read_slurm_conf
from spank_qrmi.errors import MonitorError
from spank_qrmi.monitor.dynamic_licenses import SERVER, DynamicLicenses
from spank_qrmi.monitor.exposition import check_library
from spank_qrmi.monitor.license_keeper import LicenseKeeper, ambiguity_text, ambiguous_licenses
from spank_qrmi.monitor.licenses import WayToWithhold
from spank_qrmi.monitor.memory import locked_memory
from spank_qrmi.monitor.metrics import write_metrics
from spank_qrmi.monitor.metrics_server import MetricsServer
from spank_qrmi.monitor.observations import Observation
from spank_qrmi.monitor.reservations import Reservations
from spank_qrmi.monitor.round_process import ask_in_process
from spank_qrmi.monitor.service import Monitor, RoundReport, Teller, until_told_to_end
from spank_qrmi.trust.running_code import refuse_untrusted_code
from spank_qrmi.trust.slurm_commands import SlurmCommands

WAYS: dict[str, Callable[[SlurmCommands], WayToWithhold] | None] = {
    "reservations": Reservations,
    "dbd": DynamicLicenses,
    "none": None,
}
"""Each value of `--licenses`."""

log = logging.getLogger(__name__)

_CLUSTER = "clustername"


def run(options: argparse.Namespace) -> int:
    """Do what the options say; return 0, or 1 if `--once` could not do all.

    Raises QrmiError if it cannot begin.
    """
    if os.geteuid() != 0:
        raise MonitorError("only root may watch QPUs and withhold licences: run it as root")
    refuse_untrusted_code()
    commands = SlurmCommands(options.slurm_bin)
    arguments = _arguments(options)
    if options.print_licenses:
        return _print_licenses(arguments, options.licenses)
    make_way = WAYS[options.licenses]
    way = None if make_way is None else make_way(commands)
    with ExitStack() as opened:
        memory = opened.enter_context(locked_memory(arguments.state_directory))
        if options.release_all:
            return _release_all(way)
        monitor = Monitor(
            partial(ask_in_process, arguments),
            memory,
            None if way is None else LicenseKeeper(way, options.grace),
            _tellers(options, opened),
            interval_seconds=options.interval,
            grace_seconds=options.grace,
        )
        log.info("asks with the site's credentials, those of %s", arguments.config_path)
        return until_told_to_end(
            (lambda: int(not monitor.do_round())) if options.once else monitor.run
        )


def _arguments(options: argparse.Namespace) -> PluginArguments:
    """Return what plugstack.conf says of the plugin, with the configuration that was named."""
    found = find_arguments(options.plugstack)
    if options.config is not None:
        return PluginArguments(**{**vars(found), "config_path": str(options.config)})
    if not isinstance(found, PluginArguments):
        raise MonitorError(
            "plugstack.conf has no line of spank_qrmi.so, which says where qrmi_config.json is: "
            "name that by --config=FILE"
        )
    return found


def _tellers(options: argparse.Namespace, opened: ExitStack) -> Iterable[Teller]:
    """Yield those who are told of each round; raise QrmiError if one cannot be."""
    if options.publish is not None:
        yield partial(_publish, options.publish)
    if options.metrics is not None:
        check_library()
        yield lambda told: write_metrics(told.catalog, told.seconds, options.metrics)
    if options.metrics_listen is not None:
        server = opened.enter_context(MetricsServer(options.metrics_listen))
        yield lambda told: server.show(told.catalog, told.seconds)


def _publish(directory: Path, report: RoundReport) -> None:
    # What could not be asked anew grows old, and its readers see that.
    if not report.failure:
        publish(report.catalog, directory)


def _release_all(way: WayToWithhold | None) -> int:
    """Give back all that is withheld; print a line for each licence."""
    if way is None:
        raise MonitorError("--release-all needs to know which way licences are withheld")
    for name in way.release_all():
        sys.stdout.write(f"released {name}\n")
    return 0


def _print_licenses(arguments: PluginArguments, way: str) -> int:
    """Print what makes slurmctld know the licences: as many as slots are told, else one."""
    seen = ask_in_process(arguments)
    if seen.failure:
        raise MonitorError(seen.failure)
    ambiguous = ambiguous_licenses(seen.observations)
    if ambiguous:
        raise MonitorError("; ".join(ambiguity_text(*each) for each in ambiguous.items()))
    for line in _lines_of(seen.observations, way):
        sys.stdout.write(f"{line}\n")
    return 0


def _lines_of(seen: Iterable[Observation], way: str) -> list[str]:
    counts = {each.license_name: each.status.total_slots or 1 for each in seen}
    if not counts:
        raise MonitorError("the configuration has no usable QPU")
    if way != "dbd":
        lines = [f"Licenses={','.join(f'{name}:{count}' for name, count in counts.items())}"]
        return ["# slurm.conf; one line has all licences, others that there are too", *lines]
    slurm_conf = find_slurm_conf()
    cluster = read_slurm_conf(slurm_conf).get(_CLUSTER, "") if slurm_conf else ""
    return [
        f"sacctmgr add resource name={name} server={SERVER} type=license count={count} "
        f"cluster={cluster or 'NAME'} allowed=100"
        for name, count in counts.items()
    ]
