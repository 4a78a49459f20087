# SPDX-License-Identifier: GPL-3.0-or-later
"""Quantum jobs that tasks leave behind: however a task ends, the service has none of them after.

The clean-up's worker is ready, or spawned. Most tests are run with both; the cases of the others
take turns, since what a service does is met by the same code.
"""

import shutil
from itertools import cycle
from pathlib import Path

import pytest

from loopback.job import Job
from spank_qrmi_simulator.site import API_KEY, SERVICE_CRN
from tests.slurm.both_ways import READY, qrun_both_ways, taking_turns
from tests.slurm.qrun_product import OPTIONS, REMOVAL_SECONDS, QrunProduct, readable_lines

JOBS = "/direct-access/v1/jobs/"


def removal_line(job_id: str) -> str:
    return f"spank_ibm_qrun: quantum job {job_id} was left on the service and is removed"


def assert_removed(product: QrunProduct, job: Job, *job_ids: str) -> None:
    """Assert that these quantum jobs, and no others, were removed for the job, and logged."""
    product.wait_until_removed()
    for job_id in job_ids:
        product.cluster.wait_for_log(removal_line(job_id), job)
    lines = [line for line in product.our_lines(job) if "was left on the service" in line]
    assert sorted(lines) == sorted(removal_line(job_id) for job_id in job_ids)


SCRIPTS = (
    "{qrun} 0",
    "srun {qrun} 0",
    "srun -N1 -n1 /bin/sh -c '{qrun} 0; true'",
    "srun {wrapper} 0",
    "exec {qrun} 1",
    "srun {qrun} 3",
    "srun {qrun} killed",
    "srun -n1 -N1 /bin/sh -c 'setsid {qrun} stays >$1 2>&1 </dev/null & sleep 2' - {output}",
)
# Each script is seen both ways, and so is each user.
USERS = cycle(((None, "nobody"), ("nobody", None)))


@taking_turns(
    "qrun_product",
    ("script", "user"),
    ((script, user) for script, users in zip(SCRIPTS, USERS, strict=False) for user in users),
)
def test_whatever_started_it_and_however_it_ends(
    qrun_product: QrunProduct, script: str, user: str | None
):
    qrun_product.hold_jobs()
    qrun = qrun_product.stand_in()
    wrapper = qrun_product.folder / "wrapper"
    wrapper.write_text(f'#!/bin/sh\n{qrun} "$@"\n')
    wrapper.chmod(0o755)
    output = qrun_product.folder / "output"
    output.touch()
    output.chmod(0o666)
    job = qrun_product.submit(script.format(qrun=qrun, wrapper=wrapper, output=output), user=user)
    job.wait()

    [job_id] = [line.split()[0] for line in (job.stdout + output.read_text()).splitlines()]
    assert_removed(qrun_product, job, job_id)


@qrun_both_ways
def test_task_without_a_quantum_job_is_no_matter(qrun_product: QrunProduct):
    qrun_product.site.order_fault("hang", "/direct-access/.*")

    job = qrun_product.submit("srun true\nsrun true\nsrun false\nexit 0", "--ntasks=3")
    result = job.wait()

    # What srun itself says of a task that fails differs by release.
    assert (result.state, "spank_ibm_qrun" in result.stderr) == ("COMPLETED", False)
    assert [line for line in qrun_product.our_lines(job) if "quantum job" in line] == []
    assert qrun_product.site.asked() == []


@qrun_both_ways
@pytest.mark.parametrize("start", ["", "srun "])
def test_scancel_in_mid_run(qrun_product: QrunProduct, start: str):
    qrun_product.hold_jobs()
    job = qrun_product.submit(f"{start}{qrun_product.stand_in()} stays")
    [job_id] = qrun_product.wait_for_ids(job).values()
    job.cancel()

    assert job.wait().state == "CANCELLED"
    assert_removed(qrun_product, job, job_id)


def test_scancel_of_programs_that_only_sigkill_ends(qrun_product: QrunProduct):
    qrun_product.hold_jobs()
    program = f"{qrun_product.stand_in()} deaf"
    jobs = [qrun_product.submit(program), qrun_product.submit(f"srun {program}")]
    ids = [[*qrun_product.wait_for_ids(job).values()] for job in jobs]
    for job in jobs:
        job.cancel()

    assert [job.wait().state for job in jobs] == ["CANCELLED"] * 2
    for job, job_ids in zip(jobs, ids, strict=True):
        assert_removed(qrun_product, job, *job_ids)


