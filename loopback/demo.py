# SPDX-License-Identifier: GPL-3.0-or-later
"""`make demo`: jobs with QPUs on a Slurm cluster of its own, told step by step.

Everything runs on loopback in one folder, and nothing of it is left at the end. `KEEP=1 make demo`
leaves it up until `make demo-stop`.
"""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loopback.clients import CACHE, install_client, is_installed
from loopback.cluster import SlurmCluster
from loopback.errors import ClusterError
from loopback.installation import REPOSITORY, Installation
from loopback.job import Job
from loopback.keeper import Keeper, end_in_order_at
from loopback.lua_plugins import LUA_SETTINGS, install_lua_plugins
from loopback.monitor import MonitorCommand
from loopback.site import Site
from loopback.waiting import wait_until
from loopback.worker_server import worker_server
from spank_qrmi.catalog.license_names import license_name_of

# The release that serves all types of the simulated site.
CLIENT = "0.18.0"
JOB_SECONDS = 600
WAIT_SECONDS = 60
QPU = "ibm_sherbrooke"


@dataclass(frozen=True)
class Demo:
    """What is up while the demonstration runs; `folder` holds all of it."""

    folder: Path
    site: Site
    cluster: SlurmCluster
    path: str
    """The PATH of somebody who uses the client."""

    @property
    def examples(self) -> Path:
        """A copy of the examples, where jobs may leave files."""
        return self.folder / "examples"

    def run(self, *command: str) -> str:
        """Return what a command says to somebody who has these in his PATH."""
        return self.cluster.run(*command, check=False, env={"PATH": self.path}).stdout


