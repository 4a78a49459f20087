# SPDX-License-Identifier: GPL-3.0-or-later
# A plugin that plugstack.conf lists twice: Slurm loads its library once, and calls each hook for each
# line with that line's arguments. Both ends of a job must go by the same ones, and only once.

from spank cimport slurm_info
from spank_qrmi.plugin.log cimport PLUGIN_LOG_NAME

cdef extern from *:
    """
    #define LISTED_TWICE "%s: warning: listed twice in plugstack.conf: the first line that says where " \
        "the configuration is counts, for all hooks; remove the other"
    """
    const char *LISTED_TWICE

cdef struct PlugstackLines:
    int count
    int calls  # of the hook that Slurm is at
    int argc  # of the line that counts
    char **argv
    bint has_configuration


cdef inline void note_line(PlugstackLines *lines, int argc, char **argv,
                           bint has_configuration) noexcept nogil:
    """Slurm calls the first hook for all lines before any other hook."""
    lines.count += 1
    if lines.count == 1 or (has_configuration and not lines.has_configuration):
        lines.argc = argc
        lines.argv = argv
        lines.has_configuration = has_configuration


cdef inline void warn_of_second_line(const PlugstackLines *lines) noexcept nogil:
    if lines.count == 2:
        slurm_info(LISTED_TWICE, PLUGIN_LOG_NAME)


cdef inline bint is_last_call(PlugstackLines *lines, int *argc, char ***argv) noexcept nogil:
    """Whether Slurm has called the hook for every line; the arguments become those that count."""
    lines.calls += 1
    if lines.calls < lines.count:
        return False
    lines.calls = 0
    if lines.count > 0:
        argc[0] = lines.argc
        argv[0] = lines.argv
    return True
