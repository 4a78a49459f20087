# SPDX-License-Identifier: GPL-3.0-or-later
# What `--qpu` may hold and how much: comma separated lists of names, read in place. Spaces around a
# name and empty places do not count.

from libc.string cimport memcmp, strcspn, strlen

from spank_qrmi.plugin.byte_buffer cimport ByteBuffer, append_bytes
from spank_qrmi.plugin.message cimport MAX_MESSAGE_BYTES
from spank_qrmi.plugin.option cimport problem_of_text

cdef enum:
    MAX_LIST_BYTES = 64 * 1024
    MAX_QPUS = 256


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
    cdef size_t length = 0
    cdef size_t count = 0
    cdef const char *name = next_name(names, &length)
    while name != NULL:
        count += 1
        name = next_name(name + length, &length)
    return count


cdef inline const char *problem_of_names(const char *names) noexcept nogil:
    """Return what is wrong with a list of QPUs as a user gives it, NULL if nothing is."""
    cdef size_t count
    if strlen(names) > MAX_LIST_BYTES:
        return b"is longer than 65536 bytes"
    count = name_count(names)
    if count == 0:
        return b"names no QPU: give a comma separated list such as --qpu=name1,name2"
    if count > MAX_QPUS:
        return b"names more than 256 QPUs"
    return problem_of_text(names)


cdef inline bint is_listed(const char *names, const char *name, size_t length) noexcept nogil:
    cdef size_t found_length = 0
    cdef const char *found = next_name(names, &found_length)
    while found != NULL:
        if found_length == length and memcmp(found, name, length) == 0:
            return True
        found = next_name(found + found_length, &found_length)
    return False


cdef inline bint starts_with_listed(const char *text, size_t length, const char *names,
                                    const char *middle) noexcept nogil:
    """Whether the text starts with one of the names and goes on with `middle`."""
    cdef size_t name_length = 0
    cdef size_t middle_length = strlen(middle)
    cdef const char *name = next_name(names, &name_length)
    while name != NULL:
        if (length >= name_length + middle_length and memcmp(text, name, name_length) == 0
                and memcmp(text + name_length, middle, middle_length) == 0):
            return True
        name = next_name(name + name_length, &name_length)
    return False


cdef inline bint keep_name(ByteBuffer *kept, const char *name, size_t length) noexcept nogil:
    return ((kept.length == 0 or append_bytes(kept, b",", 1, MAX_MESSAGE_BYTES))
            and append_bytes(kept, name, length, MAX_MESSAGE_BYTES))


cdef inline bint keep_unlisted(ByteBuffer *kept, const char *names,
                               const char *listed) noexcept nogil:
    """Make a list of those names that the other list does not have, empty if it has all."""
    cdef size_t length = 0
    cdef const char *name = next_name(names, &length)
    cdef bint is_kept = True
    while name != NULL:
        if not is_listed(listed, name, length):
            is_kept = is_kept and keep_name(kept, name, length)
        name = next_name(name + length, &length)
    return is_kept and append_bytes(kept, b"", 1, MAX_MESSAGE_BYTES)


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
            is_kept = is_kept and keep_name(kept, value, value_length)
        name = next_name(name + name_length, &name_length)
        value = next_name(value + value_length, &value_length)
    return is_kept and append_bytes(kept, b"", 1, MAX_MESSAGE_BYTES)
