# SPDX-License-Identifier: GPL-3.0-or-later
"""What slurmd's log says of a job, in the form of the plugin's documentation, and RUST_LOG."""

import re

from tests.slurm.product import Product

PRINT_LEVEL = 'printf "%s " "$RUST_LOG"'


def entered(hook: str) -> str:
    return f"debug:  spank_qrmi_c(PID, 0): -> slurm_spank_{hook} argc=4 remote=1"


def left(hook: str) -> str:
    return f"debug:  spank_qrmi_c(PID,0): <- slurm_spank_{hook} rc=0"


def test_life_of_a_job_with_the_option_and_without(product: Product):
    job = product.submit("true", "--qpu=ibm_sherbrooke,ibm_torino,FRESNEL,nowhere")
    job.wait()
    plain = product.submit("true")
    plain.wait()

    arguments = [
        f"debug:  spank_qrmi_c: argv[0] = [{product.site.config_path}]",
        f"debug:  spank_qrmi_c: argv[1] = [--state-dir={product.state_directory}]",
        f"debug:  spank_qrmi_c: argv[2] = [--munge-socket={product.cluster.munge_socket}]",
        f"debug:  spank_qrmi_c: argv[3] = [--usage-file={product.usage_path}]",
    ]
    expected = [
        entered("init"),
        left("init"),
        "debug:  spank_qrmi_c: --qpu=[ibm_sherbrooke,ibm_torino,FRESNEL,nowhere]",
        entered("init_post_opt"),
        "debug:  spank_qrmi_c, fffffffb",
        *arguments,
        "debug:  spank_qrmi_c: name(ibm_sherbrooke), type(1) found in qrmi_config",
        "debug:  spank_qrmi_c: name(ibm_torino), type(0) found in qrmi_config",
        "debug:  spank_qrmi_c: name(FRESNEL), type(2) found in qrmi_config",
        left("init_post_opt"),
        entered("task_init"),
        left("task_init"),
        entered("exit"),
        # The worker that releases is another one.
        *arguments,
        left("exit"),
    ]
    of_job, of_plain = (
        [re.sub(r"spank_qrmi_c\(\d+", "spank_qrmi_c(PID", line) for line in product.our_lines(each)]
        for each in (job, plain)
    )
    assert [line for line in of_job if line in expected] == expected
    # At a level above these, which Slurm does not name.
    acquired = [line for line in of_job if line.startswith("spank_qrmi_c: acquired name(")]
    assert len(acquired) == 3
    assert of_plain == [
        line
        for hook in ("init", "init_post_opt", "task_init", "exit")
        for line in (entered(hook), left(hook))
    ]


def test_level_for_qrmi(product: Product):
    script = f"""
        {PRINT_LEVEL}
        srun bash -c '{PRINT_LEVEL}'
        srun --quiet bash -c '{PRINT_LEVEL}'
        srun --verbose bash -c '{PRINT_LEVEL}' 2>/dev/null
        srun -vv bash -c '{PRINT_LEVEL}' 2>/dev/null
        srun -vvv bash -c '{PRINT_LEVEL}' 2>/dev/null
    """

    result = product.run_job(script, "--qpu=FRESNEL")

    assert result.stdout.split() == ["info", "info", "error", "debug", "trace", "trace"]
    for options, level in (((), "info"), (("--quiet",), "error"), (("-vv",), "trace")):
        done = product.srun(*options, "--qpu=FRESNEL", "bash", "-c", PRINT_LEVEL)
        assert done.stdout == f"{level} ", options
