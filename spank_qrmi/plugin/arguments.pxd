# SPDX-License-Identifier: GPL-3.0-or-later
# Those arguments of plugstack.conf that must hold for a worker that cannot answer; the worker reads
# and checks all of them.

from libc.stdlib cimport strtol
from libc.string cimport strlen, strncmp

cdef enum:
    MAX_TIMEOUT_SECONDS = 86400


cdef inline const char *argument_value(int argc, char **argv, const char *prefix) noexcept nogil:
    """Return the value of the last argument that starts so, as the worker does; NULL if none."""
    cdef const char *value = NULL
    cdef size_t length = strlen(prefix)
    cdef int i
    for i in range(argc):
        if strncmp(argv[i], prefix, length) == 0:
            value = argv[i] + length
    return value


cdef inline long timeout_argument(int argc, char **argv, const char *prefix,
                                  long default) noexcept nogil:
    """Return the plugstack argument's seconds; the worker reports a value that is no such number."""
    cdef const char *text = argument_value(argc, argv, prefix)
    cdef char *end = NULL
    cdef long seconds
    if text == NULL:
        return default
    seconds = strtol(text, &end, 10)
    if end == text or end[0] != 0 or seconds < 1 or seconds > MAX_TIMEOUT_SECONDS:
        return default
    return seconds
