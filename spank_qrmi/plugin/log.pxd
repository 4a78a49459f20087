# SPDX-License-Identifier: GPL-3.0-or-later
# What a plugin says: the worker's records in Slurm's log, and lines for the job's own output.

from libc.stdio cimport snprintf
from libc.string cimport strlen

from spank cimport slurm_debug, slurm_error, slurm_info, spank_strerror
from spank_qrmi.plugin.byte_buffer cimport ByteBuffer, append_text, next_text
from spank_qrmi.plugin.descriptors cimport monotonic_milliseconds
from spank_qrmi.plugin.message cimport MAX_MESSAGE_BYTES
from spank_qrmi.plugin.printable cimport mask_controls

cdef extern from *:
    # Each plugin defines it.
    const char *PLUGIN_LOG_NAME

cdef extern from *:
    """
    static long long spent_on_errors_milliseconds;
    """
    long long spent_on_errors_milliseconds

cdef enum:
    MOST_ON_ERRORS_MILLISECONDS = 2000


cdef inline void log_line(char level, const char *text) noexcept nogil:
    """Log one line of the level `e`, `i` or another, which is debug.

    Errors go to the job's stderr too. That may be a full pipe of its user's, where Slurm waits 5 s for
    each line and drains a node whose step does not end: after some time spent so, errors are told
    at info level.
    """
    cdef long long start = monotonic_milliseconds()
    if level == c"e" and spent_on_errors_milliseconds < MOST_ON_ERRORS_MILLISECONDS:
        slurm_error(b"%s: %s", PLUGIN_LOG_NAME, text)
        (&spent_on_errors_milliseconds)[0] += monotonic_milliseconds() - start
    elif level == c"e" or level == c"i":
        slurm_info(b"%s: %s", PLUGIN_LOG_NAME, text)
    else:
        slurm_debug(b"%s: %s", PLUGIN_LOG_NAME, text)


cdef inline void log_unset(const char *name, int error) noexcept nogil:
    """Log that Slurm has refused to set a variable in the job."""
    cdef char line[1024]
    snprintf(line, sizeof(line), b"cannot set %s in the job: %s", name, spank_strerror(error))
    log_line(c"e", line)


cdef inline void keep_line(ByteBuffer *lines, const char *format,
                           const char *reason) noexcept nogil:
    """Keep a line for the job's own output, which exists only from task start on.

    The reason may quote the job's environment, which its user has made.
    """
    cdef char line[1024]
    snprintf(line, sizeof(line), format, reason)
    mask_controls(line, strlen(line))
    append_text(lines, line, strlen(line), MAX_MESSAGE_BYTES)


cdef inline void report(const ByteBuffer *lines) noexcept nogil:
    """Tell slurmd's log and, from task start on, the job's output."""
    cdef const char *line = next_text(lines, NULL)
    while line != NULL:
        log_line(c"e", line)
        line = next_text(lines, line)
