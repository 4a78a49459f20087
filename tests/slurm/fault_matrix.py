# SPDX-License-Identifier: GPL-3.0-or-later
"""What may go wrong, when, with which vendor, and the test that shows what comes of it.

A cell is HERE (test_fault_matrix.py runs it), the `file::test` that has it, or, behind NO, the
reason why there is nothing to test. A vendor's row in `tests/unit/vendors.py` says all that is
needed to run its cells here.
"""

from collections.abc import Mapping
from itertools import product

from tests.unit.vendors import DIRECT_ACCESS, PASQAL_CLOUD, QISKIT_RUNTIME, VENDORS, Vendor

HERE = "here"
NO = "no: "

ACQUIRE, JOB, RELEASE = STAGES = ("acquire", "job", "release")

STEPD = "slurmstepd -9"
WORKER = "worker -9"
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
FAULTS = (STEPD, WORKER, TASK, SCANCEL, TIME_LIMIT, SLURMD, SLURMCTLD, *OF_SERVICES)

NOTHING_HELD = f"{NO}the vendor holds nothing for a job, so nothing is asked after it has started"
NO_TASK = f"{NO}there is no task then"
NO_WORKER = f"{NO}no worker runs beside the script"
NO_REQUEST = f"{NO}the product asks no service beside the script"

RELEASES = "test_release_always.py::"
WORKERS = "test_worker_faults.py::"
SERVICES = "test_service_faults.py::"
ACQUIRES = "test_acquisition.py::"
AT_EACH_STAGE = "test_restarts.py::test_daemon_ends_and_starts_at_each_stage"
BACKEND = f"{SERVICES}test_question_for_a_backend"
ONE_HANGS = f"{SERVICES}test_one_service_that_hangs_does_not_take_the_others_down"

ELSEWHERE: Mapping[Vendor, Mapping[tuple[str, str], str]] = {
    DIRECT_ACCESS: dict.fromkeys(product((HANGING, ERRING, SLOW, LYING), (ACQUIRE,)), BACKEND),
    QISKIT_RUNTIME: {
        (STEPD, ACQUIRE): f"{RELEASES}test_stepd_killed_while_a_session_opens",
        (STEPD, JOB): f"{RELEASES}test_stepd_killed_during_the_job_and_the_job_cancelled",
        (STEPD, RELEASE): f"{RELEASES}test_stepd_killed_while_it_releases",
        (WORKER, ACQUIRE): f"{WORKERS}test_killed_with_a_session_open",
        (WORKER, RELEASE): f"{RELEASES}test_worker_killed_while_it_releases",
        (SCANCEL, ACQUIRE): f"{ACQUIRES}test_cancelled_while_acquiring",
        (SCANCEL, JOB): f"{ACQUIRES}test_qpus_are_held_while_the_script_runs",
        **dict.fromkeys(product((SLURMD, SLURMCTLD), STAGES), AT_EACH_STAGE),
        (DOWN, RELEASE): f"{RELEASES}test_service_is_down_until_the_administrator_tries_again",
        (HANGING, RELEASE): f"{SERVICES}test_release_that_hangs_is_given_up_in_time",
    },
    PASQAL_CLOUD: {
        (WORKER, ACQUIRE): f"{WORKERS}test_killed_while_a_service_hangs",
        (DOWN, ACQUIRE): f"{SERVICES}test_service_that_is_not_there",
        (HANGING, ACQUIRE): ONE_HANGS,
    },
}
"""Cells that a vendor has in tests of their own, which look at more; a vendor needs none."""


def cell(fault: str, stage: str, vendor: Vendor) -> str:
    """Return what is said of one combination."""
    if stage != ACQUIRE and not vendor.holds:
        return NOTHING_HELD
    if stage != JOB and fault == TASK:
        return NO_TASK
    if stage == JOB and fault == WORKER:
        return NO_WORKER
    if stage == JOB and fault in OF_SERVICES:
        return NO_REQUEST
    return ELSEWHERE.get(vendor, {}).get((fault, stage), HERE)


def cells() -> dict[tuple[str, str, Vendor], str]:
    """Return all cells, by fault, stage and vendor."""
    return {each: cell(*each) for each in product(FAULTS, STAGES, VENDORS)}
