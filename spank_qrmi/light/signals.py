# SPDX-License-Identifier: GPL-3.0-or-later
"""`signal`, as far as a worker needs it: the C module below.

What the standard library puts on top makes enumerations of its numbers, which takes 0.4 ms.
"""

from spank_qrmi.light.type_hints import TYPE_CHECKING

if TYPE_CHECKING:
    from signal import (
        SIG_SETMASK,
        SIGABRT,
        SIGBUS,
        SIGCONT,
        SIGFPE,
        SIGILL,
        SIGKILL,
        SIGSEGV,
        pthread_sigmask,
        valid_signals,
    )
else:
    from _signal import (
        SIG_SETMASK,
        SIGABRT,
        SIGBUS,
        SIGCONT,
        SIGFPE,
        SIGILL,
        SIGKILL,
        SIGSEGV,
        pthread_sigmask,
        valid_signals,
    )

__all__ = [
    "SIGABRT",
    "SIGBUS",
    "SIGCONT",
    "SIGFPE",
    "SIGILL",
    "SIGKILL",
    "SIGSEGV",
    "SIG_SETMASK",
    "pthread_sigmask",
    "valid_signals",
]
