# SPDX-License-Identifier: GPL-3.0-or-later
# cython: language_level=3, cdivision=True
"""The plugin reads what a worker answers: any bytes, in pieces of any size.

The first byte of the input is the size of the pieces, the rest is the answer.
"""

from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp, memcpy, memset, strchr, strlen

from spank_qrmi.plugin.byte_buffer cimport ByteBuffer, append_bytes, next_text, free_bytes
from spank_qrmi.plugin.message cimport (
    MAX_MESSAGE_BYTES, MAX_NAME_BYTES, VERDICT_NONE, Answer, read_available)
from spank_qrmi.plugin.printable cimport printable_bytes

include "fuzz/plugin/claims.pxi"

cdef struct Reading:
    Answer answer
    bint is_sound


cdef void see_log(char level, const char *text) noexcept nogil:
    require_one_line(text)


cdef void read_in_pieces(Reading *reading, const uint8_t *data, size_t size,
                         size_t piece) noexcept nogil:
    cdef ByteBuffer received
    cdef ByteBuffer line
    cdef size_t position = 0
    cdef size_t taken = 0
    cdef size_t length
    memset(&received, 0, sizeof(received))
    memset(&line, 0, sizeof(line))
    while reading.is_sound and not reading.answer.is_complete and taken < size:
        length = min(piece, size - taken)
        require(append_bytes(&received, data + taken, length, MAX_MESSAGE_BYTES))
        taken += length
        reading.is_sound = read_available(&received, &position, &reading.answer, &line, see_log)
        require(position <= received.length)
    free_bytes(&received)
    free_bytes(&line)


cdef void read_at_once(Reading *reading, const uint8_t *data, size_t size) noexcept nogil:
    """Read from memory that ends where the answer ends, so that no byte beyond it can be read."""
    cdef ByteBuffer received
    cdef ByteBuffer line
    cdef size_t position = 0
    memset(&line, 0, sizeof(line))
    received.bytes = NULL
    received.length = received.capacity = size
    if size > 0:
        received.bytes = <char *>malloc(size)
        require(received.bytes != NULL)
        memcpy(received.bytes, data, size)
    reading.is_sound = read_available(&received, &position, &reading.answer, &line, see_log)
    require(position <= size)
    free(received.bytes)
    free_bytes(&line)


cdef void begin(Reading *reading) noexcept nogil:
    memset(reading, 0, sizeof(reading[0]))
    reading.answer.left = -1
    reading.is_sound = True


cdef void require_sound(const Answer *answer) noexcept nogil:
    cdef const char *entry = next_text(&answer.variables, NULL)
    cdef const char *equals
    cdef size_t length
    while entry != NULL:
        equals = strchr(entry, c"=")
        require(equals != NULL and equals > entry and equals - entry <= MAX_NAME_BYTES)
        length = equals - entry
        require(printable_bytes(entry, length) == length and memchr(entry, c" ", length) == NULL)
        entry = next_text(&answer.variables, entry)
    entry = next_text(&answer.messages, NULL)
    while entry != NULL:
        require(strlen(entry) > 0)
        require_one_line(entry)
        entry = next_text(&answer.messages, entry)
    require(answer.left >= -1 and answer.left <= 999999)
    if answer.is_complete:
        require(answer.left >= 0 and answer.verdict != VERDICT_NONE)


cdef void require_same_text(const ByteBuffer *one, const ByteBuffer *other) noexcept nogil:
    require(one.length == other.length)
    require(one.length == 0 or memcmp(one.bytes, other.bytes, one.length) == 0)


cdef public int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) noexcept nogil:
    cdef Reading in_pieces
    cdef Reading at_once
    if size == 0:
        return 0
    begin(&in_pieces)
    begin(&at_once)
    read_in_pieces(&in_pieces, data + 1, size - 1, max(data[0], 1))
    read_at_once(&at_once, data + 1, size - 1)
    require_sound(&in_pieces.answer)
    require_sound(&at_once.answer)
    # In pieces, the end may be seen before what follows it, which is then not read.
    if at_once.is_sound:
        require(in_pieces.is_sound)
        require(in_pieces.answer.is_complete == at_once.answer.is_complete)
        require(in_pieces.answer.left == at_once.answer.left)
        require_same_text(&in_pieces.answer.variables, &at_once.answer.variables)
        require_same_text(&in_pieces.answer.messages, &at_once.answer.messages)
    free_bytes(&in_pieces.answer.variables)
    free_bytes(&in_pieces.answer.messages)
    free_bytes(&at_once.answer.variables)
    free_bytes(&at_once.answer.messages)
    return 0