# Slurm takes its time to notice; test_qrun_in_jobs.py has the same with a spawned worker.
@pytest.mark.parametrize("qrun_product", [READY], indirect=True)
def test_time_limit(qrun_product: QrunProduct):
    qrun_product.hold_jobs()
    job = qrun_product.submit(f"srun {qrun_product.stand_in()} stays", "--time=1")
    [job_id] = qrun_product.wait_for_ids(job).values()
    # A moment that is over when slurmctld reads of it is refused.
    qrun_product.cluster.run("scontrol", "update", f"JobId={job.id}", "EndTime=now+2")

    # Slurm looks every half minute for jobs that are late.
    assert job.wait(timeout_seconds=150).state == "TIMEOUT"
    assert_removed(qrun_product, job, job_id)


@qrun_both_ways
def test_two_tasks_of_one_step(qrun_product: QrunProduct):
    qrun_product.hold_jobs()
    job = qrun_product.submit(f"srun {qrun_product.stand_in()} 0", "--ntasks=2")
    ids = qrun_product.wait_for_ids(job, 2)
    job.wait()

    assert_removed(qrun_product, job, *ids.values())


@qrun_both_ways
def test_task_that_is_killed_while_another_runs(qrun_product: QrunProduct):
    qrun_product.hold_jobs()
    script = f"srun --no-kill --kill-on-bad-exit=0 {qrun_product.stand_in()} stays"
    job = qrun_product.submit(script, "--ntasks=2", "--nodes=1")
    ids = qrun_product.wait_for_ids(job, 2)
    qrun_product.kill_stand_in(task=1)

    qrun_product.wait_until_removed(ids[0])
    assert qrun_product.site.quantum_jobs() == [ids[0]]
    assert job.state() == "RUNNING"
    job.cancel()
    job.wait()
    assert_removed(qrun_product, job, *ids.values())


@qrun_both_ways
def test_step_on_two_nodes(qrun_product: QrunProduct):
    qrun_product.hold_jobs()
    job = qrun_product.submit(f"srun {qrun_product.stand_in()} killed", "--nodes=2", "--ntasks=4")
    ids = qrun_product.wait_for_ids(job, 4)
    job.wait()

    assert_removed(qrun_product, job, *ids.values())


@qrun_both_ways
def test_plain_srun(qrun_product: QrunProduct):
    qrun_product.hold_jobs()
    command = (str(qrun_product.stand_in()), "killed")
    done = qrun_product.cluster.run("srun", *OPTIONS, *command, check=False)

    assert len(done.stdout.split()) == 2
    qrun_product.wait_until_removed()


@qrun_both_ways
def test_many_tasks_that_are_cancelled_at_once(qrun_product: QrunProduct):
    qrun_product.hold_jobs()
    script = "srun /bin/sh -c 'test $SLURM_PROCID -gt 3 && exec sleep 1000; {} stays'"
    job = qrun_product.submit(script.format(qrun_product.stand_in()), "--ntasks=16")
    ids = qrun_product.wait_for_ids(job, 4)
    job.cancel()

    assert job.wait().state == "CANCELLED"
    assert_removed(qrun_product, job, *ids.values())


@qrun_both_ways
def test_jobs_of_others_stay(qrun_product: QrunProduct):
    qrun_product.hold_jobs()
    first = qrun_product.submit(f"{qrun_product.stand_in()} stays")
    [kept] = qrun_product.wait_for_ids(first).values()
    second = qrun_product.submit(f"srun {qrun_product.stand_in()} killed")
    second.wait()

    qrun_product.wait_until_removed(kept)
    assert qrun_product.site.quantum_jobs() == [kept]
    first.cancel()
    first.wait()


@qrun_both_ways
def test_credentials_of_the_user_are_not_used(qrun_product: QrunProduct):
    """A script that names another service does not lead slurmd's clean-up there."""
    qrun_product.hold_jobs()
    script = (
        f"{qrun_product.stand_in()} 0; export IBMQRUN_DAAPI_ENDPOINT=http://127.0.0.1:9 "
        "IBMQRUN_APPID_SECRET=wrong IBMQRUN_JOB_ID=x"
    )
    job = qrun_product.submit(script)
    [job_id] = qrun_product.wait_for_ids(job).values()
    job.wait()

    assert_removed(qrun_product, job, job_id)


@qrun_both_ways
@pytest.mark.parametrize("source", ["file", "iam"])
def test_clean_up_with_other_credentials(qrun_product: QrunProduct, source: str):
    qrun_product.hold_jobs()
    if source == "file":
        path = qrun_product.write_credentials()
        qrun_product.write_plugstack(f"--credentials={path}", eight=False)
    else:
        qrun_product.write_plugstack(
            f"--iam-apikey={API_KEY}",
            f"--service-crn={SERVICE_CRN}",
            f"--iam-endpoint={qrun_product.site.url}/iam",
        )
    job = qrun_product.submit(f"srun {qrun_product.stand_in()} killed")
    [job_id] = qrun_product.wait_for_ids(job).values()
    job.wait()

    assert_removed(qrun_product, job, job_id)
    logins = {path for path in qrun_product.site.asked() if "token" in path}
    assert ("POST /iam/identity/token" in logins) is (source == "iam")


