# SPDX-License-Identifier: GPL-3.0-or-later
"""The search that guards the live rings finds every secret that is planted, in every spelling."""

import base64
import errno
import io
import json
import re
import subprocess
import urllib.parse
from mmap import PAGESIZE
from pathlib import Path

import pytest

from loopback import leaks
from loopback.leaks import LeakSearch
from loopback.site import SECRETS

SECRET = 'pl/nted "s+cret": a=b'
OF_USER = "key-that-the-user-brought"


def written(folder: Path, name: str, content: str | bytes, mode: int = 0o644) -> Path:
    """Write a file as a cluster or a job does, its folders with it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


def kinds_found(folder: Path) -> list[str]:
    return [leak.kind for leak in LeakSearch(folder, {"planted": SECRET}).find()]


def base64_after(prefix: str) -> bytes:
    return base64.b64encode(f"{prefix}{SECRET}:after".encode())


QUOTED = urllib.parse.quote(SECRET, safe="")
SPELLINGS = [
    SECRET.encode(),
    json.dumps({"apikey": SECRET}).encode(),
    json.dumps(SECRET).replace("/", r"\/").encode(),
    json.dumps(SECRET).replace("/", r"\u002F").encode(),
    QUOTED.encode(),
    re.sub("%..", lambda escape: escape[0].lower(), QUOTED).encode(),
    urllib.parse.urlencode({"apikey": SECRET}).encode(),
    base64_after(""),
    base64_after("a"),
    base64_after("ab"),
    base64_after("apikey:"),
    base64.urlsafe_b64encode(f"??{SECRET}".encode()),
    SECRET.encode().hex().encode(),
]


def test_secret_is_found_in_every_spelling(tmp_path: Path):
    found = {}
    for number, spelling in enumerate(SPELLINGS):
        place = tmp_path / str(number)
        written(place, "log/slurmd-n1.log", b"\x00\xff before " + spelling + b" after\n")
        found[spelling] = kinds_found(place)
    assert found == {spelling: ["planted"] for spelling in SPELLINGS}


def test_message_names_file_offset_and_kind_without_the_secret(tmp_path: Path):
    path = written(tmp_path, "log/slurmctld.log", f"first line\nbody: {SECRET}\n")
    [leak] = LeakSearch(tmp_path, {"API key": SECRET}).find()
    expected = f"{path}: API key (as it is) at byte 17, after 'first line\\nbody: '"
    assert str(leak) == expected


def test_every_secret_of_the_site_is_found(tmp_path: Path):
    for number, (kind, secret) in enumerate(SECRETS.items()):
        place = tmp_path / str(number)
        written(place, "jobs/00001/stderr", f"error: {secret} is bad")
        kinds = [leak.kind for leak in LeakSearch(place, SECRETS).find()]
        assert kind in kinds, f"{kind} is not among {kinds}"


def test_places_where_secrets_belong(tmp_path: Path):
    for name in (
        *("site/qrmi_config.json", "test-1/credentials.json", "plugstack.conf", "test-1/env-n1"),
        *("jobs/00001/script", "spool/n1/job00003/slurm_script", "site/simulator.console"),
        "database/slurm_acct_db/loopback_job_env_table.ibd",
        "installation/lib/site-packages/simulator/spank_qrmi_simulator/site.py",
    ):
        written(tmp_path, name, SECRET)
        assert kinds_found(tmp_path) == [], name


@pytest.mark.parametrize(
    "name", ["test-1/journal/7.json", "journal/tokens/0af3", "state/hash.3/job.13/environment"]
)
def test_places_that_are_roots_alone(tmp_path: Path, name: str):
    found = {}
    for folder_mode, mode in ((0o700, 0o600), (0o755, 0o600), (0o700, 0o640), (0o700, 0o604)):
        place = tmp_path / f"{folder_mode:o}-{mode:o}"
        written(place, name, SECRET, mode).parent.chmod(folder_mode)
        found[place.name] = kinds_found(place)
    exposed = {kind: ["planted"] for kind in ("755-600", "700-640", "700-604")}
    assert found == {"700-600": [], **exposed}


def test_output_of_a_job_may_show_what_it_asked_for_and_its_errors_nothing(tmp_path: Path):
    for number, (script, options, expected) in enumerate(
        (
            ("env -0", "--qpu=ibm_torino", []),
            ("#SBATCH --qpu=ibm_torino\nenv", "", []),
            ("env -0", "--q-backend=ibm_torino", []),
            ("env -0", "--nodes=2", ["planted"]),
        )
    ):
        job = tmp_path / str(number) / "jobs" / "00007"
        written(job, "script", script)
        written(job, "options", options)
        written(job, "stdout", f"A=1\0KEY={SECRET}\0")
        assert kinds_found(tmp_path / str(number)) == expected, (script, options)
        written(job, "stdout", "")
        written(job, "stderr", SECRET)
        assert kinds_found(tmp_path / str(number)) == ["planted"], (script, options)


Q_KEY = "q_QRMI_IBM_DA_IAM_APIKEY"
OF_USERS = [
    (
        "test-1/qrmi_config.json",
        json.dumps({"resources": [{"environment": {"QRMI_IBM_DA_IAM_APIKEY": OF_USER}}]}),
        "QRMI_IBM_DA_IAM_APIKEY",
    ),
    ("test-1/credentials.json", json.dumps({"APPID_SECRET": OF_USER}), "APPID_SECRET"),
    ("plugstack.conf", f"optional x.so config --env:SITE_TOKEN={OF_USER}\n", "SITE_TOKEN"),
    ("plugstack.conf", f"x.so --env:http_proxy=http://me:{OF_USER}@127.0.0.1:9\n", "http_proxy"),
    ("state/hash.3/job.13/environment", f"\x05\0\0\0HOME=/\0{Q_KEY}={OF_USER}\0", Q_KEY),
]


@pytest.mark.parametrize(("name", "content", "kind"), OF_USERS)
def test_secrets_of_tests_are_learned(tmp_path: Path, name: str, content: str, kind: str):
    written(tmp_path, name, content, 0o600).parent.chmod(0o700)
    written(tmp_path, "log/slurmd-n1.log", f"debug: setenv X={OF_USER}\n")
    [leak] = LeakSearch(tmp_path, {}).find()
    assert leak.kind == f"value of {kind}"


def test_each_search_finds_what_is_new_or_in_a_file_that_is_written_anew(tmp_path: Path):
    log = written(tmp_path, "log/slurmd-n1.log", f"{SECRET}\n")
    search = LeakSearch(tmp_path, {"planted": SECRET})
    half = len(SECRET) // 2
    assert len(search.find()) == 1
    assert search.find() == []
    with log.open("a") as more:
        more.write("later\n" * 100 + SECRET[:half])
    assert search.find() == []
    with log.open("a") as more:
        more.write(SECRET[half:])
    assert len(search.find()) == 1
    log.write_text(SECRET)
    assert len(search.find()) == 1


@pytest.mark.parametrize("place", ["argument", "variable", "memory", "nowhere"])
def test_what_a_process_was_called_with_and_what_it_has_read(tmp_path: Path, place: str):
    secret = {place: SECRET}
    with subprocess.Popen(
        ["/bin/sh", "-c", "read held; echo; read end", "sh", secret.get("argument", "")],
        env={"KEY": secret.get("variable", "")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{secret.get('memory', 'of somebody else')}\n")
        process.stdin.flush()
        process.stdout.readline()
        found = LeakSearch(tmp_path, {"planted": SECRET}).find_in_memory([process.pid])
        process.communicate("end\n")
    told = {(leak.kind, str(leak.path)) for leak in found}
    assert told == ({("planted", f"/proc/{process.pid}/mem")} if place != "nowhere" else set())


class MemoryWithGuard(io.FileIO):
    """Pages, of which the second cannot be read."""

    def read(self, _size: int | None = -1) -> bytes:
        if self.tell() == PAGESIZE:
            raise OSError(errno.EIO, "Input/output error")
        return super().read(PAGESIZE) or b""


def test_memory_is_read_on_both_sides_of_a_stacks_guard(tmp_path: Path) -> None:
    (tmp_path / "memory").write_bytes(b"a" * PAGESIZE + b"?" * PAGESIZE + b"c" * PAGESIZE)
    with MemoryWithGuard(tmp_path / "memory") as memory:
        found = dict(leaks._read_between(memory, 0, 3 * PAGESIZE))
    assert found == {0: b"a" * PAGESIZE, PAGESIZE: b"", 2 * PAGESIZE: b"c" * PAGESIZE}
