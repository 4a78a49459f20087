# SPDX-License-Identifier: GPL-3.0-or-later
# Bytes that grow up to a limit; all else in the plugin that must remember text uses it. Requests and
# answers hold credentials: no copy stays behind in memory that is given back.

from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, strlen

from unix cimport explicit_bzero

cdef struct ByteBuffer:
    char *bytes
    size_t length
    size_t capacity


cdef inline void erase(ByteBuffer *buffer) noexcept nogil:
    if buffer.bytes != NULL:
        explicit_bzero(buffer.bytes, buffer.length)
        free(buffer.bytes)


cdef inline bint append_bytes(ByteBuffer *buffer, const void *data, size_t length,
                              size_t limit) noexcept nogil:
    """Append; return False, with nothing appended, past the limit or without memory."""
    cdef size_t capacity
    cdef void *grown
    if length > limit or buffer.length > limit - length:
        return False
    if buffer.length + length > buffer.capacity:
        capacity = 2 * (buffer.length + length)
        grown = malloc(capacity)
        if grown == NULL:
            return False
        if buffer.length > 0:
            memcpy(grown, buffer.bytes, buffer.length)
        erase(buffer)
        buffer.bytes = <char *>grown
        buffer.capacity = capacity
    if length > 0:
        memcpy(buffer.bytes + buffer.length, data, length)
        buffer.length += length
    return True


cdef inline bint append_text(ByteBuffer *buffer, const char *text, size_t length,
                             size_t limit) noexcept nogil:
    """Append `length` bytes of text as one NUL-terminated entry."""
    cdef char end = 0
    cdef size_t before = buffer.length
    if append_bytes(buffer, text, length, limit) and append_bytes(buffer, &end, 1, limit):
        return True
    buffer.length = before
    return False


cdef inline const char *next_text(const ByteBuffer *buffer, const char *previous) noexcept nogil:
    """Return the entry after `previous`, the first one for NULL, NULL after the last one."""
    cdef const char *following
    if buffer.length == 0:
        return NULL
    if previous == NULL:
        return buffer.bytes
    following = previous + strlen(previous) + 1
    if following >= buffer.bytes + buffer.length:
        return NULL
    return following


cdef inline void free_bytes(ByteBuffer *buffer) noexcept nogil:
    erase(buffer)
    buffer.bytes = NULL
    buffer.length = 0
    buffer.capacity = 0
