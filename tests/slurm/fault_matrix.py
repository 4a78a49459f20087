# SPDX-License-Identifier: GPL-3.0-or-later
"""What may go wrong, when, with which vendor, and the test that shows what comes of it.

A cell is HERE (test_fault_matrix.py runs it), the `file::test` that has it, or, behind NO, the
reason why there is nothing to test.
"""

from collections.abc import Mapping
from itertools import product

HERE = "here"
NO = "no: "

DIRECT_ACCESS = "direct-access"
RUNTIME = "qiskit-runtime-service"
PASQAL = "pasqal-cloud"
VENDORS = (DIRECT_ACCESS, RUNTIME, PASQAL)

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
FAULTS = (
    *(STEPD, WORKER, TASK, SCANCEL, TIME_LIMIT, SLURMD, SLURMCTLD),
    *(DOWN, HANGING, ERRING, SLOW, LYING),
)

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

_ACQUIRE: Mapping[str, tuple[str, str, str]] = {
    STEPD: (HERE, f"{RELEASES}test_stepd_killed_while_a_session_opens", HERE),
    WORKER: (
        HERE,
        f"{WORKERS}test_killed_with_a_session_open",
        f"{WORKERS}test_killed_while_a_service_hangs",
    ),
    TASK: (NO_TASK, NO_TASK, NO_TASK),
    SCANCEL: (HERE, f"{ACQUIRES}test_cancelled_while_acquiring", HERE),
    TIME_LIMIT: (HERE, HERE, HERE),
    SLURMD: (HERE, AT_EACH_STAGE, HERE),
    SLURMCTLD: (HERE, AT_EACH_STAGE, HERE),
    DOWN: (HERE, HERE, f"{SERVICES}test_service_that_is_not_there"),
    HANGING: (BACKEND, HERE, ONE_HANGS),
    ERRING: (BACKEND, HERE, HERE),
    SLOW: (BACKEND, HERE, HERE),
    LYING: (BACKEND, HERE, HERE),
}
# Of Qiskit Runtime alone, the only one that holds something.
_LATER: Mapping[str, tuple[str, str]] = {
    STEPD: (
        f"{RELEASES}test_stepd_killed_during_the_job_and_the_job_cancelled",
        f"{RELEASES}test_stepd_killed_while_it_releases",
    ),
    WORKER: (NO_WORKER, f"{RELEASES}test_worker_killed_while_it_releases"),
    TASK: (HERE, NO_TASK),
    SCANCEL: (f"{ACQUIRES}test_qpus_are_held_while_the_script_runs", HERE),
    TIME_LIMIT: (HERE, HERE),
    SLURMD: (AT_EACH_STAGE, AT_EACH_STAGE),
    SLURMCTLD: (AT_EACH_STAGE, AT_EACH_STAGE),
    DOWN: (NO_REQUEST, f"{RELEASES}test_service_is_down_until_the_administrator_tries_again"),
    HANGING: (NO_REQUEST, f"{SERVICES}test_release_that_hangs_is_given_up_in_time"),
    ERRING: (NO_REQUEST, HERE),
    SLOW: (NO_REQUEST, HERE),
    LYING: (NO_REQUEST, HERE),
}


def cell(fault: str, stage: str, vendor: str) -> str:
    """Return what is said of one combination."""
    if stage == ACQUIRE:
        return _ACQUIRE[fault][VENDORS.index(vendor)]
    if vendor != RUNTIME:
        return NOTHING_HELD
    return _LATER[fault][0 if stage == JOB else 1]


def cells() -> dict[tuple[str, str, str], str]:
    """Return all cells, by fault, stage and vendor."""
    return {each: cell(*each) for each in product(FAULTS, STAGES, VENDORS)}
