# SPDX-License-Identifier: GPL-3.0-or-later
"""When `make audit` fails, and when it says that nobody could be asked."""

import json
import re
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from scripts import audit
from scripts.lock import FOLDER, LOCKS

REPOSITORY = Path(__file__).resolve().parents[2]
HASHES = " \\\n    --hash=sha256:1\n    # via x\n"
LOCK = (
    f"# comment\none==1.0{HASHES}"
    f"two==1.0 ; python_full_version < '3.11'{HASHES}"
    f"two==2.0 ; python_full_version >= '3.11'{HASHES}"
)
CLEAN = {"name": "one", "version": "1.0", "vulns": []}
UNKNOWN = {"name": "two", "skip_reason": "Dependency not found"}
VULNERABLE = {
    "name": "two",
    "version": "2.0",
    "vulns": [
        {"id": "PYSEC-1", "fix_versions": ["2.1", "3.0"], "aliases": ["CVE-1"], "description": ""},
        {"id": "PYSEC-2", "fix_versions": [], "aliases": [], "description": "text"},
    ],
}
NOT_AUDITED = "not audited: the vulnerability service could not be asked "


def document(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


def audited(
    monkeypatch: pytest.MonkeyPatch, output: str, errors: str = "", unreadable: str = ""
) -> str:
    """Audit the lock by a pip-audit that says this, or why it cannot even read the lock."""
    tried = CompletedProcess("", 1 if unreadable else 0, "", unreadable)
    told = CompletedProcess("", 2, output, errors)
    monkeypatch.setattr(audit, "run", lambda words: tried if "--dry-run" in words else told)
    return audit.audit("pip-audit", LOCK)


def test_nothing_known_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    assert audited(monkeypatch, document(CLEAN)) == "1 packages without known vulnerabilities"


def test_finding_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as ended:
        audited(monkeypatch, document(CLEAN, UNKNOWN, VULNERABLE))
    assert str(ended.value.code).splitlines() == [
        "two 2.0: PYSEC-1, CVE-1; repaired in 2.1 or 3.0",
        "two 2.0: PYSEC-2; repaired in no version",
        "error: known vulnerabilities; `make lock` takes the newest versions",
    ]
    with pytest.raises(SystemExit, match=r"^error: not on PyPI \(any more\): two$"):
        audited(monkeypatch, document(CLEAN, UNKNOWN))
    with pytest.raises(SystemExit, match=r"^not pinned\nerror: the lock files cannot be audited$"):
        audited(monkeypatch, document(CLEAN), unreadable="not pinned\n")


def test_service_that_does_not_answer_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = f"{NOT_AUDITED}(it knows none of the packages)"
    assert audited(monkeypatch, document(UNKNOWN, UNKNOWN)) == nothing
    refused = audited(monkeypatch, "", "Traceback\nConnectionError: refused")
    assert refused == f"{NOT_AUDITED}(ConnectionError: refused)"
    assert audited(monkeypatch, "<html>") == f"{NOT_AUDITED}(exit status 2)"
    assert len(audited(monkeypatch, "", "long " * 100)) < 200


def test_every_version_is_audited_once_whichever_python_runs() -> None:
    assert audit.without_markers(LOCK + LOCK) == [
        f"one==1.0{HASHES}two==1.0{HASHES}",
        f"two==2.0{HASHES}",
    ]


@pytest.mark.parametrize("name", LOCKS)
def test_nothing_of_a_lock_is_left_out(name: str) -> None:
    lock = (REPOSITORY / FOLDER / f"{name}.txt").read_text()
    audited = "".join(audit.without_markers(lock))
    for part in (r"^\S+==[^\s;]+", r"--hash=sha256:\w+"):
        assert sorted(re.findall(part, audited, re.M)) == sorted(re.findall(part, lock, re.M)) != []
