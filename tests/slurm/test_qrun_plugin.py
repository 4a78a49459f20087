# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin spank_ibm_qrun live: options, variables of jobs and tasks, log lines, refusals."""

import re
import uuid

import pytest

from loopback.errors import SubmitError
from loopback.job import parse_environment
from loopback.waiting import wait_until
from spank_qrmi.clients import qrun_variables as names
from spank_qrmi_simulator.site import API_KEY, APP_ID_SECRET, SERVICE_CRN
from tests.slurm.both_ways import qrun_both_ways, taking_turns
from tests.slurm.product import qpu_variables
from tests.slurm.qrun_product import BACKEND, OPTIONS, QrunProduct, qrun_variables, readable_lines
from tests.slurm.test_footprint import libraries_of

HELP = """
Options provided by plugins:
      --q-backend=name        Name of Qiskit backend.
      --q-primitive=type      Qiskit primitive type(sampler or estimator).
"""
COUNT_ERROR = (
    "--q-backend: 8 arguments are needed in this order, got {count}: APPID_CLIENT_ID APPID_SECRET "
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


def test_help_shows_the_options(qrun_product: QrunProduct):
    for command in ("sbatch", "srun", "salloc"):
        assert HELP in qrun_product.cluster.run(command, "--help").stdout, command


def test_option_that_can_never_work_is_refused_at_submission(qrun_product: QrunProduct):
    with pytest.raises(SubmitError, match="--q-primitive must be sampler or estimator"):
        qrun_product.cluster.submit("true", "--q-primitive=other")
    with pytest.raises(SubmitError, match="--q-backend "):
        qrun_product.cluster.submit("true", "--q-backend=a\nb")
    assert qrun_product.cluster.queue() == []


def test_variables_of_batch_jobs(qrun_product: QrunProduct):
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


def test_variables_without_a_batch_job(qrun_product: QrunProduct):
    for command, *step in (("srun",), ("salloc", "srun")):
        done = qrun_product.cluster.run(command, *OPTIONS, "--time=5", *step, "env", "-0")
        expected = of_job(qrun_product, done.stdout, 300)
        assert qrun_variables(done.stdout) == expected, command


def test_users_values_do_not_replace_the_sites(qrun_product: QrunProduct):
    own = {names.DAAPI_ENDPOINT: "http://127.0.0.1:9", names.JOB_ID: "mine"}
    found = qrun_variables(qrun_product.submit("env -0", env=own).wait().stdout)

    assert found[names.DAAPI_ENDPOINT] == qrun_product.values[names.DAAPI_ENDPOINT]
    assert found[names.JOB_ID] != "mine"


def test_job_without_the_options_has_no_credentials(qrun_product: QrunProduct):
    job = qrun_product.cluster.submit("env -0; srun env -0")

    assert qrun_variables(job.wait().stdout) == {}
    assert [line for line in qrun_product.our_lines(job) if "setenv" in line] == []


def test_always_gives_the_credentials_to_every_job(qrun_product: QrunProduct):
    qrun_product.write_plugstack("--always")

    plain = qrun_product.cluster.submit("env -0 >env-plain")
    assert plain.wait().state == "COMPLETED"
    printed = (plain.folder / "env-plain").read_text()
    assert qrun_variables(printed) == qrun_product.values
    asked = qrun_product.submit("env -0", "--time=5").wait()
    assert qrun_variables(asked.stdout) == of_job(qrun_product, asked.stdout, 300)


def test_login_node_needs_no_arguments(qrun_product: QrunProduct):
    qrun_product.write_plugstack(eight=False)

    assert HELP in qrun_product.cluster.run("sbatch", "--help").stdout
    job = qrun_product.submit("env -0", "--hold", "--time=5")
    assert job.submit_stderr == ""
    # The compute nodes' line; a cluster on one machine has one file for both.
    qrun_product.write_plugstack()
    qrun_product.cluster.run("scontrol", "release", str(job.id))
    printed = job.wait().stdout
    assert qrun_variables(printed) == of_job(qrun_product, printed, 300)


@taking_turns(
    "qrun_product",
    ("mode", "eight", "more", "count"),
    [("optional", False, ("--always",), 0), ("required", True, ("ninth",), 9)],
)
def test_wrong_number_of_arguments(
    qrun_product: QrunProduct, mode: str, eight: bool, more: tuple[str, ...], count: int
):
    qrun_product.write_plugstack(*more, eight=eight, mode=mode)
    job = qrun_product.submit("echo started")
    result = job.wait()

    error = COUNT_ERROR.format(count=count)
    assert (result.state, result.exit_code, result.stdout) == ("FAILED", "1:0", "")
    assert readable_lines(result.stderr) == [error]
    assert f"error: spank_ibm_qrun: {error}" in qrun_product.our_lines(job)
    plain = qrun_product.cluster.submit("echo started").wait()
    assert (plain.state, plain.stdout, plain.stderr) == ("COMPLETED", "started\n", "")


def test_wrong_number_of_arguments_in_a_step(qrun_product: QrunProduct):
    qrun_product.write_plugstack(eight=False)
    done = qrun_product.cluster.run("srun", "--ntasks=2", *OPTIONS, "echo", "started", check=False)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count(COUNT_ERROR.format(count=0)) == 1


@qrun_both_ways
def test_lines_in_the_log(qrun_product: QrunProduct):
    job = qrun_product.submit("true")
    job.wait()

    lines = qrun_product.our_lines(job)
    argc = 8 + len(qrun_product.common_arguments)
    first = lines.index(f"debug:  spank_ibm_qrun: -> slurm_spank_task_init argc={argc} remote=1")
    last = lines.index("debug:  spank_ibm_qrun: <- slurm_spank_task_init rc=0")
    secret = {1, 3, 4}
    arguments = ["****" if at in secret else value for at, value in _numbered(qrun_product)]
    variables = zip(names.SITE_VARIABLES, arguments, strict=True)
    told = [line.removeprefix("debug:  spank_ibm_qrun: ") for line in lines[first + 1 : last]]
    script = re.compile(r"job_argv\[0\] = \[/.*/slurm_script\]")
    assert [("(script)" if script.fullmatch(line) else line) for line in told] == [
        *(f"argv[{at}] = [{value}]" for at, value in enumerate(arguments)),
        *(f"argv[{at}] = [{each}]" for at, each in enumerate(qrun_product.common_arguments, 8)),
        "S_JOB_UID [0]",
        f"S_JOB_ID [{job.id}]",
        "S_JOB_ARGV argc=1",
        "(script)",
        *(f"setenv {name}={value}" for name, value in variables),
        f"setenv IBMQRUN_BACKEND={BACKEND}",
        "setenv IBMQRUN_PRIMITIVE=sampler",
        "setenv IBMQRUN_TIMEOUT_SECONDS=604800",
        told[-1],
    ]
    assert told[-1].startswith("setenv IBMQRUN_JOB_ID=")


def _numbered(product: QrunProduct) -> list[tuple[int, str]]:
    return list(enumerate(product.site.qrun_arguments()))


def test_iam_in_the_arguments(qrun_product: QrunProduct):
    iam = f"{qrun_product.site.url}/iam"
    qrun_product.write_plugstack(
        f"--iam-apikey={API_KEY}", f"--service-crn={SERVICE_CRN}", f"--iam-endpoint={iam}"
    )
    job = qrun_product.submit("env -0", "--time=5")
    printed = job.wait().stdout

    assert qrun_variables(printed) == {
        **of_job(qrun_product, printed, 300),
        names.IAM_APIKEY: API_KEY,
        names.SERVICE_CRN: SERVICE_CRN,
        names.IAM_ENDPOINT: iam,
    }
    said = "\n".join(qrun_product.our_lines(job))
    assert "argv[8] = [--iam-apikey=****]" in said
    assert f"setenv IBMQRUN_IAM_ENDPOINT={iam}" in said
    secrets = (API_KEY, SERVICE_CRN, APP_ID_SECRET, qrun_product.values[names.AWS_ACCESS_KEY_ID])
    assert [secret for secret in secrets if secret in said] == []


def test_credentials_in_a_file_and_variables_of_the_administrator(qrun_product: QrunProduct):
    path = qrun_product.write_credentials()
    qrun_product.write_plugstack(f"--credentials={path}", "--env:SITE=here", eight=False)
    printed = qrun_product.submit("env -0", "--time=5", user="nobody").wait().stdout

    assert qrun_variables(printed) == of_job(qrun_product, printed, 300)
    assert parse_environment(printed)["SITE"] == "here"


@qrun_both_ways
def test_every_task_and_step_has_an_id_of_its_own(qrun_product: QrunProduct):
    script = f"{PRINT_ID}; srun --ntasks=4 {PRINT_ID}; srun --nodes=2 --ntasks=4 {PRINT_ID}"
    result = qrun_product.submit(script, "--nodes=2", "--ntasks=4").wait()

    found = result.stdout.split()
    assert (result.state, len(found), len(set(found))) == ("COMPLETED", 9, 9)
    assert {uuid.UUID(each).version for each in found} == {4}


def test_slurmstepd_has_no_python(qrun_product: QrunProduct):
    jobs = [qrun_product.cluster.submit("echo here; sleep 60", *each) for each in ((), OPTIONS)]
    for job in jobs:
        wait_until(lambda job=job: job.stdout, 20, "start of the script")  # type: ignore[misc]
        [stepd] = qrun_product.cluster.stepd_pids(job.id)
        libraries = libraries_of(stepd)
        assert qrun_product.installation.qrun_plugin.name in libraries
        assert [name for name in libraries if "python" in name.lower()] == []
    for job in jobs:
        job.cancel()


def test_both_plugins_in_one_job(qrun_product: QrunProduct):
    installation, site = qrun_product.installation, qrun_product.site
    arguments = (
        (installation.plugin, site.config_path, *qrun_product.common_arguments),
        (installation.qrun_plugin, *site.qrun_arguments(), *qrun_product.common_arguments),
    )
    lines = [" ".join(["optional", *map(str, each)]) for each in arguments]
    qrun_product.cluster.write_plugstack(*lines)
    result = qrun_product.submit("env -0", "--time=5", "--qpu=ibm_sherbrooke").wait()

    assert (result.state, result.stderr) == ("COMPLETED", "")
    assert qrun_variables(result.stdout) == of_job(qrun_product, result.stdout, 300)
    assert qpu_variables(result.stdout)["QRMI_JOB_QPU_RESOURCES"] == "ibm_sherbrooke"
    site.wait_until_released()
    assert [each["closed_how"] for each in site.sessions()] == ["drained"]
