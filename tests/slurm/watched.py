# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster with licences for QPUs, and the monitor that watches these."""

import re
from collections.abc import Mapping

from loopback.job import Job
from loopback.monitor import MonitorCommand
from loopback.waiting import wait_until
from tests.slurm.product import Product

SHERBROOKE, KINGSTON = "ibm_sherbrooke", "ibm_kingston"
LICENSES = {f"qpu_{SHERBROOKE}": 1, f"qpu_{KINGSTON}": 3, "matlab": 4}
PATIENCE_SECONDS = 60.0
# Of slurm.conf.
SETTINGS = {"Licenses": ",".join(f"{name}:{count}" for name, count in LICENSES.items())}


class Watched(Product):
    """The product where QPUs are watched, or can be."""

    @property
    def monitor(self) -> MonitorCommand:
        """The monitor, with short times."""
        options = ("--interval=1", "--grace=4")
        return MonitorCommand(self.cluster, self.installation, self.folder, options)

    def submit_licensed(self, name: str, script: str = "true") -> Job:
        """Submit a job that asks for a QPU and its licence."""
        return self.submit(script, f"--qpu={name}", f"--licenses=qpu_{name}")

    def withheld(self) -> dict[str, str]:
        """Return the licences of all reservations, by reservation."""
        shown = self.cluster.run("scontrol", "--oneliner", "show", "reservations").stdout
        return dict(re.findall(r"ReservationName=(\S+).*Licenses=(\S+)", shown))

    def wait_until_withheld(self, expected: Mapping[str, str]) -> None:
        """Wait until these are all reservations."""
        wait_until(self.withheld, PATIENCE_SECONDS, "reservations", accept=expected.__eq__)


def wait_until_pending_for_licenses(job: Job) -> None:
    """Wait until slurmctld says that a job waits for licences."""
    wait_until(
        lambda: (job.details()["JobState"], job.details()["Reason"]),
        PATIENCE_SECONDS,
        "job that waits for licences",
        accept=("PENDING", "Licenses").__eq__,
    )


def all_of(name: str) -> dict[str, str]:
    return {f"spank_qrmi_qpu_{name}": f"qpu_{name}:{LICENSES[f'qpu_{name}']}"}
