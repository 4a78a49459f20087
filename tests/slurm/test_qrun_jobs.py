# SPDX-License-Identifier: GPL-3.0-or-later
"""Quantum jobs that tasks leave behind: however a task ends, the service has none of them after.

The clean-up's worker is ready, or spawned. Jobs of one test run at the same time.
"""

from itertools import cycle

from tests.slurm.both_ways import qrun_both_ways, taking_turns
from tests.slurm.product import readable_lines
from tests.slurm.qrun_product import OPTIONS, REMOVAL_SECONDS, QrunProduct

JOBS = "/direct-access/v1/jobs/"


def assert_removed(product: QrunProduct, *job_ids: str) -> None:
    """Assert that these quantum jobs, and no others, were removed, and logged."""
    product.wait_until_released()
    for job_id in job_ids:
        line = f"spank_ibm_qrun: quantum job {job_id} was left on the service and is removed"
        product.cluster.wait_for_log(line)
    asked = {asked for asked in product.site.asked() if asked.startswith("DELETE ")}
    assert asked == {f"DELETE {JOBS}{job_id}" for job_id in job_ids}


# So many quantum jobs has the service at once.
LANES = 5
LEFT_BEHIND = (
    "{qrun} 0",
    "srun {qrun} 0",
    "srun -N1 -n1 /bin/sh -c '{qrun} 0; true'",
    "srun {wrapper} 0",
    "exec {qrun} 1",
    "srun {qrun} 3",
    "srun {qrun} killed",
    "srun -n1 -N1 /bin/sh -c 'setsid {qrun} stays >$1 2>&1 </dev/null & sleep 2' - {output}",
    # Where a script says that the service is does not lead slurmd's clean-up there.
    "{qrun} 0; export IBMQRUN_DAAPI_ENDPOINT=http://127.0.0.1:9 IBMQRUN_APPID_SECRET=wrong",
)


# Each script is seen both ways, and so is each user.
@taking_turns("qrun_product", ("users",), [((None, "nobody"),), (("nobody", None),)])
def test_whatever_started_it_and_however_it_ends(
    qrun_product: QrunProduct, users: tuple[str | None, ...]
):
    qrun_product.hold_jobs()
    qrun = qrun_product.stand_in()
    wrapper = qrun_product.folder / "wrapper"
    wrapper.write_text(f'#!/bin/sh\n{qrun} "$@"\n')
    wrapper.chmod(0o755)
    output = qrun_product.folder / "output"
    output.touch()
    output.chmod(0o666)
    scripts = [each.format(qrun=qrun, wrapper=wrapper, output=output) for each in LEFT_BEHIND]
    cases = list(zip(scripts, cycle(users), strict=False))
    ids = []
    for some in (cases[:LANES], cases[LANES:]):
        jobs = {script: qrun_product.submit(script, user=user) for script, user in some}
        for script, job in jobs.items():
            job.wait()
            text = job.stdout + (output.read_text() if str(output) in script else "")
            lines = text.splitlines()
            assert len(lines) == 1, script
            ids.append(lines[0].split()[0])
        assert_removed(qrun_product, *ids)


@qrun_both_ways
def test_scancel_in_mid_run(qrun_product: QrunProduct):
    qrun_product.hold_jobs()
    qrun = qrun_product.stand_in()
    # Of its 16 tasks some run no quantum job.
    many = f"srun /bin/sh -c 'test $SLURM_PROCID -gt 2 && exec sleep 1000; {qrun} stays'"
    jobs = [
        qrun_product.submit(f"{qrun} stays"),
        qrun_product.submit(f"srun {qrun} stays"),
        qrun_product.submit(many, "--ntasks=16"),
    ]
    ids = [
        job_id
        for job, count in zip(jobs, (1, 1, 3), strict=True)
        for job_id in qrun_product.wait_for_ids(job, count).values()
    ]
    qrun_product.cluster.run("scancel", *(str(job.id) for job in jobs))

    assert [job.wait().state for job in jobs] == ["CANCELLED"] * 3
    assert_removed(qrun_product, *ids)


def test_time_limit_and_scancel_of_programs_that_only_sigkill_ends(qrun_product: QrunProduct):
    """Slurm takes half a minute for either."""
    qrun_product.hold_jobs()
    qrun = qrun_product.stand_in()
    deaf = [qrun_product.submit(f"{start}{qrun} deaf") for start in ("", "srun ")]
    late = qrun_product.submit(f"srun {qrun} stays", "--time=1")
    ids = [job_id for job in (*deaf, late) for job_id in qrun_product.wait_for_ids(job).values()]
    # A moment that is over when slurmctld reads of it is refused.
    qrun_product.cluster.run("scontrol", "update", f"JobId={late.id}", "EndTime=now+2")
    qrun_product.cluster.run("scancel", *(str(job.id) for job in deaf))

    ended = [job.wait(timeout_seconds=150).state for job in (*deaf, late)]
    assert ended == ["CANCELLED", "CANCELLED", "TIMEOUT"]
    assert_removed(qrun_product, *ids)


@qrun_both_ways
def test_task_that_is_killed_while_another_runs(qrun_product: QrunProduct):
    qrun_product.hold_jobs()
    ends = f"ends=(stays killed); exec {qrun_product.stand_in()} ${{ends[SLURM_PROCID]}}"
    script = f"srun --no-kill --kill-on-bad-exit=0 bash -c '{ends}'"
    job = qrun_product.submit(script, "--ntasks=2", "--nodes=1")
    ids = qrun_product.wait_for_ids(job, 2)

    qrun_product.wait_until_released(ids[0])
    assert qrun_product.site.quantum_jobs() == [ids[0]]
    assert job.state() == "RUNNING"
    job.cancel()
    job.wait()
    assert_removed(qrun_product, *ids.values())


@qrun_both_ways
def test_step_on_two_nodes_and_plain_srun(qrun_product: QrunProduct):
    qrun_product.hold_jobs()
    qrun = str(qrun_product.stand_in())
    job = qrun_product.submit(f"srun {qrun} killed", "--nodes=2", "--ntasks=4")
    plain = qrun_product.cluster.run("srun", *OPTIONS, qrun, "killed", check=False)
    job_id, _ = plain.stdout.split()

    assert_removed(qrun_product, job_id, *qrun_product.wait_for_ids(job, 4).values())
    job.wait()


def test_service_that_stays_in_trouble(qrun_product: QrunProduct):
    # Long enough for what a busy site answers, short for what it does not.
    qrun_product.write_plugstack("--cleanup-timeout=5")
    qrun_product.hold_jobs()
    qrun_product.site.order_fault("status", JOBS, status=500)
    job = qrun_product.submit(f"{qrun_product.stand_in()} 0")
    [job_id] = qrun_product.wait_for_ids(job).values()

    # The user's job is none the worse for it.
    assert job.wait().state == "COMPLETED"
    qrun_product.cluster.wait_for_log("<- slurm_spank_exit", job, REMOVAL_SECONDS)
    [line] = [line for line in qrun_product.our_lines(job) if "may still be on the service" in line]
    start = f"error: spank_ibm_qrun: quantum job {job_id} may still be on the service: "
    assert line.startswith(start)
    assert "answered 500" in line
    assert readable_lines(job.stderr)[-1] == line.removeprefix("error: spank_ibm_qrun: ")
    assert qrun_product.site.quantum_jobs() == [job_id]
    qrun_product.site.reset()
