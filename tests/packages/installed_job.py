# SPDX-License-Identifier: GPL-3.0-or-later
"""A program: a QPU job of a user on a loopback cluster, by the installed package's example line.

Prints how it ended as JSON. It leaves no file but the node's record of what is held.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from loopback.cluster import SlurmCluster
from loopback.site import Site
from loopback.waiting import wait_until

EXAMPLE = Path("/etc/slurm/plugstack.conf.d/spank_qrmi.conf.example")
COMMAND = "/usr/sbin/spank-qrmi"


def is_forgotten() -> bool:
    subprocess.run([COMMAND, "release", "--orphaned"], check=True, stdout=subprocess.DEVNULL)
    return not list(Path("/var/lib/spank_qrmi").glob("*.json"))


def what_is_not_right(cluster: SlurmCluster) -> list[str]:
    """Return what the command finds of an installation with which jobs have run."""
    # slurmd is to know the line that was written after its start.
    cluster.restart_slurmd("n1")
    done = subprocess.run(
        [COMMAND, "check", "--json", "ibm_torino", "ibm_sherbrooke"],
        env=cluster.environment,
        check=False,
        stdout=subprocess.PIPE,
    )
    return [
        f"{each['check']}: {each['text']}"
        for each in json.loads(done.stdout)["findings"]
        if each["verdict"] != "right"
    ]


def main() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with Site(folder) as site, SlurmCluster(folder / "cluster", nodes=1) as cluster:
            [line] = re.findall(r"(?m)^optional .*", EXAMPLE.read_text())
            cluster.write_plugstack(
                line.replace("/etc/slurm/qrmi_config.json", str(site.config_path))
            )
            job = cluster.submit(
                "printenv SLURM_JOB_QPU_RESOURCES",
                "--qpu=ibm_torino,ibm_sherbrooke",
                user="nobody",
            )
            result = job.wait()
            site.wait_until_released()
            cluster.wait_for_empty_queue()
            # What the service has only agreed to close is looked at, as the timer would.
            wait_until(is_forgotten, 60, "empty journal")
            ended = {
                "state": result.state,
                "output": result.stdout + result.stderr,
                "sessions": len(site.sessions()),
                "not right": what_is_not_right(cluster),
                "help": "--qpu=names" in cluster.run("sbatch", "--help").stdout,
            }
    json.dump(ended, sys.stdout)


if __name__ == "__main__":
    main()
