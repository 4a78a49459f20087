# SPDX-License-Identifier: GPL-3.0-or-later
# The plugin's side of the message format that spank_qrmi/protocol.py defines: how a request is
# written and an answer read, and the limits of both, which stand here too. Nothing of an answer is
# trusted: lengths, names and bytes are checked here before anything else sees them.

from libc.stdint cimport uint32_t
from libc.stdio cimport snprintf
from libc.string cimport memchr, memcmp, strlen

from spank_qrmi.plugin.byte_buffer cimport ByteBuffer, append_bytes, append_text
from spank_qrmi.plugin.printable cimport mask_controls, printable_bytes

cdef enum:
    PREAMBLE_BYTES = 5
    HEADER_BYTES = 5
    MAX_PAYLOAD_BYTES = 256 * 1024 + 256
    MAX_MESSAGE_BYTES = 8 * 1024 * 1024
    MAX_NAME_BYTES = 255

cdef enum Verdict:
    VERDICT_NONE = 0
    VERDICT_RUN = 1
    VERDICT_FAIL = 2

cdef struct Answer:
    ByteBuffer variables
    ByteBuffer messages
    long left
    Verdict verdict
    bint is_complete

ctypedef void (*log_record_f)(char level, const char *text) noexcept nogil


cdef inline const char *preamble() noexcept nogil:
    return b"QRMI\x01"


cdef inline bint begin_request(ByteBuffer *request) noexcept nogil:
    return append_bytes(request, preamble(), PREAMBLE_BYTES, MAX_MESSAGE_BYTES)


cdef inline bint add_bytes(ByteBuffer *request, char tag, const char *data,
                           size_t length) noexcept nogil:
    """Add one record; return False if it does not fit the format's limits."""
    cdef unsigned char header[HEADER_BYTES]
    if length > MAX_PAYLOAD_BYTES:
        return False
    header[0] = <unsigned char>tag
    header[1] = <unsigned char>(length >> 24)
    header[2] = <unsigned char>(length >> 16)
    header[3] = <unsigned char>(length >> 8)
    header[4] = <unsigned char>length
    return (append_bytes(request, header, HEADER_BYTES, MAX_MESSAGE_BYTES)
            and append_bytes(request, data, length, MAX_MESSAGE_BYTES))


cdef inline bint add_text(ByteBuffer *request, char tag, const char *text) noexcept nogil:
    return add_bytes(request, tag, text, strlen(text))


cdef inline bint add_number(ByteBuffer *request, char tag, unsigned long long number) noexcept nogil:
    cdef char digits[24]
    snprintf(digits, sizeof(digits), b"%llu", number)
    return add_text(request, tag, digits)


cdef inline bint end_request(ByteBuffer *request) noexcept nogil:
    return add_bytes(request, c".", NULL, 0)


cdef inline bint is_variable(const char *payload, size_t length) noexcept nogil:
    """Whether it is NAME=value with a name that no other meaning can be read into."""
    cdef const char *equals = <const char *>memchr(payload, c"=", length)
    cdef size_t name_length
    if equals == NULL or equals == payload or equals - payload > MAX_NAME_BYTES:
        return False
    name_length = equals - payload
    return (printable_bytes(payload, name_length) == name_length
            and memchr(payload, c" ", name_length) == NULL)


cdef inline bint is_word(const char *payload, size_t length, const char *word) noexcept nogil:
    return length == strlen(word) and memcmp(payload, word, length) == 0


cdef inline bint read_left(const char *payload, size_t length, Answer *answer) noexcept nogil:
    cdef size_t i
    if answer.left >= 0 or length == 0 or length > 6:
        return False
    answer.left = 0
    for i in range(length):
        if payload[i] < c"0" or payload[i] > c"9":
            return False
        answer.left = answer.left * 10 + (payload[i] - c"0")
    return True


cdef inline bint read_verdict(const char *payload, size_t length, Answer *answer) noexcept nogil:
    if answer.verdict != VERDICT_NONE:
        return False
    if is_word(payload, length, b"run"):
        answer.verdict = VERDICT_RUN
    elif is_word(payload, length, b"fail"):
        answer.verdict = VERDICT_FAIL
    return answer.verdict != VERDICT_NONE


cdef inline bint read_log(char *payload, size_t length, ByteBuffer *line,
                          log_record_f log) noexcept nogil:
    if length < 1:
        return False
    line.length = 0
    mask_controls(payload + 1, length - 1)
    if not append_text(line, payload + 1, length - 1, MAX_PAYLOAD_BYTES + 1):
        return False
    log(payload[0], line.bytes)
    return True


cdef inline bint read_record(char tag, char *payload, size_t length, Answer *answer,
                             ByteBuffer *line, log_record_f log) noexcept nogil:
    """Take one record into the answer; return False if it is malformed or has no place there."""
    if length > 0 and memchr(payload, 0, length) != NULL:
        return False
    if tag == c"g":
        return read_log(payload, length, line, log)
    if tag == c"e":
        return (is_variable(payload, length)
                and append_text(&answer.variables, payload, length, MAX_MESSAGE_BYTES))
    if tag == c"m":
        mask_controls(payload, length)
        return (length > 0
                and append_text(&answer.messages, payload, length, MAX_MESSAGE_BYTES))
    if tag == c"n":
        return read_left(payload, length, answer)
    if tag == c"v":
        return read_verdict(payload, length, answer)
    if tag == c".":
        answer.is_complete = answer.verdict != VERDICT_NONE and answer.left >= 0
        return answer.is_complete and length == 0
    return True  # A newer worker may say more; what this plugin does not know, it can do without.


cdef inline bint read_available(ByteBuffer *received, size_t *position, Answer *answer,
                                ByteBuffer *line, log_record_f log) noexcept nogil:
    """Read every whole record from `position` on; return False at the first malformed byte."""
    cdef unsigned char *header
    cdef size_t length
    if received.length == 0:
        return True
    if position[0] == 0:
        length = received.length if received.length < PREAMBLE_BYTES else PREAMBLE_BYTES
        if memcmp(received.bytes, preamble(), length) != 0:
            return False
        if received.length < PREAMBLE_BYTES:
            return True
        position[0] = PREAMBLE_BYTES
    while not answer.is_complete and received.length - position[0] >= HEADER_BYTES:
        header = <unsigned char *>received.bytes + position[0]
        length = ((<uint32_t>header[1] << 24) | (<uint32_t>header[2] << 16)
                  | (<uint32_t>header[3] << 8) | <uint32_t>header[4])
        if length > MAX_PAYLOAD_BYTES:
            return False
        if received.length - position[0] - HEADER_BYTES < length:
            return True
        if not read_record(<char>header[0], <char *>header + HEADER_BYTES, length, answer, line, log):
            return False
        position[0] += HEADER_BYTES + length
    return not answer.is_complete or position[0] == received.length