@taking_turns(
    "qrun_product",
    ("kind", "details"),
    [
        ("status", {"status": 401, "times": 1}),
        ("expired_token", {"times": 1}),
        ("status", {"status": 409, "method": "DELETE", "times": 2}),
        ("status", {"status": 423, "times": 1}),
        ("status", {"status": 429, "retry_after": "2", "times": 1}),
        ("status", {"status": 500, "times": 2}),
        ("drop", {"times": 1}),
    ],
)
def test_service_that_is_in_trouble_for_a_while(
    qrun_product: QrunProduct, kind: str, details: dict[str, object]
):
    qrun_product.hold_jobs()
    qrun_product.site.order_fault(kind, JOBS, **details)
    job = qrun_product.submit(f"{qrun_product.stand_in()} 0")
    [job_id] = qrun_product.wait_for_ids(job).values()

    assert job.wait().state == "COMPLETED"
    assert_removed(qrun_product, job, job_id)


@taking_turns(
    "qrun_product",
    ("kind", "details", "reason"),
    [
        ("status", {"status": 500}, "answered 500"),
        ("status", {"status": 409, "method": "DELETE"}, "answered 409"),
        ("status", {"status": 429, "retry_after": "3600"}, "the service asks to wait 3600 s"),
        ("hang", {}, ""),
    ],
)
def test_service_that_stays_in_trouble(
    qrun_product: QrunProduct, kind: str, details: dict[str, object], reason: str
):
    # Long enough for what a busy site answers, short for what it does not.
    qrun_product.write_plugstack("--cleanup-timeout=10")
    qrun_product.hold_jobs()
    qrun_product.site.order_fault(kind, JOBS, **details)
    job = qrun_product.submit(f"{qrun_product.stand_in()} 0")
    [job_id] = qrun_product.wait_for_ids(job).values()

    # The user's job is none the worse for it.
    assert job.wait().state == "COMPLETED"
    qrun_product.cluster.wait_for_log("<- slurm_spank_exit", job, REMOVAL_SECONDS)
    [line] = [line for line in qrun_product.our_lines(job) if "may still be on the service" in line]
    start = f"error: spank_ibm_qrun: quantum job {job_id} may still be on the service: "
    assert line.startswith(start)
    assert reason in line
    assert readable_lines(job.stderr)[-1] == line.removeprefix("error: spank_ibm_qrun: ")
    assert qrun_product.site.quantum_jobs() == [job_id]
    qrun_product.site.reset()


@qrun_both_ways
def test_service_that_hangs_does_not_stop_other_tasks(qrun_product: QrunProduct):
    """What could not be removed early is removed when the step ends."""
    qrun_product.hold_jobs()
    qrun_product.site.order_fault("hang", JOBS, times=1)
    script = f"srun --kill-on-bad-exit=0 {qrun_product.stand_in()} stays"
    job = qrun_product.submit(script, "--ntasks=2", "--nodes=1")
    ids = qrun_product.wait_for_ids(job, 2)
    qrun_product.kill_stand_in(task=0)

    qrun_product.cluster.wait_for_log("tried again when the step ends", job, REMOVAL_SECONDS)
    assert sorted(qrun_product.site.quantum_jobs()) == sorted(ids.values())
    job.cancel()
    job.wait()
    assert_removed(qrun_product, job, *ids.values())


def test_slurmstepd_that_cannot_find_its_worker_names_the_job(qrun_product: QrunProduct):
    qrun_product.hold_jobs()
    plugins = qrun_product.folder / "plugins"
    plugins.mkdir()
    plugin = Path(shutil.copy(qrun_product.installation.qrun_plugin, plugins))
    link = plugins / qrun_product.installation.interpreter_link.name
    link.symlink_to(qrun_product.installation.interpreter_link.readlink())
    arguments = (*qrun_product.site.qrun_arguments(), *qrun_product.common_arguments)
    qrun_product.cluster.write_plugstack(" ".join(("optional", str(plugin), *arguments)))
    job = qrun_product.submit(f"{qrun_product.stand_in()} stays")
    [job_id] = qrun_product.wait_for_ids(job).values()
    link.unlink()
    job.cancel()
    job.wait()

    expected = f"quantum job {job_id} may still be on the service: look there, cancel and delete it"
    qrun_product.cluster.wait_for_log(f"error: spank_ibm_qrun: {expected}", job)
    qrun_product.site.reset()


def test_job_that_never_starts_leaves_nothing(qrun_product: QrunProduct):
    qrun_product.write_plugstack(eight=False)
    assert qrun_product.submit(f"{qrun_product.stand_in()} 0").wait().state == "FAILED"

    assert qrun_product.site.asked() == []
