# SPDX-License-Identifier: GPL-3.0-or-later
# What a plugin says: the worker's records in Slurm's log, and lines for the job's own output.

from libc.stdio cimport snprintf
from libc.string cimport strlen

from spank cimport slurm_debug, slurm_error, slurm_info
from spank_qrmi.plugin.byte_buffer cimport ByteBuffer, append_text, next_text
from spank_qrmi.plugin.message cimport MAX_MESSAGE_BYTES, mask_controls

cdef extern from *:
    # Each plugin defines it.
    const char *PLUGIN_LOG_NAME


cdef inline void log_worker_record(char level, const char *text) noexcept nogil:
    if level == c"e":
        slurm_error(b"%s: %s", PLUGIN_LOG_NAME, text)
    elif level == c"i":
        slurm_info(b"%s: %s", PLUGIN_LOG_NAME, text)
    else:
        slurm_debug(b"%s: %s", PLUGIN_LOG_NAME, text)


cdef inline void keep_line(ByteBuffer *lines, const char *format,
                           const char *reason) noexcept nogil:
    """Keep a line for the job's own output, which exists only from task start on.

    The reason may hold what the job's environment says, which must not forge another line.
    """
    cdef char line[1024]
    snprintf(line, sizeof(line), format, reason)
    mask_controls(line, strlen(line))
    append_text(lines, line, strlen(line), MAX_MESSAGE_BYTES)


cdef inline void report(const ByteBuffer *lines) noexcept nogil:
    """Tell slurmd's log and, from task start on, the job's output."""
    cdef const char *line = next_text(lines, NULL)
    while line != NULL:
        slurm_error(b"%s: %s", PLUGIN_LOG_NAME, line)
        line = next_text(lines, line)
