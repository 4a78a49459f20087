# SPDX-License-Identifier: GPL-3.0-or-later
"""The installed product on a cluster, for one test: plugstack line, jobs, what they leave."""

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, ClassVar, TypeVar

from loopback.cluster import SlurmCluster
from loopback.installation import Installation
from loopback.job import Job, JobResult, parse_environment
from loopback.processes import children_of, command_line, end_processes, processes_naming
from loopback.site import RELEASE_SECONDS, Site
from loopback.waiting import wait_until
from loopback.worker_server import WorkerServer
from spank_qrmi.state import counts, token_cache
from spank_qrmi.state.journal import TOLD_PREFIX, Entry, Journal

WORKER_SECONDS = 60.0
START_SECONDS = 60.0
SESSIONS = "/runtime/api/v1/sessions"
# What jobs run.
PRINT_RESOURCES = 'printf %s "$SLURM_JOB_QPU_RESOURCES"'
UNTIL_FINISHED = "until [ -e finished ]; do sleep 0.1; done"


@dataclass(frozen=True)
class Plugin:
    """One of the plugins as one test uses it; `folder` is the test's own.

    Its workers are spawned, unless there is a `server` that has them ready.
    """

    cluster: SlurmCluster
    installation: Installation
    site: Site
    folder: Path
    server: WorkerServer | None = field(default=None, kw_only=True)
    job_options: ClassVar[tuple[str, ...]] = ()
    """What each job is submitted with."""

    def write_plugstack(self) -> None:
        """Write the plugin's line as an administrator does."""
        raise NotImplementedError

    def wait_until_released(self) -> None:
        """Wait until nothing is left of what this test's jobs had, and no worker runs."""
        raise NotImplementedError

    def submit(self, script: str, *options: str, **more: Any) -> Job:
        """Submit a batch script."""
        return self.cluster.submit(script, *self.job_options, *options, **more)

    def run_job(self, script: str, *options: str, **more: Any) -> JobResult:
        """Submit a batch script and wait for its end."""
        return self.submit(script, *options, **more).wait()

    def start_job(self, *options: str, then: str = "exec sleep 600") -> Job:
        """Submit a job, and wait until its script has said that it is here."""
        job = self.submit(f"echo here; {then}", *options)
        wait_for_script(job)
        return job

    def our_lines(self, job: Job) -> list[str]:
        """Return the plugins' log lines of a job in their order, without Slurm's time and step."""
        self.cluster.wait_for_log("<- slurm_spank_exit", job)
        ours = re.compile(r"\] \[\S+\] (.*spank_(?:qrmi_c|ibm_qrun).*)")
        return ours.findall("\n".join(self.cluster.log_lines_of(job)))

    def spank_qrmi(self, *words: str, user: str | None = None) -> CompletedProcess[str]:
        """Run the administrator's command; no folder is named, plugstack.conf says all."""
        program = self.installation.environment / "bin" / "spank-qrmi"
        return self.cluster.run(str(program), *words, user=user, check=False)

    def workers(self) -> list[int]:
        """Return the process ids of what works for a job."""
        found = processes_naming(str(self.installation.environments))
        served = [] if self.server is None else self.server.busy_workers()
        return [*served, *(pid for pid, line in found.items() if _SERVERS.isdisjoint(line))]


# As it is started, and as it goes on. Its workers, which are named as it is, are asked for there.
_SERVERS = {"worker-server", "spank_qrmi.worker.server"}


