# SPDX-License-Identifier: GPL-3.0-or-later
"""What the worker's work costs, counted instead of timed: processes and requests.

The worker runs as a plugin starts it, as a process of its own; whatever it needs more of, a job
waits longer for. The numbers below are what there is now and a little room.
"""

import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from spank_qrmi.protocol import Verb
from spank_qrmi_simulator.munge import AnyMunge
from spank_qrmi_simulator.qrmi_config import site_config, write_config
from spank_qrmi_simulator.server import running_in_thread
from spank_qrmi_simulator.site import Site
from tests.unit.munge_credentials import write_munge
from tests.unit.vendors import TOKEN, VENDORS, Vendor, each_of
from tests.unit.worker.test_process_alone import answer_of, request_of

# For an access token where the node has none: one request for all that share a key.
TOKEN_REQUEST = "POST /iam/identity/token"

# All processes of the worker report each start at once, for one of them is killed, and by a pipe,
# for that one must not write files.
OBSERVED_WORKER = """
import os, runpy, sys
report, munge_folder, *sys.path = sys.argv[1:]
STARTS = {"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "subprocess.Popen"}
def tell(event, arguments):
    if event in STARTS:
        file = os.open(report, os.O_WRONLY)
        os.write(file, f"{event}\\n".encode())
        os.close(file)
sys.addaudithook(tell)
from spank_qrmi.trust import munge
munge.FOLDERS = [munge_folder]
runpy.run_module("spank_qrmi.worker", run_name="__main__", alter_sys=True)
"""


def cost_of(folder: Path, site: Site, verb: Verb, qpus: str) -> tuple[int, Counter[str]]:
    """Return how often a worker started a process, and its requests with `TOKEN` for session ids.

    `folder` takes configuration and state.
    """
    report = folder / "report"
    report.unlink(missing_ok=True)
    os.mkfifo(report)
    told_end = os.open(report, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    command = ("-I", "-c", OBSERVED_WORKER, str(report), str(folder), *sys.path)
    site.requests.clear()
    answer = answer_of(request_of(folder, verb, qpus), *command)
    start_count = os.read(told_end, 65536).count(b"\n")
    os.close(told_end)
    assert (answer.verdict, answer.messages) == ("run", [])
    asked = [f"{each.method} {each.path}" for each in site.requests]
    for session in site.sessions():
        asked = [text.replace(session.session_id, TOKEN) for text in asked]
    return start_count, Counter(asked)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(decode=AnyMunge())
    write_munge(tmp_path)
    with running_in_thread(site) as base_url:
        write_config(tmp_path / "qrmi_config.json", site_config(base_url))
        yield site


@each_of(VENDORS)
def test_acquiring_and_releasing_one_qpu(site: Site, tmp_path: Path, vendor: Vendor) -> None:
    """Each vendor is asked whether it is there, and for what it gives, and no more."""
    for_token = [TOKEN_REQUEST] if vendor.client().login else []
    to_acquire = vendor.on_site({**vendor.check, **vendor.acquire})
    to_release = vendor.on_site(vendor.release)
    turns = [(for_token, [])]
    if for_token:
        turns.append(([], for_token if vendor.holds else []))
    for tokens_to_acquire, tokens_to_release in turns:
        acquiring, asked = cost_of(tmp_path, site, Verb.ACQUIRE, vendor.name)
        assert asked <= Counter([*tokens_to_acquire, *to_acquire])
        if tokens_to_release:
            shutil.rmtree(tmp_path / "state" / "tokens", ignore_errors=True)
        releasing, asked = cost_of(tmp_path, site, Verb.RELEASE, "")
        assert asked <= Counter([*tokens_to_release, *to_release])
    for step, start_count in (("acquire", acquiring), ("release", releasing)):
        for_credentials = vendor.client().munge_credentials.get(step, 0)
        # The worker, and its network process.
        assert 1 + start_count <= 2 + for_credentials
