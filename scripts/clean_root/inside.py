# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that run as root inside of a root.

All mounts are in a namespace of the command's own, and so are its processes: both are gone when it
ends, however it ends.
"""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from clean_root.machine import hosts_file, proxy_variables

CLEAN_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
}
# We may be killed: nothing of the namespace outlives us.
NAMESPACE = (
    *("setpriv", "--pdeathsig", "KILL", "--"),
    *("unshare", "--pid", "--mount", "--fork", "--kill-child"),
)
# Process 1 of the namespace stays a shell: it reaps what daemons leave behind.
ENTER = """
set -e
root=$1 tmp=$2
shift 2
# A command in there can only make a mount namespace of its own if its root is a mount point.
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
if [ "$tmp" = new ]; then mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"; fi
while [ "$1" != -- ]; do
    # Links in there must not lead to a place of the machine's.
    place=$root$(chroot "$root" realpath -m "$1")
    if [ -d "$1" ]; then
        mkdir -p "$place"
    elif [ ! -e "$place" ]; then
        mkdir -p "${place%/*}"
        : >"$place"
    fi
    mount --bind -o ro "$1" "$place"
    shift
done
shift
set +e
chroot "$root" "$@"
exit $?
"""


def run_inside(
    system: Path,
    command: Sequence[str],
    *,
    show: Sequence[Path] = (),
    variables: Mapping[str, str] | None = None,
    keep_tmp: bool = False,
    log: Path | None = None,
    timeout_seconds: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command inside; return its exit status, which may be any, and what it wrote.

    `show` are folders and files of the machine that are seen there at the same place, read-only;
    `variables` are more of its environment. `/tmp` is new and empty unless it is to be kept. What
    the command writes is added to `log` if there is one. Raises subprocess.TimeoutExpired.
    """
    write_host_files(system)
    shown = [str(path) for path in dict.fromkeys(show)]
    tmp = "kept" if keep_tmp else "new"
    return run_apart(
        ["sh", "-c", ENTER, "sh", str(system), tmp, *shown, "--", *command],
        variables=variables,
        log=log,
        timeout_seconds=timeout_seconds,
    )


def run_apart(
    command: Sequence[str],
    *,
    variables: Mapping[str, str] | None = None,
    log: Path | None = None,
    timeout_seconds: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command of the machine in such a namespace, as `run_inside` does."""
    words = [*NAMESPACE, *command]
    # Not by words of a command: a proxy's address may hold a password.
    environment = CLEAN_ENVIRONMENT | proxy_variables() | dict(variables or {})
    if log is None:
        return subprocess.run(
            words,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment,
            timeout=timeout_seconds,
        )
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.run(
            words,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            timeout=timeout_seconds,
        )


def write_host_files(system: Path) -> None:
    """Let names be found inside as they are now on the machine."""
    hosts = hosts_file(Path("/etc/hosts").read_text(), os.uname().nodename)
    resolver = Path("/etc/resolv.conf").read_text()
    for name, text in (("hosts", hosts), ("resolv.conf", resolver)):
        path = system / "etc" / name
        # A link in there would lead to a file of the machine's.
        path.unlink(missing_ok=True)
        path.write_text(text)
