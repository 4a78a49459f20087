# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster with licences for QPUs, and the monitor that watches these."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from loopback.cluster import SlurmCluster
from loopback.job import Job
from loopback.monitor import MonitorCommand
from loopback.site import Site
from loopback.waiting import wait_until
from tests.slurm.product import Product

SHERBROOKE, KINGSTON = "ibm_sherbrooke", "ibm_kingston"
LICENSES = {f"qpu_{SHERBROOKE}": 1, f"qpu_{KINGSTON}": 3, "matlab": 4}
GRACE_SECONDS = 4
OPTIONS = ("--interval=1", f"--grace={GRACE_SECONDS}")
PATIENCE_SECONDS = 60.0
# Of slurm.conf.
SETTINGS = {"Licenses": ",".join(f"{name}:{count}" for name, count in LICENSES.items())}


@dataclass(frozen=True)
class Watched:
    """A cluster whose QPUs are watched, or can be."""

    product: Product
    command: MonitorCommand

    @property
    def cluster(self) -> SlurmCluster:
        return self.product.cluster

    @property
    def site(self) -> Site:
        return self.product.site

    def submit(self, name: str, script: str = "true", *options: str) -> Job:
        """Submit a job that asks for a QPU and its licence."""
        return self.product.submit(script, f"--qpu={name}", f"--licenses=qpu_{name}", *options)

    def withheld(self) -> dict[str, str]:
        """Return the licences of all reservations, by reservation."""
        shown = self.cluster.run("scontrol", "--oneliner", "show", "reservations").stdout
        return dict(re.findall(r"ReservationName=(\S+).*Licenses=(\S+)", shown))

    def wait_until_withheld(self, expected: Mapping[str, str]) -> None:
        """Wait until these are all reservations."""
        wait_until(self.withheld, PATIENCE_SECONDS, "reservations", accept=expected.__eq__)

    def wait_until_pending_for_licenses(self, job: Job) -> None:
        """Wait until slurmctld says that a job waits for licences."""
        wait_until(
            lambda: (job.details()["JobState"], job.details()["Reason"]),
            PATIENCE_SECONDS,
            "job that waits for licences",
            accept=("PENDING", "Licenses").__eq__,
        )


@contextmanager
def watched_on(product: Product, *options: str) -> Iterator[Watched]:
    """Give a cluster whose monitor has these options; what it withholds is released in the end."""
    words = (*OPTIONS, *options)
    command = MonitorCommand(product.cluster, product.installation, product.folder, words)
    try:
        yield Watched(product, command)
        product.cluster.wait_for_empty_queue()
    finally:
        product.cluster.cancel_all()
        command.run("--release-all")


def all_of(name: str) -> dict[str, str]:
    return {f"spank_qrmi_qpu_{name}": f"qpu_{name}:{LICENSES[f'qpu_{name}']}"}
