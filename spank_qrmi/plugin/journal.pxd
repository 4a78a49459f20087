# SPDX-License-Identifier: GPL-3.0-or-later
# The one question that the plugin asks of the journal itself (spank_qrmi/state/journal.py): does it
# hold anything of a job? Every job that ends on the node asks it, so no worker is started for it.

from libc.errno cimport ENOENT, errno
from libc.stdint cimport uint32_t
from libc.stdio cimport snprintf
from libc.string cimport strerror, strlen, strncmp

from spank cimport slurm_error
from spank_qrmi.plugin.log cimport PLUGIN_LOG_NAME
from spank_qrmi.plugin.masking cimport SHOWN_BYTES, show_text
from unix cimport DIR, closedir, dirent, opendir, readdir


cdef inline bint holds_entry_of(const char *state_directory, uint32_t job_id) noexcept nogil:
    """Whether an entry's name starts with the job's id; a folder that is not there holds none."""
    cdef char start[16]
    cdef char shown[SHOWN_BYTES]
    cdef bint is_found = False
    cdef dirent *entry
    cdef DIR *folder = opendir(state_directory)
    if folder == NULL:
        if errno != ENOENT:
            show_text(shown, state_directory)
            slurm_error(b"%s: cannot look for what the job holds in %s: %s", PLUGIN_LOG_NAME,
                        shown, strerror(errno))
        return False
    snprintf(start, sizeof(start), b"%u-", job_id)
    entry = readdir(folder)
    while entry != NULL and not is_found:
        is_found = strncmp(entry.d_name, start, strlen(start)) == 0
        entry = readdir(folder)
    closedir(folder)
    return is_found
