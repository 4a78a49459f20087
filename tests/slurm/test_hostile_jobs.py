# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs whose users try what Slurm's commands let them: large environments and hostile text."""

import os
from collections.abc import Mapping

import pytest

from loopback.errors import SubmitError
from loopback.job import Job, JobResult, parse_environment
from tests.slurm.product import Product

FORGED = "[2026-01-01T00:00:00.000] [999.batch] error: spank_qrmi_c: forged"
# A new line, a terminal's sequence, C1 as a byte and as UTF-8, another line end, an override.
HOSTILE = f"x\n{FORGED}\x1b[2J\udc9b31m\x9b31m\u2028\u202e%s%n%99999d"
OPTION_VARIABLE = "SLURM_SPANK__SLURM_SPANK_OPTION_spank_qrmi_qpu"
# What sbatch itself would set of the option; it hands it on as it stands.
HANDED_ON = "_SLURM_SPANK_OPTION_spank_qrmi_qpu"
ON_ONE_NODE = "--nodelist=n1"
ENDED = "<- slurm_spank_exit"


def run_beside_an_ordinary_job(
    product: Product, script: str, *options: str, env: Mapping[str, str] | None = None
) -> tuple[Job, JobResult]:
    """Run a job and, on the same node, one without a QPU, which must not notice."""
    job = product.submit(script, ON_ONE_NODE, *options, env=env)
    ordinary = product.run_job("echo as ever", ON_ONE_NODE)
    assert (ordinary.state, ordinary.stdout, ordinary.stderr) == ("COMPLETED", "as ever\n", "")
    return job, job.wait()


def lines_with(product: Product, text: str) -> list[str]:
    """Return each line of the nodes' logs that has the text; only a line feed ends a line."""
    logs = [path.read_bytes() for path in (product.cluster.folder / "log").glob("slurmd-*")]
    everything = "\n".join(log.decode("utf-8", "surrogateescape") for log in logs)
    return [line for line in everything.split("\n") if text in line]


def test_many_and_large_variables(product: Product):
    exported = {f"FRESNEL_QRMI_{number}": "%n" for number in range(255)}
    exported |= {f"nowhere_QRMI_{number}": "%s" for number in range(10_000)}
    # Linux takes 128 KiB.
    exported |= {"FRESNEL_QRMI_LARGE": "x" * 130_000, "nowhere_QRMI_LARGE": "x" * 130_000}

    _, result = run_beside_an_ordinary_job(product, "env -0", "--qpu=FRESNEL", env=exported)

    printed = parse_environment(result.stdout)
    assert (result.state, result.stderr) == ("COMPLETED", "")
    assert exported.items() <= printed.items()
    assert printed["SLURM_JOB_QPU_RESOURCES"] == "FRESNEL"


@pytest.mark.parametrize("size", [200_000, 1_048_576])
def test_value_that_linux_or_slurm_refuses_leaves_no_session(product: Product, size: int):
    # A command cannot inherit it.
    exported = product.folder / "exported"
    names = ("ibm_sherbrooke_QRMI_LARGE", "nowhere_QRMI_LARGE")
    pairs = [*(f"{name}={'x' * size}\0" for name in names), "PATH=/usr/bin:/bin\0"]
    exported.write_text("".join(pairs))
    # From Slurm 26.05 on, the file alone is not enough.
    options = (f"--export-file={exported}", "--export=ALL")
    if "--export-file" not in product.cluster.run("sbatch", "--help").stdout:
        # Slurm 23.11: no other way is known to hand such a value over.
        with pytest.raises(SubmitError, match="unrecognized option '--export-file"):
            product.submit("true", "--qpu=ibm_sherbrooke", *options)
        return

    run_beside_an_ordinary_job(product, "true", "--qpu=ibm_sherbrooke", *options)

    assert product.sessions_served() == ["ibm_sherbrooke"]


def test_hostile_text_forges_no_line(product: Product):
    script = """
        export SLURM_JOB_QPU_TYPES="$HOSTILE"
        show='printf %s "$SLURM_JOB_QPU_TYPES"'
        srun --job-name="$HOSTILE" --qpu=FRESNEL,other bash -c "$show" "$HOSTILE"
    """
    texts = (f"--job-name={HOSTILE}", f"--comment={HOSTILE}")
    exported = {"HOSTILE": HOSTILE, "FRESNEL_QRMI_X": HOSTILE.replace("\udc9b", "")}

    job = product.submit(script, "--qpu=FRESNEL", *texts, env=exported)
    result = job.wait()

    product.cluster.wait_for_log(ENDED, job)
    told = "error: spank_qrmi_c: QPU other: not defined in"
    [line] = [each for each in result.stderr.splitlines() if told in each]
    [logged] = [each for each in lines_with(product, told) if f"[{job.id}.0]" in each]
    for each in (line, logged):
        assert each.endswith("; the step goes on without it")
        assert each.isprintable()
    assert FORGED in result.stdout
    assert [each for each in lines_with(product, FORGED) if each.startswith(FORGED)] == []


def test_stderr_that_nobody_reads_keeps_no_node_busy(product: Product):
    # A reason of its own for each.
    broken = [{"name": f"broken{number}", "type": "sundial"} for number in range(24)]
    product.write_plugstack(config=product.write_config(*broken, product.entry("FRESNEL")))
    names = ",".join(["FRESNEL", *(str(each["name"]) for each in broken)])

    pipe = product.folder / "pipe"
    os.mkfifo(pipe)
    with pipe.open("r+b", buffering=0) as full:
        os.set_blocking(full.fileno(), False)
        while full.write(b"x" * 4096):
            pass
        job = product.submit("true", f"--qpu={names}", f"--error={pipe}")
        # Slurm waits 5 s for each line at error level.
        result = job.wait(timeout_seconds=30)

    assert result.state == "COMPLETED"
    product.cluster.wait_for_log("and 16 more: slurmd's log has them at info level", job)


def test_hostile_option_is_refused_at_submission(product: Product):
    said = "spank_qrmi_c: --qpu holds a control character or bytes that are not UTF-8\n"
    for name in (HOSTILE, "\u202e", "a\x9bb", "\udcff"):
        with pytest.raises(SubmitError) as caught:
            product.submit("true", f"--qpu={name}")
        assert said in str(caught.value)
        with pytest.raises(SubmitError) as caught:
            product.submit("true", env={OPTION_VARIABLE: name})
        assert said in str(caught.value)


@pytest.mark.parametrize("value", [HOSTILE, "x" * 70_000])
def test_hostile_option_that_no_submission_sees_fails_the_job(product: Product, value: str):
    job = product.submit("true", env={HANDED_ON: value})
    result = job.wait()

    assert result.state == "FAILED"
    assert "spank_qrmi_c: --qpu " in result.stderr
    product.cluster.wait_for_log(ENDED, job)
    assert lines_with(product, "failed to process option") == []
    assert [each for each in lines_with(product, FORGED) if each.startswith(FORGED)] == []
    assert max(map(len, product.cluster.log_lines_of(job))) < 4_000
