# SPDX-License-Identifier: GPL-3.0-or-later
"""What a figure was measured on: machine and versions, without anything that names the machine."""

import os
import platform
import re
import subprocess
from pathlib import Path

from spank_qrmi import __version__


def description() -> dict[str, str]:
    """Return what the report says of the machine, by its names there."""
    memory = re.search(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    gigabytes = round(int(memory[1]) / 1e6) if memory else 0
    return {
        "Processor": f"{_processor()}, {os.cpu_count()} CPUs, {gigabytes} GB",
        "System": f"{_distribution()}, Linux {_kernel()}",
        "Slurm": _first_line("slurmd", "-V").removeprefix("slurm-wlm ").removeprefix("slurm "),
        "Compiler": _first_line("gcc", "--version"),
        "Python": platform.python_version(),
        "spank-qrmi": __version__,
    }


def _processor() -> str:
    found = re.search(r"(?m)^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def _kernel() -> str:
    """Return the kernel's version without what its builder has appended."""
    return platform.release().partition("-")[0]


def _distribution() -> str:
    return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())


def _first_line(*command: str) -> str:
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return printed.partition("\n")[0]
