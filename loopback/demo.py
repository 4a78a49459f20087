# SPDX-License-Identifier: GPL-3.0-or-later
"""`make demo`: a job with two QPUs on a Slurm cluster of its own, told step by step.

Everything runs on loopback in one folder, and nothing of it is left at the end.
"""

import shutil
import tempfile
from pathlib import Path

from loopback.cluster import SlurmCluster
from loopback.installation import Installation
from loopback.site import Site

USER = "nobody"

SCRIPT = """\
#!/bin/bash
#SBATCH --job-name=sampler_job
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --time=5
#SBATCH --qpu=ibm_torino,ibm_sherbrooke

echo "variables of the job:"
env | grep -E 'QPU|QRMI' | sed -E 's/((KEY|TOKEN|CRN)[^=]*)=.*/\\1=****/' | sort
echo
echo "the same in a step:"
srun printenv QRMI_JOB_QPU_RESOURCES QRMI_JOB_QPU_TYPES
"""


def main() -> None:
    """Run the demonstration; raise if a part of it fails."""
    folder = Path(tempfile.mkdtemp(prefix="spank-qrmi-demo-", dir="/tmp"))
    folder.chmod(0o755)
    installation = Installation(folder)
    try:
        _step("install the plugin and its worker (make install)")
        print(installation.make("install"), end="")
        with Site(folder) as site, SlurmCluster(folder / "cluster") as cluster:
            _step(f"a simulated QPU site answers at {site.url}, a Slurm cluster is up")
            line = f"optional {installation.plugin} {site.config_path} --state-dir={folder}/state"
            cluster.write_plugstack(line)
            print(f"plugstack.conf: {line}")
            _step("its users see the option (sbatch --help)")
            print(_plugin_options(cluster))
            _run_job(cluster)
            _show_sessions(site)
        _step("take everything away again (make uninstall)")
        print(installation.make("uninstall"), end="")
    finally:
        shutil.rmtree(folder)
    _step("done: nothing is left behind")


def _step(text: str) -> None:
    print(f"\n== {text}", flush=True)


def _plugin_options(cluster: SlurmCluster) -> str:
    text = cluster.run("sbatch", "--help").stdout
    return next(line for line in text.splitlines() if "--qpu" in line)


def _run_job(cluster: SlurmCluster) -> None:
    _step(f"user {USER} submits this script with sbatch")
    print(SCRIPT)
    job = cluster.submit(SCRIPT, user=USER)
    result = job.wait()
    _step(f"job {job.id} on node {result.nodes}: {result.state}; its output")
    print(result.stdout + result.stderr, end="")
    if result.state != "COMPLETED":
        message = f"the job ended as {result.state}"
        raise SystemExit(message)


def _show_sessions(site: Site) -> None:
    site.wait_until_released()
    _step("the sessions of the Runtime service, opened for the job and closed at its end")
    for session in site.sessions():
        seconds = session["closed_at"] - session["created_at"]
        print(
            f"{session['backend_name']}: {session['mode']} session of at most "
            f"{session['max_ttl']} s, {session['state']} after {seconds:.1f} s"
        )


if __name__ == "__main__":
    main()
