# SPDX-License-Identifier: GPL-3.0-or-later
"""Withholding licences that slurmdbd counts: by how many are said to be in use (Slurm 23.02).

Whatever is in use beside the licences of jobs when slurmctld is told of it, its `LastDeficit`, jobs
do not get; that may be more than are free (tried with Slurm 24.11.5). The licences must be all this
cluster's: what other clusters are allowed would count as in use too.
"""

import re
from collections.abc import Mapping

from spank_qrmi.catalog.license_names import license_name_of
from spank_qrmi.errors import MonitorError
from spank_qrmi.monitor.licenses import License, number_in, show_licenses
from spank_qrmi.trust.slurm_commands import SlurmCommands

SERVER = "spank_qrmi"
"""What the licences' server is called where nobody has chosen a name."""

_FIRST_RELEASE = (23, 2)
_VERSION = re.compile(r"\b(\d+)\.(\d+)\.\d+")


class DynamicLicenses:
    """The licences that slurmdbd has for one slurmctld's cluster."""

    def __init__(self, commands: SlurmCommands) -> None:
        """Raise MonitorError if this Slurm knows no such licences, SlurmError if it cannot tell."""
        printed = commands.run("scontrol", "--version")
        found = _VERSION.search(printed)
        if found is None or (int(found[1]), int(found[2])) < _FIRST_RELEASE:
            raise MonitorError(
                f"--licenses=dbd needs Slurm 23.02 or later, this is {printed.strip()[:40]!r}: use "
                "--licenses=reservations"
            )
        self._commands = commands
        self._shown: dict[str, Mapping[str, str]] = {}

    def read(self) -> dict[str, License]:
        """Return the QPUs' licences of slurmdbd by their names, without that of their server."""
        self._shown = {}
        licenses = {}
        for full_name, record in show_licenses(self._commands).items():
            name, at, _ = full_name.partition("@")
            if at and name.startswith(license_name_of("")):
                self._shown[name] = record
                total, used = number_in(record, "Total"), number_in(record, "Used")
                licenses[name] = License(total, used, number_in(record, "LastDeficit"), total)
        return licenses

    def withhold(self, name: str, count: int) -> None:
        """Say how many are in use: what jobs have, and what they must not get."""
        record = self._shown[name]
        server = record["LicenseName"].partition("@")[2]
        in_use = number_in(record, "Used") + count
        self._commands.run(
            *("sacctmgr", "--immediate", "modify", "resource"),
            *("where", f"name={name}", f"server={server}"),
            *("set", f"lastconsumed={in_use}"),
        )

    def release_all(self) -> list[str]:
        """Say of all that no more are in use than jobs have; return those that are free now."""
        withheld = [name for name, each in self.read().items() if each.withheld]
        for name in withheld:
            self.withhold(name, 0)
        return withheld
