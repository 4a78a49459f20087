# SPDX-License-Identifier: GPL-3.0-or-later
"""When `make audit` fails, and when it says that nobody could be asked."""

import json
import re
import sys
from pathlib import Path
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


def make_pip_audit(folder: Path, answer: str, dry_run: str = "pass") -> str:
    """Write a program in place of pip-audit; it does one thing for --dry-run, else another."""
    program = folder / "pip-audit"
    program.write_text(
        f"#!{sys.executable}\nimport sys, time\n"
        f"if '--dry-run' in sys.argv:\n    {dry_run}\nelse:\n    {answer}\n"
    )
    program.chmod(0o755)
    return str(program)


def document(*packages: dict[str, Any]) -> str:
    return f"print({json.dumps({'dependencies': packages, 'fixes': []})!r})"


def test_nothing_known_is_good_and_a_finding_is_an_error(tmp_path: Path) -> None:
    program = make_pip_audit(tmp_path, document(CLEAN))
    assert audit.audit(program, LOCK) == "1 packages without known vulnerabilities"
    found = f"{document(CLEAN, UNKNOWN, VULNERABLE)}; sys.exit(1)"
    with pytest.raises(SystemExit) as ended:
        audit.audit(make_pip_audit(tmp_path, found), LOCK)
    assert str(ended.value.code).splitlines() == [
        "two 2.0: PYSEC-1, CVE-1; repaired in 2.1 or 3.0",
        "two 2.0: PYSEC-2; repaired in no version",
        "error: known vulnerabilities; `make lock` takes the newest versions",
    ]
    with pytest.raises(SystemExit, match=r"^error: not on PyPI \(any more\): two$"):
        audit.audit(make_pip_audit(tmp_path, document(CLEAN, UNKNOWN)), LOCK)
    # The lock cannot be read, network or not.
    program = make_pip_audit(tmp_path, "sys.exit('ConnectionError')", "sys.exit('not pinned')")
    with pytest.raises(SystemExit, match=r"^not pinned\nerror: the lock files cannot be audited$"):
        audit.audit(program, LOCK)


def test_service_that_does_not_answer_is_no_error_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for answer, reason in (
        (document(UNKNOWN, UNKNOWN), "it knows none of the packages"),
        ("sys.exit('Traceback\\nConnectionError: refused')", "ConnectionError: refused"),
        ("print('<html>'); sys.exit(2)", "exit status 2"),
        ("sys.exit('long ' * 100)", "long long"),
    ):
        line = audit.audit(make_pip_audit(tmp_path, answer), LOCK)
        assert line.startswith(f"{NOT_AUDITED}({reason}"), answer
        assert (len(line.splitlines()), len(line) < 200) == (1, True), answer
    monkeypatch.setattr(audit, "TOTAL_SECONDS", 1)
    program = make_pip_audit(tmp_path, "time.sleep(60)")
    assert audit.audit(program, LOCK) == f"{NOT_AUDITED}(no answer within 1 s)"


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
