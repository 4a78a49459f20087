# SPDX-License-Identifier: GPL-3.0-or-later
"""What may go wrong, and when: each is met by one job that has a QPU of every vendor.

A combination is in the tests of test_fault_matrix.py or test_time_limits.py, or has a reason in
`NOT_THERE`. A vendor's row in `tests/unit/vendors.py` says all that is needed to try it here.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import pytest

from loopback.job import Job
from loopback.waiting import wait_until
from tests.slurm.both_ways import WAYS
from tests.slurm.product import START_SECONDS, Product
from tests.unit.vendors import HOLDERS, TOKEN, VENDORS, Vendor

ACQUIRE, JOB, RELEASE = STAGES = ("acquire", "job", "release")

STEPD = "slurmstepd -9"
WORKER = "worker -9"
BOTH = "slurmstepd and worker -9"
TASK = "task -9"
SCANCEL = "scancel"
TIME_LIMIT = "time limit"
SLURMD = "slurmd restart"
SLURMCTLD = "slurmctld restart"
DOWN = "service down"
HANGING = "service hanging"
ERRING = "service erring"
SLOW = "service slow"
LYING = "service lying"
OF_SERVICES = (DOWN, HANGING, ERRING, SLOW, LYING)
FAULTS = (STEPD, WORKER, BOTH, TASK, SCANCEL, TIME_LIMIT, SLURMD, SLURMCTLD, *OF_SERVICES)
# It makes a difference there whose child the worker is.
_ENDING = {STEPD, WORKER, BOTH, SCANCEL}

NOT_THERE: Mapping[tuple[str, str], str] = {
    **dict.fromkeys(product([TASK], [ACQUIRE, RELEASE]), "there is no task then"),
    **dict.fromkeys(product([WORKER, BOTH], [JOB]), "no worker runs beside the script"),
    **dict.fromkeys(product(OF_SERVICES, [JOB]), "no service is asked beside the script"),
}

LIMIT_SECONDS = 150

CELLS_RUN: set[tuple[str, str]] = set()
"""The combinations that tests have."""


def faults_at(stage: str, *faults: str) -> pytest.MarkDecorator:
    """Parametrise by faults in a stage: with spawned workers, ready ones, or both if it matters."""
    CELLS_RUN.update((fault, stage) for fault in faults)
    chosen = [
        (way, fault)
        for number, fault in enumerate(faults)
        for way in (WAYS if fault in _ENDING else [WAYS[number % len(WAYS)]])
    ]
    ids = [f"{way}-{fault}" for way, fault in chosen]
    return pytest.mark.parametrize(("product", "fault"), chosen, indirect=["product"], ids=ids)


@dataclass(frozen=True)
class Paths:
    """What the site is asked for a vendor's resource.

    `question` comes first, `acquisition` takes what there is to take, `release` begins what gives
    it back by `release_method`.
    """

    question: str
    acquisition: str
    release: str
    release_method: str

    @classmethod
    def of(cls, vendor: Vendor) -> "Paths":
        """Return a vendor's."""
        asked = [each.split(" ")[1] for each in vendor.on_site({**vendor.check, **vendor.acquire})]
        released = vendor.on_site(vendor.release)
        method, _, path = released[-1].partition(" ") if released else ("", "", "")
        acquisition = asked[-1] if vendor.holds else asked[0]
        return cls(asked[0], acquisition, path.partition(TOKEN)[0], method)


def only(path: str) -> str:
    """Return the expression of this path and no other."""
    return f"^{re.escape(path)}$"


def submit(
    product: Product, script: str = "echo started", vendors: Sequence[Vendor] = VENDORS
) -> Job:
    """Submit a job that asks for a QPU of every vendor, or of some."""
    names = ",".join(vendor.name for vendor in vendors)
    return product.submit(script, f"--qpu={names}", "--nodelist=n1")


def hang_all_questions(product: Product) -> None:
    """Let no service say whether its QPU can be used; what can be taken is taken meanwhile."""
    for vendor in VENDORS:
        product.site.order_fault("hang", only(Paths.of(vendor).question))


def wait_for_questions(product: Product) -> None:
    """Wait until every service has been asked."""
    for vendor in VENDORS:
        product.wait_for_request(Paths.of(vendor).question)


def wait_for_sessions(product: Product, jobs: int = 1, unanswered: int = 0) -> None:
    """Wait until so many jobs hold all that they can, but for what was `unanswered` so far."""
    wait_until(
        lambda: len(product.site.open_sessions()),
        START_SECONDS,
        f"sessions of {jobs} jobs",
        accept=(jobs * len(HOLDERS)).__eq__,
    )
    product.wait_for_recorded_session(jobs * len(HOLDERS) - unanswered)


def wait_until_told_to_end(product: Product, sessions: set[str]) -> None:
    """Wait until the site has been asked to end each of these sessions."""

    def not_asked() -> set[str]:
        asked = "\n".join(product.site.asked())
        return {session for session in sessions if f"/{session}" not in asked}

    wait_until(not_asked, START_SECONDS, "request for all", accept=lambda found: not found)


def wait_until_over(job: Job) -> None:
    """Wait until Slurm no longer counts the job as running, whatever its hooks still do."""
    wait_until(
        job.state,
        LIMIT_SECONDS,
        "end of the run",
        accept=lambda state: state not in {"PENDING", "CONFIGURING", "RUNNING"},
    )


def assert_nothing_left(product: Product) -> None:
    """Assert that nothing stays open, no process runs and no node is drained."""
    product.wait_until_released()
    product.cluster.wait_for_empty_queue()
    product.cluster.assert_nodes_healthy()
    assert product.cluster.stepd_pids() == set()
