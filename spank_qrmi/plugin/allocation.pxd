# SPDX-License-Identifier: GPL-3.0-or-later
# `salloc --no-shell`: an allocation in which nothing runs that could hand an option on to a step.
# SPANK tells nothing of the command that loaded the plugin, so its own words are looked at.

from libc.string cimport strcmp, strlen, strncmp
from posix.fcntl cimport O_RDONLY, open
from posix.unistd cimport close, read

from spank cimport slurm_info
from spank_qrmi.plugin.log cimport PLUGIN_LOG_NAME
from unix cimport O_CLOEXEC, program_invocation_short_name

cdef extern from *:
    """
    #define GIVEN_TO_NO_SHELL \
        "%s: warning: --%s has no effect with salloc --no-shell: give it to each srun --jobid=ID"
    """
    const char *GIVEN_TO_NO_SHELL

cdef enum:
    MOST_WORDS_BYTES = 16 * 1024
    SHORTEST_FORM = 6  # --no-s: less could be another option.


cdef inline bint is_no_shell(const char *word) noexcept nogil:
    """Whether Slurm takes the word for `--no-shell`, which may be cut short."""
    return strlen(word) >= SHORTEST_FORM and strncmp(b"--no-shell", word, strlen(word)) == 0


cdef inline bint has_no_shell() noexcept nogil:
    """Whether this is a salloc that starts nothing, as far as its first words tell."""
    cdef char words[MOST_WORDS_BYTES]
    cdef ssize_t length
    cdef ssize_t position = 0
    cdef int file
    if strcmp(program_invocation_short_name, b"salloc") != 0:
        return False
    file = open(b"/proc/self/cmdline", O_RDONLY | O_CLOEXEC)
    if file < 0:
        return False
    length = read(file, words, sizeof(words) - 1)
    close(file)
    words[max(length, <ssize_t>0)] = 0
    while position < length:
        if is_no_shell(words + position):
            return True
        position += strlen(words + position) + 1
    return False


cdef inline void warn_without_shell(const char *option) noexcept nogil:
    """Tell the user of an option that no step will have."""
    if has_no_shell():
        slurm_info(GIVEN_TO_NO_SHELL, PLUGIN_LOG_NAME, option)
