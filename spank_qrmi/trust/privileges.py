# SPDX-License-Identifier: GPL-3.0-or-later
"""What a process may do, and how it gives that up for good."""

import contextlib
import ctypes
import errno
import os
import resource
import signal
import sys
import threading
from collections.abc import Mapping

from spank_qrmi.errors import PrivilegeError
from spank_qrmi.trust.proc import read_proc

MIB = 1024 * 1024

NO_CORE = 1
"""Too little for a file, and unlike 0 it also keeps cores from programs that collect them: core(5).
"""

THREAD_STACK_BYTES = 4 * MIB
"""Stacks count as data: 256 threads with the usual 8 MiB would be more than is allowed.

With 1 MiB, Python 3.13 has been seen to crash in deep calls.
"""

_CRASHES = {signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV}

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38


_ASKING = frozenset(
    f"socket.{call}"
    for call in (
        *("bind", "connect", "getaddrinfo", "gethostbyaddr", "gethostbyname", "getnameinfo"),
        *("sendmsg", "sendto"),
    )
)


def refuse_to_ask() -> None:
    """Let this process open no connection and ask no name server, for good.

    A guard against mistakes of our own: what does not go through Python's sockets is not seen. Its
    error is an OSError, which HTTP clients take for a connection that cannot be had.
    """

    def refuse(event: str, _: tuple[object, ...]) -> None:
        if event in _ASKING:
            raise PermissionError(
                errno.EPERM, f"{event}: only the process that has given up root asks the network"
            )

    sys.addaudithook(refuse)


def block_signals() -> None:
    """Block all signals but those of a crash."""
    signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals() - _CRASHES)


def limit(limits: Mapping[int, int]) -> None:
    """Limit this process and what it starts; one that cannot be raised stays."""
    for kind, wanted in limits.items():
        _, hard = resource.getrlimit(kind)
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (value, value))
    threading.stack_size(THREAD_STACK_BYTES)


def become(uid: int, gid: int) -> None:
    """Become this user and group, without any other group, and never root again.

    Raises PrivilegeError if any way back is left.
    """
    try:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise PrivilegeError(f"root cannot be given up for user {uid}: {error.strerror}") from error
    if os.getresuid() != (uid, uid, uid) or os.getresgid() != (gid, gid, gid) or os.getgroups():
        raise PrivilegeError("root cannot be given up: its ids or groups are left")
    for way_back in (os.seteuid, os.setegid):
        with contextlib.suppress(PermissionError):
            way_back(0)
            raise PrivilegeError("root cannot be given up: it can be regained")
    if held := capabilities():
        raise PrivilegeError(f"root cannot be given up: capabilities are left ({', '.join(held)})")


def capabilities() -> list[str]:
    """Return each of the kernel's sets in which this process has a capability that it may use."""
    # As bytes: a codec might be a module that cannot be read any more.
    lines = read_proc("self/status").splitlines()
    sets = dict(line.split(b":", 1) for line in lines if line.startswith(b"Cap"))
    return [name.decode() for name in (b"CapPrm", b"CapEff", b"CapAmb") if int(sets[name], 16)]


def seal(parent_pid: int) -> None:
    """Gain nothing by starting programs, be unreadable to others, and end with the parent.

    Changing the user undoes the latter two, so it comes first. Raises PrivilegeError.
    """
    # Python's standard library has no other way to these calls.
    library = ctypes.CDLL(None, use_errno=True)
    for option, value in (
        (_PR_SET_NO_NEW_PRIVS, 1),
        (_PR_SET_DUMPABLE, 0),
        (_PR_SET_PDEATHSIG, int(signal.SIGKILL)),
    ):
        if library.prctl(option, ctypes.c_ulong(value), *[ctypes.c_ulong(0)] * 3) != 0:
            raise PrivilegeError(f"prctl({option}) failed: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent_pid:
        raise PrivilegeError("the worker has ended")
