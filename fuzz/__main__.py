# SPDX-License-Identifier: GPL-3.0-or-later
"""`make fuzz`: each target in turn, until its time is over or an input fails."""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fuzz import CORPUS, PROJECT
from fuzz.plugin import PLUGIN_TARGETS, build_fuzzer
from fuzz.targets import TARGETS
from fuzz.targets.scratch import folder_in_memory

_BUILD = PROJECT / "build" / "fuzz"
_LIMITS = ("-rss_limit_mb=2048", "-timeout=20")
_LAST_STATE = re.compile(r"^#(\d+)\t(?:DONE|pulse|NEW|REDUCE).* cov: (\d+) ft: \d+ corp: (\d+)")


def main() -> int:
    """Run the targets; return 0 if nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    plugin_targets = {each.name: each for each in PLUGIN_TARGETS}
    known = (*plugin_targets, *TARGETS)
    parser.add_argument("--seconds", type=int, default=600, help="for each target (%(default)s)")
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    options = parser.parse_args()
    if unknown := set(options.targets) - set(known):
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    targets = options.targets or known
    found = []
    for name in targets:
        program = (
            [str(build_fuzzer(plugin_targets[name], _BUILD / "plugin"))]
            if name in plugin_targets
            else [sys.executable, "-m", "fuzz.python_target", name]
        )
        if not _finds_nothing(name, program, options.seconds):
            found.append(name)
    print(f"{len(targets) - len(found)} targets found nothing, {len(found)} failed")
    return 1 if found else 0


def _finds_nothing(name: str, program: Sequence[str], seconds: int) -> bool:
    """Run one target, tell what it did, and return whether no input failed."""
    findings, corpus, log = (_BUILD / kind / name for kind in ("findings", "corpus", "log"))
    for folder in (findings, corpus, log.parent):
        folder.mkdir(parents=True, exist_ok=True)
    print(f"{name}: {seconds} s", flush=True)
    command = [*program, f"-max_total_time={seconds}", f"-artifact_prefix={findings}/", *_LIMITS]
    with log.open("wb") as output:
        ended = subprocess.run(
            [*command, str(corpus), str(CORPUS / name)],
            cwd=PROJECT,
            # A fuzzer ends without cleaning up, so it uses a folder of ours.
            env={**os.environ, "TMPDIR": str(folder_in_memory())},
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    print(f"  {_summary(log)}")
    if ended.returncode != 0:
        print(f"  FAILED: the end of {log} says how, the input is in {findings}")
    return ended.returncode == 0


def _summary(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    states = [found for line in lines if (found := _LAST_STATE.match(line))]
    if not states:
        return "not a single input was run"
    runs, coverage, inputs = states[-1].groups()
    return f"{runs} inputs run, {coverage} edges reached, {inputs} inputs reach them all"


if __name__ == "__main__":
    sys.exit(main())
