# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask whether locked packages have known vulnerabilities, if the service that knows answers.

A network without that service is no reason to fail; a vulnerability is, and so is a lock file that
cannot be audited, or a package that the service has never heard of.
"""

import json
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

REQUEST_SECONDS = 10
TOTAL_SECONDS = 120
REASON_LENGTH = 100
MARKER = re.compile(r" ; .*(?= \\$)", re.MULTILINE)
ENTRY = re.compile(r"^([\w.-]+)==.*(?:\n .*)*", re.MULTILINE)


def main() -> None:
    """Audit lock files: `PIP_AUDIT LOCK...`; end with an error if something is wrong with them."""
    pip_audit, *locks = sys.argv[1:]
    text = "\n".join(Path(lock).read_text() for lock in locks)
    print(audit(pip_audit, text))


def audit(pip_audit: str, locks: str) -> str:
    """Return one line about all packages of the locks; end with the findings if there are some."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(pip_audit, "--require-hashes", "--disable-pip", "--progress-spinner", "off"),
            *("--timeout", str(REQUEST_SECONDS), "--cache-dir", str(Path(folder, "cache"))),
            *("--format", "json"),
        ]
        for number, text in enumerate(without_markers(locks)):
            file = Path(folder, f"{number}.txt")
            file.write_text(text)
            command += ["--requirement", str(file)]
        try:
            # This reads everything and asks nobody: what fails here is not the network's fault.
            tried = run([*command, "--dry-run"])
            if tried.returncode != 0:
                sys.exit(f"{tried.stderr}error: the lock files cannot be audited")
            return verdict(run(command))
        except subprocess.TimeoutExpired:
            return not_audited(f"no answer within {TOTAL_SECONDS} s")


def without_markers(locks: str) -> list[str]:
    """Return the entries of lock files without their markers, each package once in each text.

    pip-audit looks only at what the Python that runs it would install.
    """
    texts: list[dict[str, str]] = []
    for entry in dict.fromkeys(found[0] for found in ENTRY.finditer(MARKER.sub("", locks))):
        name = entry.partition("==")[0]
        place = next((each for each in texts if name not in each), None)
        if place is None:
            texts.append(place := {})
        place[name] = entry
    return ["\n".join(each.values()) + "\n" for each in texts]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run pip-audit, for a limited time."""
    return subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=TOTAL_SECONDS
    )


def verdict(asked: subprocess.CompletedProcess[str]) -> str:
    """Return what an answer of pip-audit amounts to; end with what it has found.

    It writes its document only if the service has answered, with findings or without.
    """
    try:
        packages = json.loads(asked.stdout)["dependencies"]
    except ValueError:
        lines = asked.stderr.strip().splitlines() or [f"exit status {asked.returncode}"]
        return not_audited(textwrap.shorten(lines[-1], REASON_LENGTH))
    findings = sorted({line for package in packages for line in findings_of(package)})
    if findings:
        remedy = "`make lock` takes the newest versions"
        sys.exit("\n".join([*findings, f"error: known vulnerabilities; {remedy}"]))
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    if len(unknown) == len(packages):
        return not_audited("it knows none of the packages")
    if unknown:
        sys.exit(f"error: not on PyPI (any more): {' '.join(sorted(unknown))}")
    return f"{len(packages)} packages without known vulnerabilities"


def findings_of(package: dict[str, Any]) -> Iterable[str]:
    """Return one line for each known vulnerability of a package."""
    for found in package.get("vulns", []):
        repaired = " or ".join(found["fix_versions"]) or "no version"
        names = ", ".join([found["id"], *found["aliases"]])
        yield f"{package['name']} {package['version']}: {names}; repaired in {repaired}"


def not_audited(reason: str) -> str:
    """Return the line that says that the service could not be asked."""
    return f"not audited: the vulnerability service could not be asked ({reason})"


if __name__ == "__main__":
    main()
