# SPDX-License-Identifier: GPL-3.0-or-later
# What must hold of everything that a plugin shows, for a target's own code and for host.c.

from libc.stdlib cimport abort
from libc.string cimport strlen

from spank_qrmi.plugin.printable cimport printable_bytes


cdef public void require(bint holds) noexcept nogil:
    if not holds:
        abort()


cdef public void require_one_line(const char *text) noexcept nogil:
    """A line that could end early would forge the next one."""
    require(printable_bytes(text, strlen(text)) == strlen(text))
