# SPDX-License-Identifier: GPL-3.0-or-later
"""What slurm.conf and slurmd themselves must be like for our hooks."""

from collections.abc import Iterator

from spank_qrmi.check.finding import Finding, doubtful, right, wrong
from spank_qrmi.check.node import Node
from spank_qrmi.configuration import qrmi_plugstack, qrun_plugstack
from spank_qrmi.configuration.common_plugstack import last_value, parse_seconds
from spank_qrmi.configuration.slurm_files import epilog_seconds
from spank_qrmi.errors import ArgumentError
from spank_qrmi.job.release import EPILOG_MARGIN_SECONDS

_PLUGIN_MARGIN_SECONDS = 12
"""What a hook may take on top of its time-out, for a worker that keeps none: 8 s and 4 s more."""

_STEP_START_SECONDS = 600
"""How long srun waits for a step's start (slurm_step_launch_wait_start)."""

_EPILOG_SECONDS = int(EPILOG_MARGIN_SECONDS)
_CLOCK_SECONDS = 0.1
"""Times of processes and of files are told by different clocks."""


def check_time_outs(node: Node) -> Iterator[Finding]:
    """Look whether our hooks end before Slurm loses patience, and drains the node."""
    if node.slurm_conf is None or not node.lines:
        return
    acquire = _seconds(
        node, qrmi_plugstack.LIBRARY, "--acquire-timeout", qrmi_plugstack.DEFAULT_ACQUIRE_SECONDS
    )
    release = _seconds(
        node, qrmi_plugstack.LIBRARY, "--release-timeout", qrmi_plugstack.DEFAULT_RELEASE_SECONDS
    )
    clean_up = _seconds(
        node, qrun_plugstack.LIBRARY, "--cleanup-timeout", qrun_plugstack.DEFAULT_CLEANUP_SECONDS
    )
    findings = [
        *_step_end(node, release, clean_up),
        *_process_tracker(node, max(release, clean_up)),
        *_epilog(node, release),
    ]
    if acquire + _PLUGIN_MARGIN_SECONDS > _STEP_START_SECONDS:
        findings.append(
            doubtful(
                f"--acquire-timeout={acquire}: srun gives up a step that has not started after "
                f"{_STEP_START_SECONDS} s",
                f"--acquire-timeout={_STEP_START_SECONDS - _PLUGIN_MARGIN_SECONDS}",
            )
        )
    yield from findings or [right(f"{node.slurm_conf}: Slurm waits long enough for our hooks")]


def _seconds(node: Node, library: str, name: str, default: int) -> int:
    """Return the seconds of an argument; 0 if no line loads the plugin."""
    for line in node.lines_of(library)[:1]:
        text = last_value(line.arguments, name)
        try:
            return default if text is None else parse_seconds(name, text)
        except ArgumentError:
            return default
    return 0


def _step_end(node: Node, release: int, clean_up: int) -> Iterator[Finding]:
    """Slurm drains a node whose slurmstepd is in its exit hooks for longer."""
    kill_wait = node.slurm_number("killwait", 30)
    message_timeout = node.slurm_number("messagetimeout", 10)
    longest = node.slurm_number("unkillablesteptimeout", max(60, 5 * message_timeout))
    ours = release + clean_up
    needed = ours + _PLUGIN_MARGIN_SECONDS
    if kill_wait + longest >= needed:
        return
    text = (
        f"{node.slurm_conf}: the end of a step may take {ours} s (--release-timeout, "
        f"--cleanup-timeout) and {_PLUGIN_MARGIN_SECONDS} s more, and Slurm drains the node after "
        f"KillWait + UnkillableStepTimeout = {kill_wait + longest} s"
    )
    remedy = f"UnkillableStepTimeout={needed - kill_wait}"
    yield wrong(text, remedy) if ours >= kill_wait + longest else doubtful(text, remedy)


def _process_tracker(node: Node, longest: int) -> Iterator[Finding]:
    kill_wait = node.slurm_number("killwait", 30)
    if node.slurm_values.get("proctracktype") == "proctrack/linuxproc" and kill_wait <= longest:
        yield doubtful(
            f"{node.slurm_conf}: with proctrack/linuxproc Slurm ends a worker after KillWait = "
            f"{kill_wait} s, which may release for {longest} s",
            f"KillWait={longest + 1}",
        )


def _epilog(node: Node, release: int) -> Iterator[Finding]:
    limit = epilog_seconds(node.slurm_conf) if node.slurm_conf else None
    needed = release + _EPILOG_SECONDS
    if limit is not None and release and limit < needed:
        yield doubtful(
            f"{node.slurm_conf}: an epilog may take {limit} s (EpilogTimeout, or "
            f"PrologEpilogTimeout before Slurm 25.05), and a release {release} s: it ends before",
            f"a limit of {needed}, or --release-timeout={max(1, limit - _EPILOG_SECONDS)}",
        )


def check_slurmd(node: Node) -> Iterator[Finding]:
    """Look whether a slurmd runs, as root, that knows plugstack.conf as it is."""
    user = node.slurm_values.get("slurmduser", "root")
    if user not in {"root", "0"}:
        yield wrong(f"{node.slurm_conf}: SlurmdUser={user}: workers need root", "SlurmdUser=root")
    if node.slurm_conf is None or not node.lines:
        return
    if not node.slurmds:
        yield doubtful(
            f"no slurmd runs here that reads {node.slurm_conf}", "systemctl start slurmd"
        )
        return
    files = {line.file for line in node.text_lines} | (
        {node.plugstack} if node.plugstack else set()
    )
    # What was moved here has the time of its writing, but that of the move as its status's change.
    changed_at = max(file.stat().st_ctime for file in files)
    late = [each for each in node.slurmds if each.started_at + _CLOCK_SECONDS < changed_at]
    for each in late:
        yield doubtful(
            f"slurmd {each.pid}: was started before plugstack.conf was changed, and looks then "
            "whether a plugin has an epilog: what a killed slurmstepd held waits for the timer",
            "systemctl restart slurmd (jobs go on)",
        )
    if not late:
        yield right("slurmd: was started since plugstack.conf was changed")
