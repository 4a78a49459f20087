# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin spank_ibm_qrun live: options, variables of jobs and tasks, log lines, refusals."""

import uuid

from loopback.job import parse_environment
from spank_qrmi.clients import qrun_variables as names
from tests.slurm.both_ways import qrun_both_ways, taking_turns
from tests.slurm.product import readable_lines
from tests.slurm.qrun_product import BACKEND, OPTIONS, QrunProduct, qrun_variables
from tests.slurm.test_footprint import libraries_of

HELP = """
Options provided by plugins:
      --q-backend=name        Name of Qiskit backend.
      --q-primitive=type      Qiskit primitive type(sampler or estimator).
"""
COUNT_ERROR = (
    "--q-backend: 8 arguments are needed in this order, got 9: APPID_CLIENT_ID APPID_SECRET "
    "DAAPI_ENDPOINT AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY S3_ENDPOINT S3_BUCKET S3_REGION; or "
    "--credentials=FILE: correct the line of spank_ibm_qrun.so in plugstack.conf; "
    "spank-qrmi check, as root on this node, says more"
)
PRINT_ID = "printenv IBMQRUN_JOB_ID"


def of_job(product: QrunProduct, text: str, seconds: int) -> dict[str, str]:
    """Return all variables of a task, whose own id is as printed."""
    return {
        **product.values,
        names.BACKEND: BACKEND,
        names.PRIMITIVE: "sampler",
        names.TIMEOUT_SECONDS: str(seconds),
        names.JOB_ID: qrun_variables(text)[names.JOB_ID],
    }


def test_variables_of_jobs(qrun_product: QrunProduct):
    cases = {
        ("--time=5",): 300,
        ("--time=8-0",): 604800,
        ("--time=UNLIMITED",): 604800,
        ("--time=5", "--export=NONE"): 300,
        ("--time=5", "--export=HOME"): 300,
    }
    jobs = {options: qrun_product.submit("env -0", *options) for options in cases}
    script = "#!/bin/bash\n#SBATCH --q-backend=ibm_x\n#SBATCH --q-primitive=estimator\nenv -0\n"
    of_script = qrun_product.cluster.submit(script)

    for options, job in jobs.items():
        result = job.wait()
        expected = of_job(qrun_product, result.stdout, cases[options])
        assert qrun_variables(result.stdout) == expected, options
        assert uuid.UUID(expected[names.JOB_ID]).version == 4, options
        assert (result.state, result.stderr) == ("COMPLETED", ""), options
    found = qrun_variables(of_script.wait().stdout)
    assert (found[names.BACKEND], found[names.PRIMITIVE]) == ("ibm_x", "estimator")
    for command, *step in (("srun",), ("salloc", "srun")):
        done = qrun_product.cluster.run(command, *OPTIONS, "--time=5", *step, "env", "-0")
        expected = of_job(qrun_product, done.stdout, 300)
        assert qrun_variables(done.stdout) == expected, command


def test_job_without_the_options_has_the_credentials_only_with_always(qrun_product: QrunProduct):
    job = qrun_product.cluster.submit("env -0; srun env -0")
    assert qrun_variables(job.wait().stdout) == {}
    assert [line for line in qrun_product.our_lines(job) if "setenv" in line] == []

    qrun_product.write_plugstack("--always")
    plain = qrun_product.cluster.submit("env -0 >env-plain")
    assert plain.wait().state == "COMPLETED"
    printed = (plain.folder / "env-plain").read_text()
    assert qrun_variables(printed) == qrun_product.values
    asked = qrun_product.run_job("env -0", "--time=5")
    assert qrun_variables(asked.stdout) == of_job(qrun_product, asked.stdout, 300)


def test_login_node_needs_no_arguments(qrun_product: QrunProduct):
    qrun_product.write_plugstack(eight=False)

    for command in ("sbatch", "srun", "salloc"):
        assert HELP in qrun_product.cluster.run(command, "--help").stdout, command
    job = qrun_product.submit("env -0", "--hold", "--time=5")
    assert job.submit_stderr == ""
    # The compute nodes' line; a cluster on one machine has one file for both.
    qrun_product.write_plugstack()
    qrun_product.cluster.run("scontrol", "release", str(job.id))
    printed = job.wait().stdout
    assert qrun_variables(printed) == of_job(qrun_product, printed, 300)


@taking_turns("qrun_product", ("mode",), [("optional",), ("required",)])
def test_wrong_number_of_arguments(qrun_product: QrunProduct, mode: str):
    qrun_product.write_plugstack("ninth", mode=mode)
    job = qrun_product.submit("echo started")
    result = job.wait()

    assert (result.state, result.exit_code, result.stdout) == ("FAILED", "1:0", "")
    assert readable_lines(result.stderr) == [COUNT_ERROR]
    assert f"error: spank_ibm_qrun: {COUNT_ERROR}" in qrun_product.our_lines(job)
    plain = qrun_product.cluster.submit("echo started").wait()
    assert (plain.state, plain.stdout, plain.stderr) == ("COMPLETED", "started\n", "")
    step = ("srun", "--ntasks=2", *OPTIONS, "echo", "started")
    done = qrun_product.cluster.run(*step, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count(COUNT_ERROR) == 1


def test_credentials_in_a_file_and_variables_of_the_administrator(qrun_product: QrunProduct):
    path = qrun_product.folder / "credentials.json"
    qrun_product.site.write_qrun_credentials(path)
    qrun_product.write_plugstack(f"--credentials={path}", "--env:SITE=here", eight=False)
    printed = qrun_product.run_job("env -0", "--time=5", user="nobody").stdout

    assert qrun_variables(printed) == of_job(qrun_product, printed, 300)
    assert parse_environment(printed)["SITE"] == "here"


@qrun_both_ways
def test_every_task_and_step_has_an_id_of_its_own(qrun_product: QrunProduct):
    script = f"{PRINT_ID}; srun --ntasks=4 {PRINT_ID}; srun --nodes=2 --ntasks=4 {PRINT_ID}"
    result = qrun_product.run_job(script, "--nodes=2", "--ntasks=4")

    found = result.stdout.split()
    assert (result.state, len(found), len(set(found))) == ("COMPLETED", 9, 9)
    assert {uuid.UUID(each).version for each in found} == {4}


def test_slurmstepd_has_no_python(qrun_product: QrunProduct):
    job = qrun_product.start_job()
    [stepd] = qrun_product.cluster.stepd_pids(job.id)
    libraries = libraries_of(stepd)
    job.cancel()
    assert qrun_product.installation.qrun_plugin.name in libraries
    assert [name for name in libraries if "python" in name.lower()] == []
