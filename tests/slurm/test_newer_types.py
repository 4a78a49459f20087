# SPDX-License-Identifier: GPL-3.0-or-later
"""A job with QPUs of three newer types at once: what it gets, and what is said if it gets none."""

from tests.slurm.product import Product, readable_lines

NAMES = "ibm_kingston,ibm_marrakesh,garnet_mock"
TYPES = "ibm-quantum-system,ibm-quantum-compute-service,iqm-server"
PRINT_LISTS = 'echo "$SLURM_JOB_QPU_RESOURCES $SLURM_JOB_QPU_TYPES"'


def test_steps_of_an_ordinary_user_have_all_three(product: Product):
    product.write_plugstack("--require=all")
    script = f"{PRINT_LISTS}; srun bash -c '{PRINT_LISTS}'"

    result = product.run_job(script, f"--qpu={NAMES}", user="nobody")

    assert (result.state, result.stderr) == ("COMPLETED", "")
    assert result.stdout == f"{NAMES} {TYPES}\n" * 2
    assert product.sessions_served() == ["ibm_marrakesh"]


def test_job_goes_on_without_what_is_busy(product: Product):
    product.site.change_backend("ibm_kingston", lanes=0)

    result = product.run_job('printf %s "$SLURM_JOB_QPU_RESOURCES"', f"--qpu={NAMES}")

    assert (result.state, result.stdout) == ("COMPLETED", "ibm_marrakesh,garnet_mock")
    assert readable_lines(result.stderr) == [
        "QPU ibm_kingston: busy: the backend has no lane for jobs of workload managers; "
        "the job goes on without it"
    ]
    assert product.sessions_served() == ["ibm_marrakesh"]


def test_each_service_says_why_the_job_gets_none(product: Product):
    product.site.change_backend("ibm_kingston", locked=True, message="for calibration")
    product.site.change_backend("ibm_marrakesh", status="paused", message="back at noon")
    product.site.change_backend("garnet_mock", healthy=False)

    result = product.run_job("echo started", f"--qpu={NAMES}")

    assert (result.state, result.stdout) == ("FAILED", "")
    system, service, computer, last = readable_lines(result.stderr)
    assert system == "QPU ibm_kingston: busy: the backend is locked: for calibration"
    assert service.startswith(
        "QPU ibm_marrakesh: not accessible: the backend is paused: back at noon"
    )
    assert computer.startswith(
        "QPU garnet_mock: not accessible: the quantum computer is not healthy"
    )
    assert last == f"--qpu={NAMES}: no QPU could be acquired; the job does not start"
    # What was opened while the backend was asked is closed again.
    product.site.wait_until_released()
