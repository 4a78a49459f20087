# SPDX-License-Identifier: GPL-3.0-or-later
# cython: language_level=3, cdivision=True
"""What the plugin does with single texts: masking, name lists, arguments, options, job ids.

The input is NUL-terminated texts; each function gets them in the order in which they stand.
"""

from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcpy, memset, strchr, strcmp, strlen, strrchr, strstr

from spank_qrmi.plugin.arguments cimport MAX_TIMEOUT_SECONDS, argument_value, timeout_argument
from spank_qrmi.plugin.byte_buffer cimport ByteBuffer, append_bytes, next_text, free_bytes
from spank_qrmi.plugin.log cimport keep_line
from spank_qrmi.plugin.masking cimport (
    SHOWN_BYTES, is_secret_name, show_argument, show_text, show_value)
from spank_qrmi.plugin.name_list cimport is_listed, keep_chosen, keep_unlisted, next_name
from spank_qrmi.plugin.option cimport keep_option, problem_of_text, replace_text
from spank_qrmi.plugin.quantum_jobs cimport (
    JOB_ID_BYTES, SEED_BYTES, QuantumJobs, ended_state, has_job_id, must_clear, write_job_id)

include "fuzz/plugin/claims.pxi"

cdef extern from *:
    """
    #define PLUGIN_LOG_NAME "fuzz"
    """

cdef enum:
    MOST_TEXTS = 8
    DEFAULT_SECONDS = 20


cdef void see_shown_value(const char *name, const char *value) noexcept nogil:
    cdef char shown[SHOWN_BYTES]
    cdef const char *host = strrchr(value, c"@")
    show_value(shown, name, value)
    require_one_line(shown)
    if is_secret_name(name):
        require(strcmp(shown, b"****") == 0)
    elif host != NULL and strchr(shown, c"@") != NULL:
        require(strstr(shown, b"****@") != NULL)
    show_argument(shown, value)
    require_one_line(shown)
    show_text(shown, value)
    require_one_line(shown)


cdef void see_names(const char *names, const char *listed, const char *values) noexcept nogil:
    cdef size_t length = 0
    cdef ByteBuffer kept
    cdef const char *name = next_name(names, &length)
    while name != NULL:
        require(length > 0 and name[0] != c" " and name[length - 1] != c" ")
        require(memchr(name, c",", length) == NULL)
        require(is_listed(names, name, length))
        name = next_name(name + length, &length)
    memset(&kept, 0, sizeof(kept))
    require(keep_unlisted(&kept, names, names) and kept.length == 1)
    kept.length = 0
    require(keep_unlisted(&kept, names, listed) and strlen(kept.bytes) + 1 == kept.length)
    name = next_name(kept.bytes, &length)
    while name != NULL:
        require(is_listed(names, name, length) and not is_listed(listed, name, length))
        name = next_name(name + length, &length)
    kept.length = 0
    require(keep_chosen(&kept, values, names, listed))
    require(strlen(kept.bytes) + 1 == kept.length and kept.length <= strlen(values) + 1)
    free_bytes(&kept)


cdef void see_option(const char *value) noexcept nogil:
    cdef ByteBuffer kept
    cdef ByteBuffer problems
    memset(&kept, 0, sizeof(kept))
    memset(&problems, 0, sizeof(problems))
    require(keep_option(&kept, b"option", value, True, problem_of_text, &problems) == 0)
    if problems.length == 0:
        require(strcmp(kept.bytes, value) == 0)
        require_one_line(value)
    else:
        require_one_line(problems.bytes)
    free_bytes(&problems)
    require(replace_text(&kept, value) and strcmp(kept.bytes, value) == 0)
    keep_line(&kept, b"--option: %s", value)
    require_one_line(next_text(&kept, kept.bytes))
    free_bytes(&kept)


cdef void see_arguments(int argc, char **argv) noexcept nogil:
    cdef long seconds = timeout_argument(argc, argv, b"--acquire-timeout=", DEFAULT_SECONDS)
    require(seconds >= 1 and seconds <= MAX_TIMEOUT_SECONDS)
    if argument_value(argc, argv, b"--acquire-timeout=") == NULL:
        require(seconds == DEFAULT_SECONDS)


cdef void see_job_ids(const char *text) noexcept nogil:
    cdef QuantumJobs jobs
    cdef char job_id[JOB_ID_BYTES]
    cdef int task
    memset(&jobs, 0, sizeof(jobs))
    memcpy(jobs.seed, text, min(strlen(text), <size_t>SEED_BYTES))
    require(append_bytes(&jobs.states, text, strlen(text), 64) == (strlen(text) <= 64))
    for task in range(-1, 66):
        if has_job_id(&jobs, task):
            write_job_id(&jobs, task, job_id)
            require(strlen(job_id) == JOB_ID_BYTES - 1 and job_id[14] == c"4")
            must_clear(&jobs, task, True)
            ended_state(<unsigned char>text[0] << 8)
    free_bytes(&jobs.states)


cdef public int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) noexcept nogil:
    cdef char *texts[MOST_TEXTS]
    cdef const uint8_t *end
    cdef size_t length
    cdef int count = 0
    cdef int i
    for i in range(MOST_TEXTS):
        # Each in memory of its own, so that no byte beyond its end can be read.
        end = NULL if size == 0 else <uint8_t *>memchr(data, 0, size)
        length = size if end == NULL else end - data
        texts[i] = <char *>malloc(length + 1)
        require(texts[i] != NULL)
        if length > 0:
            memcpy(texts[i], data, length)
        texts[i][length] = 0
        count += size > 0
        data += length if end == NULL else length + 1
        size -= length if end == NULL else length + 1
    see_shown_value(texts[0], texts[1])
    see_names(texts[0], texts[1], texts[2])
    see_option(texts[0])
    see_arguments(count, texts)
    see_job_ids(texts[0])
    for i in range(MOST_TEXTS):
        free(texts[i])
    return 0
