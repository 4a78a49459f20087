# SPDX-License-Identifier: GPL-3.0-or-later
# Comma separated lists of names, read in place: spaces around a name and empty places do not count.

from libc.string cimport memcmp, strcspn

from spank_qrmi.plugin.byte_buffer cimport ByteBuffer, append_bytes
from spank_qrmi.plugin.message cimport MAX_MESSAGE_BYTES


cdef inline const char *next_name(const char *text, size_t *length) noexcept nogil:
    """Return the first name from `text` on and its length, NULL if there is none left."""
    while text[0] == c"," or text[0] == c" ":
        text += 1
    length[0] = strcspn(text, b",")
    if length[0] == 0:
        return NULL
    while text[length[0] - 1] == c" ":
        length[0] -= 1
    return text


cdef inline size_t name_count(const char *names) noexcept nogil:
    cdef size_t count = 0
    cdef size_t length = 0
    cdef const char *name = next_name(names, &length)
    while name != NULL:
        count += 1
        name = next_name(name + length, &length)
    return count


cdef inline bint is_listed(const char *names, const char *name, size_t length) noexcept nogil:
    cdef size_t found_length = 0
    cdef const char *found = next_name(names, &found_length)
    while found != NULL:
        if found_length == length and memcmp(found, name, length) == 0:
            return True
        found = next_name(found + found_length, &found_length)
    return False


cdef inline const char *first_unlisted(const char *names, const char *listed,
                                       size_t *length) noexcept nogil:
    """Return the first of the names that the other list does not have, NULL if it has all."""
    cdef const char *name = next_name(names, length)
    while name != NULL and is_listed(listed, name, length[0]):
        name = next_name(name + length[0], length)
    return name


cdef inline bint keep_chosen(ByteBuffer *kept, const char *values, const char *names,
                             const char *chosen) noexcept nogil:
    """Make a text of those values that stand at the place of a chosen name in `names`."""
    cdef size_t name_length = 0
    cdef size_t value_length = 0
    cdef const char *name = next_name(names, &name_length)
    cdef const char *value = next_name(values, &value_length)
    cdef bint is_kept = True
    while name != NULL and value != NULL:
        if is_listed(chosen, name, name_length):
            is_kept = (is_kept
                       and (kept.length == 0 or append_bytes(kept, b",", 1, MAX_MESSAGE_BYTES))
                       and append_bytes(kept, value, value_length, MAX_MESSAGE_BYTES))
        name = next_name(name + name_length, &name_length)
        value = next_name(value + value_length, &value_length)
    return is_kept and append_bytes(kept, b"", 1, MAX_MESSAGE_BYTES)
