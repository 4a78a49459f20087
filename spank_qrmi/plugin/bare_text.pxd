# SPDX-License-Identifier: GPL-3.0-or-later
# Text without the C library: every job of the node runs this, and each function of another library
# is first looked up in all that slurmstepd has loaded.


cdef inline const char *text_after(const char *text, const char *start) noexcept nogil:
    """Return how the text goes on after `start`, NULL if it does not start so."""
    while start[0] != 0 and text[0] == start[0]:
        text += 1
        start += 1
    return text if start[0] == 0 else NULL
