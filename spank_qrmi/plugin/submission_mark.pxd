# SPDX-License-Identifier: GPL-3.0-or-later
# How slurmstepd learns that a task has run `qrun`: before it submits, qrun sends a byte to a socket
# (spank_qrmi/qrun/submission_mark.py), where the kernel keeps it, whatever becomes of its sender.
# Everybody on the node may send something there, so nothing is ever read.

from libc.stdio cimport snprintf
from libc.string cimport memset, strlen
from posix.unistd cimport close

from spank_qrmi.plugin.descriptors cimport is_readable, out_of_standard
from unix cimport (
    AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, bind, sockaddr, sockaddr_un, socket)

cdef enum:
    # Of the ids of a step's tasks only the last characters differ (quantum_jobs.pxd).
    COMMON_CHARACTERS = 28


cdef inline int open_mark(const char *job_id) noexcept nogil:
    """Return the socket of the step that has this id among those of its tasks, -1 if there is none.

    Its name is an abstract one, which needs no folder and no clean-up, and which a task finds whose
    file system is another one.
    """
    cdef sockaddr_un address
    cdef int mark = out_of_standard(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0))
    if mark < 0:
        return -1
    memset(&address, 0, sizeof(address))
    address.sun_family = AF_UNIX
    snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, b"spank_ibm_qrun/%.*s",
             <int>COMMON_CHARACTERS, job_id)
    if bind(mark, <const sockaddr *>&address,
            sizeof(address.sun_family) + 1 + strlen(address.sun_path + 1)) != 0:
        close(mark)
        return -1
    return mark


cdef inline bint is_marked(int mark) noexcept nogil:
    """Whether a task may have submitted a quantum job: without a socket nobody can tell."""
    return mark < 0 or is_readable(mark, 0)
