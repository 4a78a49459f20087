# SPDX-License-Identifier: GPL-3.0-or-later
"""What every root takes over from the machine: mirrors, proxies, certificates, names of hosts.

All of it is asked for each time and kept nowhere but in the root's folder.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

PROXY = re.compile(r"(https?|ftp|no|all)_proxy", re.IGNORECASE)
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
# Sources of packages, with the keys and passwords that they need.
APT_SOURCES = (
    *("etc/apt/sources.list", "etc/apt/sources.list.d", "etc/apt/auth.conf", "etc/apt/auth.conf.d"),
    *("etc/apt/trusted.gpg", "etc/apt/trusted.gpg.d", "etc/apt/keyrings", "usr/share/keyrings"),
)


def proxy_variables() -> dict[str, str]:
    """Return what of our environment says how to reach the network."""
    return {name: value for name, value in os.environ.items() if PROXY.fullmatch(name)}


def apt_mirror(origin: str) -> str | None:
    """Return where apt gets a distribution's packages from; None if it does not know it.

    A list of mirrors or a folder of this machine is of no use in a root.
    """
    listed = output_of("apt-get", "indextargets", "--format", "$(ORIGIN) $(RELEASE) $(REPO_URI)")
    found = re.search(rf"^{origin} [a-z]+ (https?://\S+)$", listed, re.MULTILINE)
    return found[1] if found else None


def apt_settings() -> str:
    """Return apt's proxies as lines of an apt.conf."""
    dumped = output_of("apt-config", "dump")
    lines = re.findall(r"^Acquire::https?::(?:\S*::)?Proxy .*$", dumped, re.MULTILINE)
    return "".join(f"{line}\n" for line in lines)


def hosts_file(hosts: str, name: str) -> str:
    """Return the machine's list of hosts with its own name on loopback: slurmctld answers there."""
    names = [*dict.fromkeys([name, name.partition(".")[0]])]
    others = [line for line in hosts.splitlines() if not {"localhost", *names} & {*line.split()}]
    return "\n".join([f"127.0.0.1 localhost {' '.join(names)}", "::1 localhost", *others, ""])


def copy_from_machine(name: str, system: Path) -> None:
    """Give a root a file or folder of the machine at the same place, or take it away there."""
    source, target = Path("/", name), system / name
    # A link in there would lead to a file of the machine's.
    if target.is_symlink() or target.is_file():
        target.unlink()
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    elif source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def output_of(*command: str) -> str:
    """Return what a command prints; nothing if it fails or is not there."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return done.stdout if done.returncode == 0 else ""