def main(action: str, lock: str = str(REPOSITORY / "build" / "demo.lock")) -> int:
    """Run, keep or stop the demonstration; return the exit status."""
    keeper = Keeper(Path(lock))
    try:
        if action == "stop":
            print("the demonstration has ended" if keeper.stop() else "no demonstration is up")
        elif action == "keep":
            return keeper.start([sys.executable, "-m", "loopback.demo", "kept", lock])
        elif action == "kept":
            with keeper.claim(), _demo() as demo:
                _tell(demo)
                _explain(demo)
                keeper.keep()
        else:
            end_in_order_at(signal.SIGHUP, signal.SIGTERM, status=1)
            with _demo() as demo:
                _tell(demo)
            _step("done: nothing is left behind")
    except ClusterError as error:
        print(f"make demo: {error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def _demo() -> Iterator[Demo]:
    """Have everything up, and gone afterwards."""
    client = _client()
    folder = Path(tempfile.mkdtemp(prefix="spank-qrmi-demo-", dir="/tmp"))
    folder.chmod(0o755)
    installation = Installation(folder)
    try:
        _step("install the plugins, their worker and the commands (make install)")
        print(installation.make("install"), end="")
        shutil.copytree(REPOSITORY / "examples", folder / "examples")
        with Site(folder) as site, worker_server(installation, folder) as workers:
            credentials = folder / "qrun.json"
            site.write_qrun_credentials(credentials)
            common = f"--state-dir={folder}/state --worker-server={workers.path}"
            catalog = folder / "qpus"
            catalog.mkdir()
            files = f"--usage-file={folder}/usage/usage.jsonl --catalog={catalog}"
            lines = (
                f"optional {installation.plugin} {site.config_path} {common} {files}",
                f"optional {installation.qrun_plugin} --credentials={credentials} {common}",
            )
            path = f"{client}:{installation.command_directory}:{os.environ['PATH']}"
            with _cluster(folder / "cluster", site, lines) as cluster:
                options = ("--interval=2", f"--publish={catalog}")
                with MonitorCommand(cluster, installation, folder, options).running():
                    _step(f"a simulated QPU site answers at {site.url}, a Slurm cluster is up")
                    print("plugstack.conf:", *lines, sep="\n")
                    print(
                        "slurm.conf:",
                        *(f"{key}={value}" for key, value in _settings(site).items()),
                        sep="\n",
                    )
                    yield Demo(folder, site, cluster, path)
            _step("take everything away again (make uninstall)")
        print(installation.make("uninstall"), end="")
    finally:
        shutil.rmtree(folder)


def _cluster(folder: Path, site: Site, lines: Sequence[str]) -> SlurmCluster:
    """Return a cluster with a licence for each QPU, for which Slurm asks itself."""
    folder.mkdir()
    install_lua_plugins(folder)
    return SlurmCluster(folder, debug="debug2", plugstack=lines, settings=_settings(site))


def _settings(site: Site) -> dict[str, str]:
    names = sorted({license_name_of(each["name"]) for each in site.resources()})
    return {"Licenses": ",".join(names), **LUA_SETTINGS}


def _client() -> Path:
    """Return the folder with the Python of the users' programs."""
    if not is_installed(CLIENT):
        shown = CACHE.relative_to(REPOSITORY)
        _step(f"install the public client qrmi with Qiskit and Pulser, once, in {shown} (700 MB)")
    return install_client(CLIENT)


def _tell(demo: Demo) -> None:
    _step("its users see the options (sbatch --help)")
    print(_plugin_options(demo.cluster))
    _run_job(demo, "two_qpus.sh")
    _show_sessions(demo.site)
    _run_job(demo, "qrun.sh")
    _show_quantum_jobs(demo.site)
    _show_waiting_job(demo)


def _step(text: str) -> None:
    print(f"\n== {text}", flush=True)


def _plugin_options(cluster: SlurmCluster) -> str:
    text = cluster.run("sbatch", "--help").stdout
    return text.partition("Options provided by plugins:\n")[2].partition("\n\n")[0]


def _run_job(demo: Demo, name: str) -> None:
    script = (demo.examples / name).read_text()
    _step(f"a user submits examples/{name}")
    print(script)
    job = demo.cluster.submit(script, f"--chdir={demo.examples}", env={"PATH": demo.path})
    print(f"job {job.id} is submitted; its circuits run in the simulated site …", flush=True)
    _show_end(job)


def _show_end(job: Job) -> None:
    result = job.wait(JOB_SECONDS)
    _step(f"job {job.id} on node {result.nodes}: {result.state}; its output")
    print(result.stdout + result.stderr, end="")
    if result.state != "COMPLETED":
        message = f"job {job.id} ended as {result.state}"
        raise ClusterError(message)


def _show_sessions(site: Site) -> None:
    site.wait_until_released()
    _step("the sessions of the Runtime service, opened for the job and closed at its end")
    for session in site.sessions():
        seconds = session["closed_at"] - session["created_at"]
        print(
            f"{session['backend_name']}: {session['mode']} session of at most "
            f"{session['max_ttl']} s, {session['state']} after {seconds:.1f} s"
        )


def _show_quantum_jobs(site: Site) -> None:
    _step("the quantum job of qrun, deleted from the service once its result was safe")
    print(f"jobs that are left on Direct Access: {len(site.quantum_jobs())}")


def _show_waiting_job(demo: Demo) -> None:
    demo.site.set_backend_status(QPU, "maintenance")
    _step(f"{QPU} goes into maintenance; `spank-qrmi monitor` sees it and withholds its licence")
    print(wait_until(lambda: _reservation(demo), WAIT_SECONDS, "withheld licence"), end="")
    _step("users see it too (spank-qrmi qpus)")
    wait_until(lambda: "paused" in demo.run("spank-qrmi", "qpus", QPU), WAIT_SECONDS, "catalog")
    print(demo.run("spank-qrmi", "qpus", QPU, "FRESNEL"), end="")
    _step(f"a job with --qpu={QPU} waits in the queue for its licence, an ordinary job runs")
    waiting = demo.cluster.submit("echo $SLURM_JOB_QPU_RESOURCES", f"--qpu={QPU}")
    ordinary = demo.cluster.submit("sleep 600")
    ordinary.wait_for_state("RUNNING")
    wait_until(lambda: waiting.details()["Reason"] == "Licenses", WAIT_SECONDS, "waiting job")
    print(waiting.submit_stderr + demo.run("squeue", "--format=%.6i %.10T %.12r %W"), end="")
    ordinary.cancel()
    demo.site.set_backend_status(QPU, "active")
    _step(f"{QPU} is back")
    _show_end(waiting)


def _reservation(demo: Demo) -> str:
    """Return what scontrol tells of the monitor's reservation, without what says nothing here."""
    shown = demo.cluster.run("scontrol", "--oneliner", "show", "reservations").stdout
    wanted = ("ReservationName=", "Users=", "Licenses=", "State=")
    licenses = f"Licenses={license_name_of(QPU)}:"
    found = (line.split() for line in shown.splitlines() if licenses in line)
    kept = ([word for word in words if word.startswith(wanted)] for words in found)
    return "".join(f"{' '.join(words)}\n" for words in kept)


def _explain(demo: Demo) -> None:
    """Tell how to use what is kept."""
    slurm_conf = demo.cluster.environment["SLURM_CONF"]
    _step("cluster and simulator stay up until `make demo-stop`; to submit jobs of your own:")
    print(
        f"export SLURM_CONF={slurm_conf}\n"
        f"export PATH={demo.path.removesuffix(os.environ['PATH'])}$PATH\n"
        f"cd {demo.examples}\n"
        "sbatch sampler.sh\n"
        "\n"
        f"QPUs and credentials   {demo.site.config_path}\n"
        "QPUs as users see them spank-qrmi qpus\n"
        f'a QPU away, or active  curl -d \'{{"status": "maintenance"}}\' '
        f"{demo.site.url}/_simulator/backends/{QPU}\n"
        f"sessions and jobs      curl -s {demo.site.url}/_simulator/state\n"
        f"logs                   {demo.cluster.folder}/log",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
