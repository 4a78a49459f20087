# SPDX-License-Identifier: GPL-3.0-or-later
"""The installed plugin spank_ibm_qrun on a cluster, for one test, and programs that stand for qrun.

A stand-in submits a quantum job as qrun does, under the variables of its task, and then leaves it
behind in one way or another; the job waits for its backend, so it runs until somebody removes it.
"""

from pathlib import Path

from loopback.errors import WaitTimeoutError
from loopback.job import Job, parse_environment
from loopback.waiting import wait_until
from spank_qrmi.clients import qrun_variables as names
from tests.slurm.product import START_SECONDS, Plugin

BACKEND = "ibm_torino"
OPTIONS = (f"--q-backend={BACKEND}", "--q-primitive=sampler")
# The longest clean-up, and the worker's start and end.
REMOVAL_SECONDS = 80.0

MARK = (
    "/usr/bin/python3 -I -c '"
    "import os, socket; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto("
    'b"0", "\\0spank_ibm_qrun/" + os.environ["IBMQRUN_JOB_ID"][:28])'
    "'"
)
"""What lets the step look after a quantum job, in a shell: qrun has submitted one."""

STAND_IN = """\
#!/usr/bin/python3 -I
import base64, json, os, signal, socket, sys, time, urllib.request

def ask(path, body, authorization):
    headers = {"Authorization": authorization, "Content-Type": "application/json"}
    url = os.environ["IBMQRUN_DAAPI_ENDPOINT"] + path
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return opener.open(request, timeout=30).read()

login = os.environ["IBMQRUN_APPID_CLIENT_ID"] + ":" + os.environ["IBMQRUN_APPID_SECRET"]
basic = "Basic " + base64.b64encode(login.encode()).decode()
token = json.loads(ask("/v1/token", {}, basic))["access_token"]
storage = {"type": "s3_compatible", "presigned_url": "http://127.0.0.1:9/x"}
order = {
    "id": os.environ["IBMQRUN_JOB_ID"],
    "backend": os.environ["IBMQRUN_BACKEND"],
    "program_id": os.environ["IBMQRUN_PRIMITIVE"],
    "timeout_secs": int(os.environ["IBMQRUN_TIMEOUT_SECONDS"]),
    "storage": {"input": storage, "results": storage},
}
mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
mark.sendto(b"0", "\\0spank_ibm_qrun/" + order["id"][:28])
ask("/v1/jobs", order, "Bearer " + token)
print(order["id"], os.environ["SLURM_PROCID"], flush=True)
how = sys.argv[1]
if how == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if how == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if how in ("deaf", "stays"):
    time.sleep(1000)
sys.exit(int(how))
"""


class QrunProduct(Plugin):
    """The plugin spank_ibm_qrun with eight arguments."""

    job_options = OPTIONS

    @property
    def values(self) -> dict[str, str]:
        """The site's eight variables, as the plugin sets them."""
        return dict(zip(names.SITE_VARIABLES, self.site.qrun_arguments(), strict=True))

    def write_plugstack(self, *more: str, eight: bool = True, mode: str = "optional") -> None:
        """Write the plugin's line as an administrator does, with more arguments at its end."""
        line = (
            *(mode, str(self.installation.qrun_plugin)),
            *(self.site.qrun_arguments() if eight else ()),
            *(*more, f"--state-dir={self.folder}/journal"),
            *([f"--worker-server={self.server.path}"] if self.server else []),
        )
        self.cluster.write_plugstack(" ".join(line))

    def stand_in(self) -> Path:
        """Write the program that stands for qrun, which a word tells how to end."""
        path = self.folder / "qrun"
        path.write_text(STAND_IN)
        path.chmod(0o755)
        return path

    def hold_jobs(self) -> None:
        """Let the quantum jobs of this test run until somebody cancels them."""
        self.site.set_backend_status(BACKEND, "paused")

    def wait_for_ids(self, job: Job, count: int = 1) -> dict[int, str]:
        """Wait for so many quantum jobs of stand-ins; return their ids by task."""

        def found() -> dict[int, str]:
            pairs = (line.split() for line in job.stdout.splitlines())
            return {int(task): job_id for job_id, task in pairs}

        return wait_until(
            found, START_SECONDS, f"{count} ids", accept=lambda ids: len(ids) == count
        )

    def wait_until_released(self, *kept: str) -> None:
        """Wait until the service has no quantum job but those to be kept, and no worker runs.

        Raises WaitTimeoutError, which shows what the plugin has logged last.
        """
        for remains, expected, what in (
            (self.site.quantum_jobs, [*kept], "end of all other quantum jobs"),
            (self.workers, [], "end of all workers"),
        ):
            try:
                wait_until(remains, REMOVAL_SECONDS, what, accept=expected.__eq__)
            except WaitTimeoutError as error:
                logged = "\n".join(map(self.cluster.slurmd_log, self.cluster.nodes))
                ours = [line for line in logged.splitlines() if "spank_ibm_qrun: " in line]
                raise WaitTimeoutError("\n".join((str(error), *ours[-60:]))) from None


def qrun_variables(text: str) -> dict[str, str]:
    """Return the variables of an `env -0` that are for qrun."""
    found = parse_environment(text)
    return {name: value for name, value in found.items() if name.startswith("IBMQRUN_")}
