# SPDX-License-Identifier: GPL-3.0-or-later
# Descriptors inside slurmstepd, and waiting for them.

from libc.errno cimport EINTR, errno
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport close

from unix cimport F_DUPFD_CLOEXEC, POLLIN, fcntl, poll, pollfd


cdef inline long long monotonic_milliseconds() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <long long>now.tv_sec * 1000 + now.tv_nsec // 1000000


cdef inline int out_of_standard(int descriptor) noexcept nogil:
    """Move a descriptor above 2, where slurmstepd's epilog may have left holes; -1 on failure."""
    cdef int moved
    if descriptor < 0 or descriptor > 2:
        return descriptor
    moved = fcntl(descriptor, F_DUPFD_CLOEXEC, 3)
    close(descriptor)
    return moved


cdef inline void close_both(int *pair) noexcept nogil:
    cdef int i
    for i in range(2):
        if pair[i] >= 0:
            close(pair[i])
            pair[i] = -1


cdef inline bint is_readable(int descriptor, long long milliseconds) noexcept nogil:
    """Wait so long for something to read, the end of the stream included."""
    cdef long long now = monotonic_milliseconds()
    cdef long long deadline = now + milliseconds
    cdef pollfd waiting
    cdef int count
    waiting.fd = descriptor
    waiting.events = POLLIN
    while True:
        waiting.revents = 0
        count = poll(&waiting, 1, <int>(deadline - now))
        now = monotonic_milliseconds()
        if count >= 0 or errno != EINTR or now >= deadline:
            return count > 0
