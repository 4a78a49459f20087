# SPDX-License-Identifier: GPL-3.0-or-later
"""What a soak does, drawn from a seed before anything runs: jobs, the site's faults, blows."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from spank_qrmi.clients import CLIENTS
from spank_qrmi.clients.base import UnheldClient
from spank_qrmi_simulator.site import Site
from spank_qrmi_simulator.vendors import VENDORS

ARRAY_TASKS = 3
LONGEST_SCRIPT_SECONDS = 4

_OFFERS = [offer for vendor in VENDORS for offer in vendor(Site()).offers("http://site", None)]
QPUS = {next(iter(offer.names)): offer.type_name for offer in _OFFERS}
"""A QPU of each type that the site offers, with its type."""
HELD_QPUS = [name for name, of in QPUS.items() if not issubclass(CLIENTS[of], UnheldClient)]
"""Those of them whose services hold something for a job."""
MOST_QPUS = 4
# Batch scripts: what each does, SECONDS filled in, and a QPU that a step asks for.
SCRIPTS = (
    *("sleep {seconds}", "srun sleep {seconds}", "sleep {seconds}; exit 3", "true"),
    "srun --qpu={qpu} sleep {seconds}",
)
HELD_BY_STEPS = "--qpu-hold=step"
WAYS = ("batch",) * 6 + ("srun",) * 3 + ("array",)
PLUGSTACK_MODES = ("optional", "required")
REQUIREMENTS = ("any", "all")

SESSIONS = "/runtime/api/v1/sessions"
_OF_IBM = (
    f"{SESSIONS}$",
    f"{SESSIONS}/",
    "/runtime/api/v1/jobs",
    "/runtime/api/v1/backends/",
    "/iam/identity/token",
    "/direct-access/",
)
_ALL = {f"/{vendor.prefix.split('/')[1]}/" for vendor in VENDORS}
_OF_OTHERS = _ALL - {"/iam/", "/runtime/", "/direct-access/"}
PATHS = (*_OF_IBM, *sorted(_OF_OTHERS))
FAULTS: tuple[Mapping[str, object], ...] = (
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 429, "retry_after": 1},
    # Of a service that says it again and again nobody could tell that it is wrong.
    {"kind": "status", "status": 404, "times": 1},
    {"kind": "hang"},
    {"kind": "hang", "when": "after"},
    {"kind": "drop"},
    {"kind": "drop", "when": "after"},
    {"kind": "delay", "delay_seconds": 1.5},
    {"kind": "delay", "delay_seconds": 1.5, "when": "after"},
    {"kind": "malformed"},
    {"kind": "truncated"},
)
MOST_TIMES = 3

TIME_LIMIT = "time limit"
SLURMD_KILLED = "slurmd -9"
SLURMD_RESTARTED = "slurmd restarted"
SLURMCTLD_RESTARTED = "slurmctld restarted"
DAEMON_BLOWS = (SLURMD_KILLED, SLURMD_RESTARTED, SLURMCTLD_RESTARTED)
SERVER_KILLED = "worker server -9"
JOB_BLOWS = (
    *("slurmstepd -9", "worker -9", "slurmstepd and worker -9", "task -9", "scancel"),
    SERVER_KILLED,
)
LATEST_BLOW_SECONDS = 2.0

HELD_PROBABILITY = 0.7
HELD_BY_STEPS_PROBABILITY = 0.2
SERVED_PROBABILITY = 0.5
FAULT_PROBABILITY = 0.3
BLOW_PROBABILITY = 0.5
DAEMON_BLOW_PROBABILITY = 0.03
TIME_LIMIT_PROBABILITY = 0.02


@dataclass(frozen=True)
class PlannedJob:
    """One submission; `fault` is what the site is told just before, `blow` what strikes after.

    `script` is for bash, and `tasks` says as how many jobs Slurm counts it. The workers of one that
    `is_served` come from the worker server.
    """

    name: str
    way: str
    qpus: str
    script: str
    options: tuple[str, ...] = ()
    mode: str = "optional"
    require: str = "any"
    is_served: bool = False
    fault: Mapping[str, object] = field(default_factory=dict)
    blow: str = ""
    blow_after_seconds: float = 0.0

    @property
    def tasks(self) -> int:
        """As how many jobs Slurm counts it."""
        return ARRAY_TASKS if self.way == "array" else 1


def plan_soak(jobs: int, seed: int, *, is_quick: bool = False) -> list[PlannedJob]:
    """Return submissions for exactly so many jobs, always the same for one seed.

    A quick one leaves out what Slurm may take minutes to notice: a job's time limit, and a launch
    that was lost with its slurmd.
    """
    draw = random.Random(seed)
    planned: list[PlannedJob] = []
    left = jobs
    while left > 0:
        job = _plan_job(draw, f"soak-{len(planned) + 1:03}", is_quick=is_quick)
        if job.tasks <= left:
            planned.append(job)
            left -= job.tasks
    return planned


def _plan_job(draw: random.Random, name: str, *, is_quick: bool) -> PlannedJob:
    way = draw.choice(WAYS)
    blow = _plan_blow(draw, is_quick=is_quick)
    options: tuple[str, ...] = ("--time=10",)
    seconds: float = round(draw.uniform(0.0, LONGEST_SCRIPT_SECONDS), 1)
    if not is_quick and draw.random() < TIME_LIMIT_PROBABILITY:
        blow, options, seconds = TIME_LIMIT, ("--time=1",), 600
    script = draw.choice(SCRIPTS[:2] if blow == TIME_LIMIT else SCRIPTS)
    if way == "srun":
        script = "sleep {seconds}"
    elif draw.random() < HELD_BY_STEPS_PROBABILITY:
        options += (HELD_BY_STEPS,)
    return PlannedJob(
        name=name,
        way=way,
        qpus=",".join(_plan_qpus(draw)),
        script=script.format(seconds=seconds, qpu=draw.choice(HELD_QPUS)),
        options=options,
        mode=draw.choice(PLUGSTACK_MODES),
        require=draw.choice(REQUIREMENTS),
        is_served=draw.random() < SERVED_PROBABILITY,
        fault=_plan_fault(draw),
        blow=blow,
        blow_after_seconds=round(draw.uniform(0.0, LATEST_BLOW_SECONDS), 2),
    )


def _plan_qpus(draw: random.Random) -> list[str]:
    """Return QPUs of different types, most often with one that must be released."""
    chosen = draw.sample(list(QPUS), draw.randint(1, MOST_QPUS))
    if draw.random() < HELD_PROBABILITY and not set(chosen) & set(HELD_QPUS):
        chosen[0] = draw.choice(HELD_QPUS)
    return chosen


def _plan_blow(draw: random.Random, *, is_quick: bool) -> str:
    if not is_quick and draw.random() < DAEMON_BLOW_PROBABILITY:
        return draw.choice(DAEMON_BLOWS)
    return draw.choice(JOB_BLOWS) if draw.random() < BLOW_PROBABILITY else ""


def _plan_fault(draw: random.Random) -> Mapping[str, object]:
    if draw.random() >= FAULT_PROBABILITY:
        return {}
    return {
        "path": draw.choice(PATHS),
        "times": draw.randint(1, MOST_TIMES),
        **draw.choice(FAULTS),
    }
