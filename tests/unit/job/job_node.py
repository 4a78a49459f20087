# SPDX-License-Identifier: GPL-3.0-or-later
"""A node with three QPUs, the worker to ask for them, and what it holds and has recorded."""

import os
import time
from pathlib import Path
from typing import Any

import orjson

from spank_qrmi.admin import command as cli
from spank_qrmi.errors import JournalError
from spank_qrmi.job.release import UNCHANGED_SECONDS
from spank_qrmi.protocol import Request, Verb
from spank_qrmi.state import usage_log
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi.state.owner import Owner
from tests.unit.conversation import SeenAnswer, ServingWorker
from tests.unit.fake_vendor import TYPE, FakeVendor

SITE_KEY = "key-of-the-site"
STEP = {"job_id": 7, "restart_count": 0, "step_id": 0xFFFFFFFB, "uid": 1000}
NOW = 1_700_000_000
GONE = Owner(os.uname().nodename, "another boot", 1, 2, 3)


def entry_of(name: str, **changes: Any) -> Entry:
    """Return what a step has left whose slurmstepd is gone."""
    values: dict[str, Any] = {
        **STEP,
        "resource_name": name,
        "resource_type": TYPE,
        "values": {"QRMI_KEY": "secret-key"},
        "token": f"token-{name}",
        "acquired_at": 1000,
        "owner": GONE,
        "hold": "a session",
        "ends_at": 4_000_000_000,
        "granted_at": 1000,
    }
    return Entry(**{**values, **changes})


def entries_in(journal: Journal) -> list[Entry]:
    """Return what is held, in the order of the QPUs' names; all of it must be readable."""
    entries: list[Entry] = []
    for entry in journal.entries():
        assert isinstance(entry, Entry)
        entries.append(entry)
    return sorted(entries, key=lambda entry: entry.resource_name)


class Node:
    """A node with resources `a`, `b` and `c`, and a worker to ask."""

    def __init__(self, folder: Path, serving: ServingWorker, vendor: FakeVendor) -> None:
        self.config_path = folder / "qrmi_config.json"
        self.state_directory = folder / "state"
        self.usage_path = Path(usage_log.DEFAULT_PATH)
        self.serving, self.vendor = serving, vendor
        environment = {"QRMI_KEY": SITE_KEY, "QRMI_ENDPOINT": "https://site"}
        self.write_config(*({"name": name, "environment": environment} for name in "abc"))

    def write_config(self, *resources: dict[str, Any]) -> None:
        """Write the configuration of these; each has an empty environment unless it says so."""
        document = [{"type": TYPE, "environment": {}, **each} for each in resources]
        self.config_path.write_bytes(orjson.dumps({"resources": document}))
        self.config_path.chmod(0o600)

    @property
    def arguments(self) -> tuple[str, ...]:
        return (str(self.config_path), f"--state-dir={self.state_directory}")

    def ask(self, verb: Verb, *options: str, **more: Any) -> SeenAnswer:
        arguments = (*self.arguments, *options)
        request = {"timeout_seconds": 60, "arguments": arguments, **STEP, **more}
        return self.serving.ask(Request(verb, **request))

    def acquire(self, qpus: str, *options: str, **more: Any) -> SeenAnswer:
        return self.ask(Verb.ACQUIRE, *options, qpu_option=qpus, **more)

    def release(self, *options: str, **more: Any) -> SeenAnswer:
        return self.ask(Verb.RELEASE, *options, **more)

    def release_job(self, slurm_conf: str = "") -> SeenAnswer:
        return self.ask(Verb.RELEASE_JOB, slurm_conf=slurm_conf, step_id=0)

    def command(self, *words: str) -> int:
        """Give back what is held with `spank-qrmi release`; return its exit status."""
        return cli.main(["release", *words, f"--state-dir={self.state_directory}"])

    def end_job(self) -> None:
        self.serving.deadlines[0].cancel()

    def leave(self, entry: Entry, ago_seconds: float = 2 * UNCHANGED_SECONDS) -> None:
        with Journal(self.state_directory).begin(entry):
            written_at = time.time() - ago_seconds
            os.utime(self.state_directory / entry.file_name, (written_at, written_at))

    def entries(self) -> list[Entry | JournalError]:
        return list(Journal(self.state_directory).entries())

    def entry(self) -> Entry:
        """Return the only entry of the journal."""
        [entry] = self.entries()
        assert isinstance(entry, Entry)
        return entry

    def journal_files(self) -> int:
        """Return how many files there are, beside the folder of counts."""
        return sum(path.is_file() for path in self.state_directory.glob("*"))

    def records(self) -> list[dict[str, Any]]:
        """Return all records of what was used, in the order of the QPUs' names."""
        if not self.usage_path.exists():
            return []
        records = [orjson.loads(line) for line in self.usage_path.read_bytes().splitlines()]
        return sorted(records, key=lambda record: str(record["resource"]))

    def ends(self) -> list[tuple[str, str, str]]:
        return [(each["resource"], each["result"], each["ended_by"]) for each in self.records()]
