# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of all checks of the node itself, in their order, and how they are run."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping

from spank_qrmi.check.finding import Finding, wrong
from spank_qrmi.check.node import Node
from spank_qrmi.check.plugins import check_plugins
from spank_qrmi.check.plugstack_lines import check_arguments, check_lines, check_plugstack
from spank_qrmi.check.resources import (
    check_config,
    check_licenses,
    check_munge,
    check_resources,
)
from spank_qrmi.check.services import check_units, check_worker_server
from spank_qrmi.check.slurm_settings import check_slurmd, check_time_outs
from spank_qrmi.check.state_folder import check_journal, check_state_folder, check_usage_log
from spank_qrmi.errors import QrmiError
from spank_qrmi.redaction import error_place

log = logging.getLogger(__name__)

Check = Callable[[Node], Iterable[Finding]]

OF_NODE: Mapping[str, Check] = {
    "plugstack.conf": check_plugstack,
    "lines": check_lines,
    "plugins": check_plugins,
    "time-outs": check_time_outs,
    "slurmd": check_slurmd,
    "units": check_units,
    "worker server": check_worker_server,
}
"""What reads no credentials, and asks processes of the node: before anything is forked."""

OF_FILES: Mapping[str, Check] = {
    "arguments": check_arguments,
    "qrmi_config.json": check_config,
    "entries": check_resources,
    "licences": check_licenses,
    "MUNGE": check_munge,
    "state folder": check_state_folder,
    "usage log": check_usage_log,
    "journal": check_journal,
}


class Runner:
    """Runs checks; what stands in the way of several is told once."""

    def __init__(self) -> None:
        self._told: list[str] = []

    def run(self, checks: Mapping[str, Check], node: Node) -> Iterator[tuple[str, Finding]]:
        """Yield the name of each check with its findings."""
        for name, check in checks.items():
            for finding in self._outcome(check, node):
                self._told.append(finding.text)
                yield name, finding

    def in_the_way(self, error: QrmiError) -> list[Finding]:
        """Return that something could not be looked at, unless that was told before."""
        text = str(error)
        return [] if any(text in told for told in self._told) else [wrong(text)]

    def _outcome(self, check: Check, node: Node) -> Iterator[Finding]:
        try:
            yield from check(node)
        except QrmiError as error:
            yield from self.in_the_way(error)
        except Exception as error:  # noqa: BLE001 (one check's bug must not take the others down)
            log.error("internal error: %s", error_place(error))
            yield wrong(f"could not be looked at: internal error ({type(error).__name__})")
