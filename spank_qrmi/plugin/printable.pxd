# SPDX-License-Identifier: GPL-3.0-or-later
# Which bytes may stand in a log line: well-formed UTF-8 without what ends a line, drives a terminal
# or shows text in another order than it has. Everything else may come from a user or a service.

from libc.stdint cimport uint32_t


cdef inline size_t read_character(const char *text, size_t length, uint32_t *code) noexcept nogil:
    """Return how many bytes the first character has, 0 if none is well-formed (RFC 3629)."""
    cdef const unsigned char *bytes = <const unsigned char *>text
    cdef uint32_t smallest
    cdef size_t count
    cdef size_t i
    code[0] = bytes[0]
    if bytes[0] < 0x80:
        return 1
    if bytes[0] & 0xE0 == 0xC0:
        count, smallest, code[0] = 2, 0x80, bytes[0] & 0x1F
    elif bytes[0] & 0xF0 == 0xE0:
        count, smallest, code[0] = 3, 0x800, bytes[0] & 0x0F
    elif bytes[0] & 0xF8 == 0xF0:
        count, smallest, code[0] = 4, 0x10000, bytes[0] & 0x07
    else:
        return 0
    if count > length:
        return 0
    for i in range(1, count):
        if bytes[i] & 0xC0 != 0x80:
            return 0
        code[0] = code[0] << 6 | (bytes[i] & 0x3F)
    if code[0] < smallest or code[0] > 0x10FFFF or 0xD800 <= code[0] <= 0xDFFF:
        return 0
    return count


cdef inline bint is_control(uint32_t code) noexcept nogil:
    """Whether it steers how text is shown: C0, C1, line ends, directions, what has no width."""
    return (code < 0x20 or 0x7F <= code <= 0x9F or code == 0xAD or code == 0x61C
            or 0x200B <= code <= 0x200F or 0x2028 <= code <= 0x202E or 0x2060 <= code <= 0x206F
            or code == 0xFEFF or 0xFFF9 <= code <= 0xFFFB or 0xE0000 <= code <= 0xE007F)


cdef inline size_t printable_bytes(const char *text, size_t length) noexcept nogil:
    """Return how many bytes from the start on can be shown as they are."""
    cdef uint32_t code = 0
    cdef size_t position = 0
    cdef size_t count
    while position < length:
        count = read_character(text + position, length - position, &code)
        if count == 0 or is_control(code):
            break
        position += count
    return position


cdef inline void mask_controls(char *text, size_t length) noexcept nogil:
    """Put "?" for each byte that cannot be shown as it is: the text is fit for one log line."""
    cdef uint32_t code = 0
    cdef size_t position = 0
    cdef size_t count
    cdef size_t i
    while position < length:
        count = read_character(text + position, length - position, &code)
        if count == 0 or is_control(code):
            for i in range(max(count, <size_t>1)):
                text[position + i] = c"?"
        position += max(count, <size_t>1)
