# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps: which of them acquire, what the others get, and what a step may still ask for."""

import shlex
import subprocess

from loopback.waiting import wait_until
from tests.slurm.product import (
    PRINT_RESOURCES,
    UNTIL_FINISHED,
    Product,
    finish,
    readable_lines,
    token_in,
)

PRINT_LINE = """/bin/bash -c 'echo "$SLURM_JOB_QPU_RESOURCES;$SLURM_JOB_QPU_TYPES"'"""
SHERBROOKE = "ibm_sherbrooke"
OF_SHERBROOKE = "ibm_sherbrooke;qiskit-runtime-service"
# Without a command of its own, salloc starts the user's shell on the first node of the allocation.
CLUSTER = {
    "settings": {
        "LaunchParameters": "use_interactive_step",
        # Slurm's default without --pty, which would need a terminal.
        "InteractiveStepOptions": '"--interactive --preserve-env $SHELL"',
    }
}


def salloc(product: Product, script: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Allocate by salloc with a script in place of the user's shell."""
    shell = product.folder / "shell"
    shell.write_text(f"#!/bin/bash\n{script}\n")
    shell.chmod(0o755)
    return product.cluster.run("salloc", *options, env={"SHELL": str(shell)}, check=False)


def test_plain_srun_acquires_for_all_its_tasks_and_releases(product: Product):
    options = ("--ntasks=4", "--nodes=1", "--qpu=ibm_sherbrooke")
    done = product.srun(*options, "bash", "-c", PRINT_RESOURCES)
    assert (done.stdout, done.stderr) == ("ibm_sherbrooke" * 4, "")
    little = product.srun("--export=NONE", "--qpu=ibm_sherbrooke", "/usr/bin/env", "-0")

    assert product.sessions_served() == ["ibm_sherbrooke"] * 2
    assert token_in(little.stdout) == product.site.sessions()[1]["id"]


def test_each_node_of_a_step_tells_once_what_it_lacks(product: Product):
    """Of plain srun, and of a job that leaves its QPUs to its steps."""
    options = ("--nodes=2", "--ntasks-per-node=2", "--qpu=nowhere,ibm_sherbrooke,FRESNEL")
    show = 'echo "$SLURMD_NODENAME $SLURM_JOB_QPU_RESOURCES"'
    for done in (
        product.srun(*options, "bash", "-c", show),
        product.run_job(f"srun bash -c '{show}'", *options, "--qpu-hold=step"),
    ):
        assert sorted(done.stdout.splitlines()) == [
            *["n1 ibm_sherbrooke,FRESNEL"] * 2,
            *["n2 FRESNEL"] * 2,
        ]
        said = sorted(line.partition(":")[0] for line in readable_lines(done.stderr))
        assert said == ["QPU ibm_sherbrooke", "QPU nowhere", "QPU nowhere"]
    assert product.sessions_served() == ["ibm_sherbrooke"] * 2


def test_step_fails_on_all_nodes_where_no_qpu_can_be_had(product: Product):
    options = ("--nodes=2", "--ntasks=2", "--kill-on-bad-exit=0", "--qpu=nowhere")
    done = product.srun(*options, "echo", "started", check=False)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("--qpu=nowhere: no QPU could be acquired") == 2


def test_steps_of_a_script_share_what_it_has_also_at_once(product: Product):
    exports = ("ALL", "NONE", "HOME", "HOME,OF_MINE=1")
    steps = [f"srun --overlap --export={export} {PRINT_LINE} &" for export in exports]
    script = "\n".join([*steps, "wait"])
    options = ("--qpu=ibm_sherbrooke", "--nodes=2")
    jobs = {
        submitted: product.submit(script, *options, f"--export={submitted}")
        for submitted in ("ALL", "NONE", "HOME")
    }
    for submitted, job in jobs.items():
        result = job.wait()
        assert (result.state, readable_lines(result.stderr)) == ("COMPLETED", []), submitted
        assert result.stdout.split() == [OF_SHERBROOKE] * 8, submitted
    assert product.sessions_served() == ["ibm_sherbrooke"] * 3


def test_step_that_names_qpus_goes_on_with_those_that_its_job_holds(product: Product):
    on_one = "srun --nodes=1 --ntasks=1 --qpu=ibm_paused"
    script = (
        f"srun --qpu=FRESNEL {PRINT_LINE}; {on_one},ibm_sherbrooke {PRINT_LINE}; "
        f"srun {PRINT_LINE}; {on_one} echo started; echo $?"
    )
    result = product.run_job(script, "--nodes=2", "--qpu=ibm_sherbrooke,FRESNEL")

    assert (result.state, result.stdout.split()) == (
        "COMPLETED",
        [
            *["FRESNEL;pasqal-cloud"] * 2,
            OF_SHERBROOKE,
            *["ibm_sherbrooke,FRESNEL;qiskit-runtime-service,pasqal-cloud"] * 2,
            "1",
        ],
    )
    lines = readable_lines(result.stderr)
    assert lines[0].startswith("QPU ibm_paused: not accessible: ")
    assert lines[0].endswith("; the step goes on without it")
    assert "--qpu=ibm_paused: no QPU could be acquired; the step does not start" in lines
    assert product.sessions_served() == ["ibm_sherbrooke"]


def test_step_acquires_what_its_job_does_not_hold(product: Product):
    show = """bash -c 'echo "$SLURM_JOB_QPU_RESOURCES"; env -0 >$0'"""
    both, own = (product.folder / name for name in ("env-both", "env-own"))
    script = (
        f"srun --qpu=ibm_brisbane,ibm_sherbrooke {show} {both}\n"
        f"srun --overlap --qpu=ibm_brisbane {show} {own}\n{PRINT_RESOURCES}"
    )
    result = product.run_job(script, "--qpu=ibm_sherbrooke")

    assert (result.state, readable_lines(result.stderr)) == ("COMPLETED", [])
    assert result.stdout.split() == [
        "ibm_sherbrooke,ibm_brisbane",
        "ibm_brisbane",
        "ibm_sherbrooke",
    ]
    assert product.sessions_served() == ["ibm_sherbrooke", "ibm_brisbane", "ibm_brisbane"]
    held, *of_steps = (each["id"] for each in product.site.sessions())
    tokens = [
        {name: token_in(path.read_text(), name) for name in names}
        for path, names in ((both, ("ibm_sherbrooke", "ibm_brisbane")), (own, ("ibm_brisbane",)))
    ]
    assert tokens == [
        {"ibm_sherbrooke": held, "ibm_brisbane": of_steps[0]},
        {"ibm_brisbane": of_steps[1]},
    ]


def test_steps_of_a_batch_job_without_qpus_acquire_for_themselves(product: Product):
    steps = [f"srun --export={each} --qpu={SHERBROOKE} {PRINT_LINE}" for each in ("ALL", "NONE")]
    inside = "srun --qpu=ibm_sherbrooke bash -c 'srun --overlap printenv SLURM_JOB_QPU_RESOURCES'"
    result = product.run_job("\n".join([*steps, f"srun {PRINT_LINE}", inside]))

    assert (result.state, readable_lines(result.stderr)) == ("COMPLETED", [])
    assert result.stdout.split() == [OF_SHERBROOKE, OF_SHERBROOKE, ";", SHERBROOKE]
    assert product.sessions_served() == [SHERBROOKE] * 3


def test_step_from_outside_of_its_job_acquires_for_itself(product: Product):
    job = product.start_job("--qpu=ibm_sherbrooke")
    options = (f"--jobid={job.id}", "--overlap", "--qpu=ibm_sherbrooke")
    done = product.srun(*options, *shlex.split(PRINT_LINE))

    assert done.stdout.strip() == OF_SHERBROOKE
    wait_until(lambda: len(product.site.open_sessions()) == 1, 20, "end of the step's session")
    job.cancel()
    assert job.wait().state == "CANCELLED"
    assert product.sessions_served() == [SHERBROOKE] * 2


def test_steps_release_their_own_while_their_job_goes_on(product: Product):
    """One that ends, and one that is cancelled."""
    steps = (
        "srun --qpu=ibm_brisbane true\n"
        "srun --qpu=ibm_brisbane bash -c 'touch here; exec sleep 600'; touch both-are-over"
    )
    job = product.submit(f"{steps}\n{UNTIL_FINISHED}", "--qpu=ibm_sherbrooke")
    wait_until((job.folder / "here").exists, 20, "start of the second step")
    wait_until(lambda: len(product.site.open_sessions()) == 2, 20, "end of the first's session")
    product.cluster.run("scancel", f"{job.id}.1")
    wait_until((job.folder / "both-are-over").exists, 20, "end of the second step")
    wait_until(lambda: len(product.site.open_sessions()) == 1, 20, "end of its session")
    held = [each["id"] for each in product.site.sessions() if each["backend_name"] == SHERBROOKE]
    assert product.site.open_sessions() == held
    finish(job)

    assert job.wait().state == "COMPLETED"
    assert product.sessions_served() == [SHERBROOKE, "ibm_brisbane", "ibm_brisbane"]


def test_each_srun_from_a_shell_of_salloc_acquires(product: Product):
    script = f"{PRINT_RESOURCES}; srun {PRINT_LINE}; srun --export=NONE {PRINT_LINE}"
    done = product.cluster.run("salloc", "--qpu=ibm_sherbrooke", "bash", "-c", script)

    assert done.stdout.split() == [OF_SHERBROOKE] * 2
    assert product.sessions_served() == ["ibm_sherbrooke"] * 2


def test_salloc_without_a_shell_says_that_it_gives_nothing(product: Product):
    done = product.cluster.run("salloc", "--no-shell", "--qpu=ibm_sherbrooke")
    [job_id] = product.cluster.queue()
    warning = "--qpu has no effect with salloc --no-shell: give it to each srun --jobid=ID"
    assert warning in done.stderr

    without = product.srun(f"--jobid={job_id}", "bash", "-c", PRINT_RESOURCES)
    having = product.srun(f"--jobid={job_id}", "--qpu=ibm_sherbrooke", *shlex.split(PRINT_LINE))

    assert (without.stdout, having.stdout.strip()) == ("", OF_SHERBROOKE)
    product.cluster.cancel_all()
    assert product.sessions_served() == ["ibm_sherbrooke"]


def test_job_on_a_node_without_the_plugin_runs_without_qpus(product: Product):
    script = "printenv SLURM_JOB_QPU_RESOURCES; srun printenv SLURM_JOB_QPU_RESOURCES; true"
    job = product.submit(script, "--qpu=ibm_sherbrooke", "--hold")
    product.cluster.write_plugstack()
    product.cluster.run("scontrol", "release", str(job.id))
    result = job.wait()

    assert (result.state, result.stdout) == ("COMPLETED", "")
    assert product.sessions_served() == []


def test_interactive_step_acquires_for_all_that_run_in_it_or_leaves_it_to_these(product: Product):
    """On all nodes, with and without QPUs of its own, also for several components."""
    qpu = f"--qpu={SHERBROOKE}"

    def steps(*of_each: str) -> str:
        return "".join(f"\nsrun --overlap {options} {PRINT_LINE}" for options in of_each)

    everywhere = steps("", "--export=NONE", "--export=HOME", "--nodes=1 --nodelist=n2")
    for script, options, printed, sessions in (
        (PRINT_LINE + everywhere, (qpu, "--nodes=2"), [OF_SHERBROOKE] * 8, 1),
        (steps("--qpu=FRESNEL"), (), ["FRESNEL;pasqal-cloud"], 0),
        (
            PRINT_LINE + steps("", "--export=NONE"),
            (qpu, "--qpu-hold=step"),
            [";", OF_SHERBROOKE, OF_SHERBROOKE],
            2,
        ),
        (
            steps("--het-group=0,1", "--het-group=1"),
            (qpu, "--ntasks=1", ":", "--ntasks=1"),
            [OF_SHERBROOKE] * 3,
            1,
        ),
    ):
        product.site.reset()
        done = salloc(product, script, *options)
        assert (done.returncode, done.stdout.split()) == (0, printed), options
        assert product.sessions_served() == [SHERBROOKE] * sessions, options


def test_interactive_step_is_not_told_again_of_a_qpu_that_is_away(product: Product):
    product.write_plugstack(product.publish_catalog(SHERBROOKE))
    done = salloc(product, f"srun --overlap {PRINT_LINE}", f"--qpu={SHERBROOKE}")

    assert done.stdout == f"{OF_SHERBROOKE}\n"
    assert done.stderr.count(f"{SHERBROOKE} is paused: the backend is maintenance") == 1


def test_interactive_step_that_can_have_no_qpu(product: Product):
    done = salloc(product, "echo started", "--qpu=ibm_paused")

    assert (done.returncode, done.stdout) == (1, "")
    assert "QPU ibm_paused: not accessible" in done.stderr
