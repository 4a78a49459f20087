# SPDX-License-Identifier: GPL-3.0-or-later
# Which variables an answer may set in a job: a plugin's own, those of `--env:`, and with `--env-file=`
# proxies. The worker parses what services answer, and a job must not lose its PATH or gain an
# LD_PRELOAD by that.

from libc.stdio cimport snprintf
from libc.string cimport memcmp, strchr, strlen, strncmp
from posix.strings cimport strncasecmp

from spank_qrmi.plugin.arguments cimport argument_value
from spank_qrmi.plugin.byte_buffer cimport ByteBuffer, next_text

ctypedef bint (*is_own_f)(const char *name, size_t length) noexcept nogil


cdef inline bint starts_with(const char *name, size_t length, const char *prefix) noexcept nogil:
    return length >= strlen(prefix) and memcmp(name, prefix, strlen(prefix)) == 0


cdef inline bint is_either_case(const char *name, size_t length, const char *word) noexcept nogil:
    return length == strlen(word) and strncasecmp(name, word, length) == 0


cdef inline bint is_proxy(const char *name, size_t length) noexcept nogil:
    return (is_either_case(name, length, b"http_proxy")
            or is_either_case(name, length, b"https_proxy")
            or is_either_case(name, length, b"all_proxy")
            or is_either_case(name, length, b"no_proxy"))


cdef inline bint is_of_site(const char *name, size_t length, int argc, char **argv) noexcept nogil:
    """Whether the administrator has named the variable by `--env:NAME=VALUE`, or a file may."""
    cdef int i
    if is_proxy(name, length) and argument_value(argc, argv, b"--env-file=") != NULL:
        return True
    for i in range(argc):
        if (strncmp(argv[i], b"--env:", 6) == 0 and strncmp(argv[i] + 6, name, length) == 0
                and argv[i][6 + length] == c"="):
            return True
    return False


cdef inline bint are_ours(const ByteBuffer *variables, is_own_f is_own, int argc, char **argv,
                          char *failure, size_t failure_bytes) noexcept nogil:
    """Whether an answer sets nothing else; if it does, `failure` names the first such variable."""
    cdef const char *entry = next_text(variables, NULL)
    cdef size_t length
    while entry != NULL:
        length = strchr(entry, c"=") - entry
        if not is_own(entry, length) and not is_of_site(entry, length, argc, argv):
            snprintf(failure, failure_bytes,
                     b"gave an answer that would set %.*s, which is not its to set", <int>length,
                     entry)
            return False
        entry = next_text(variables, entry)
    return True