class Product(Plugin):
    """The plugin spank_qrmi."""

    @property
    def state_directory(self) -> Path:
        """Where the journal of this test's jobs lies."""
        return self.folder / "journal"

    @property
    def usage_path(self) -> Path:
        """Where what this test's jobs have used is recorded."""
        return self.folder / "usage" / "usage.jsonl"

    def usage_records(self) -> list[dict[str, Any]]:
        """Return a record of each acquisition that is over, oldest first."""
        if not self.usage_path.exists():
            return []
        return [json.loads(line) for line in self.usage_path.read_text().splitlines()]

    def write_plugstack(
        self,
        *arguments: str,
        mode: str = "optional",
        config: Path | None = None,
        plugin: Path | None = None,
    ) -> None:
        """Write the plugin's line as an administrator does, with more arguments."""
        line = (
            *(mode, plugin or self.installation.plugin, config or self.site.config_path),
            f"--state-dir={self.state_directory}",
            f"--munge-socket={self.cluster.munge_socket}",
            *([f"--worker-server={self.server.path}"] if self.server else []),
            *arguments,
            f"--usage-file={self.usage_path}",
        )
        self.cluster.write_plugstack(" ".join(map(str, line)))

    def write_config(self, *resources: object) -> Path:
        """Write a qrmi_config.json of this test's own, readable by root alone."""
        path = self.folder / "qrmi_config.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps({"resources": resources}))
        return path

    def entry(self, name: str, **changes: str) -> dict[str, Any]:
        """Return the site's entry of a resource, with some variables changed."""
        entry = next(one for one in self.site.resources() if one["name"] == name)
        entry["environment"] |= changes
        return dict(entry)

    def publish_catalog(self, away: str) -> str:
        """Let a monitor publish that one backend is away; return the argument that names where."""
        folder = self.folder / "published"
        folder.mkdir()
        self.site.set_backend_status(away, "maintenance")
        self.spank_qrmi("monitor", "--once", f"--publish={folder}", "--licenses=none")
        self.site.reset()
        return f"--catalog={folder}"

    def srun(
        self, *words: str, env: Mapping[str, str] | None = None, check: bool = True
    ) -> CompletedProcess[str]:
        """Run a command by srun, outside of any job."""
        return self.cluster.run("srun", *words, env=env, check=check)

    def journal(self) -> list[str]:
        """Return the names of the acquisitions that jobs may still hold."""
        # One that is being written begins with a dot.
        names = {path.name for path in self.state_directory.glob("[!.]*")}
        names -= {counts.FOLDER_NAME, token_cache.FOLDER_NAME}
        return sorted(name for name in names if not name.startswith(TOLD_PREFIX))

    def unreleased(self) -> list[str]:
        """Return the names of the acquisitions for which something is left to do.

        What a service never answered stays in the journal until it has ended by itself, and what
        it has agreed to end until it is looked at again.
        """
        journal = Journal(self.state_directory)
        return [
            each.file_name if isinstance(each, Entry) else str(each)
            for each in journal.entries()
            if not isinstance(each, Entry) or (each.needs_release and not each.is_told)
        ]

    def wait_until_released(self) -> None:
        self.site.wait_until_released()
        for remains, what in (
            (self.unreleased, "journal without anything to release"),
            (self.workers, "end of all workers"),
        ):
            wait_until(remains, RELEASE_SECONDS, what, accept=lambda found: not found)

    def sessions_served(self) -> list[str]:
        """Wait until all is released; return the backends of all sessions, oldest first.

        Each was opened by one request and closed by one.
        """
        self.wait_until_released()
        sessions = self.site.sessions()
        asked = Counter(one for one in self.site.asked() if SESSIONS in one)
        expected = {f"PATCH {SESSIONS}/{each['id']}": 1 for each in sessions}
        assert asked == expected | ({f"POST {SESSIONS}": len(sessions)} if sessions else {})
        return [each["backend_name"] for each in sessions]

    def wait_for_worker(self, job: Job) -> int:
        """Wait for the worker of a job's batch step; return its process id."""
        return wait_until(lambda: self._worker(job.id), WORKER_SECONDS, f"worker of job {job.id}")

    def wait_for_request(self, path: str) -> None:
        """Wait until the site has been asked for a path."""
        wait_until(
            lambda: any(path in asked for asked in self.site.asked()),
            WORKER_SECONDS,
            f"request for {path}",
        )

    def wait_for_recorded_session(self, count: int = 1) -> None:
        """Wait until the journal knows by which tokens so much is to be released."""

        def are_recorded() -> bool:
            entries = [*Journal(self.state_directory).entries()]
            return sum(isinstance(each, Entry) and bool(each.token) for each in entries) >= count

        wait_until(are_recorded, WORKER_SECONDS, "recorded session")

    def kill_stepd(self, job: Job) -> None:
        """End the job's slurmstepd as a crash does, and what it can no longer end itself.

        A worker is left alone.
        """
        [stepd] = self.cluster.stepd_pids(job.id)
        tasks = [pid for pid in children_of(stepd) if "spank_qrmi.worker" not in command_line(pid)]
        end_processes([stepd])
        end_processes(tasks)

    def _worker(self, job_id: int) -> int:
        if self.server is not None:
            return next(iter(self.server.busy_workers()), 0)
        found = (
            pid
            for stepd in self.cluster.stepd_pids(job_id)
            for pid in children_of(stepd)
            if "spank_qrmi.worker" in command_line(pid)
        )
        return next(found, 0)


def wait_for_script(job: Job) -> None:
    """Wait until the job's script has said something."""
    wait_until(lambda: job.stdout, START_SECONDS, "start of the script")


def finish(job: Job) -> None:
    """End a script that goes on `UNTIL_FINISHED`."""
    (job.folder / "finished").touch()


def qpu_variables(text: str) -> dict[str, str]:
    """Return the variables of an `env -0` that have to do with QPUs."""
    return {
        name: value
        for name, value in parse_environment(text).items()
        if "QRMI" in name or "QPU" in name
    }


def resource_variables(text: str, name: str) -> dict[str, str]:
    """Return the variables of an `env -0` that belong to one resource, without its prefix."""
    return {
        variable.removeprefix(f"{name}_"): value
        for variable, value in qpu_variables(text).items()
        if variable.startswith(f"{name}_")
    }


def token_in(text: str, name: str = "ibm_sherbrooke") -> str:
    """Return the token of a resource in an `env -0`."""
    return resource_variables(text, name)["QRMI_JOB_ACQUISITION_TOKEN"]


_Kind = TypeVar("_Kind", bound=Plugin)


@contextmanager
def plugin_on(
    kind: type[_Kind],
    cluster: SlurmCluster,
    installation: Installation,
    site: Site,
    server: WorkerServer | None = None,
) -> Iterator[_Kind]:
    """Give a plugin with its usual line; raise if anything stays acquired, or a node is drained."""
    folder = Path(tempfile.mkdtemp(prefix="test-", dir=cluster.folder))
    folder.chmod(0o755)
    plugin = kind(cluster, installation, site, folder, server=server)
    plugin.write_plugstack()
    yield plugin
    cluster.wait_for_empty_queue()
    # srun is back before its step has released what it held.
    plugin.wait_until_released()
    cluster.assert_nodes_healthy()


def readable_lines(stderr: str) -> list[str]:
    """Return a job's stderr, our own lines without Slurm's prefix, which differs by release.

    What srun says of a step that had to wait is left out: some releases do.
    """
    waiting = re.compile(r"srun: (Job \d+ step creation|Step created for) ")
    lines = (line for line in stderr.splitlines() if not waiting.match(line))
    return [re.sub(r"^.*?error: spank_(qrmi_c|ibm_qrun): ", "", line) for line in lines]
