# SPDX-License-Identifier: GPL-3.0-or-later
# The one question that the plugin asks of the journal itself (spank_qrmi/state/journal.py): does it
# hold anything of a job? Every job that ends on the node asks it, so no worker is started for it.

from libc.errno cimport ENOENT, errno
from libc.stdint cimport UINT32_MAX, uint32_t, uint64_t
from libc.string cimport strerror

from spank cimport slurm_error
from unix cimport DIR, closedir, dirent, opendir, readdir

cdef extern from *:
    # Each plugin defines it.
    const char *PLUGIN_LOG_NAME


cdef inline bint is_entry_of(const char *name, uint32_t job_id) noexcept nogil:
    cdef uint64_t number = 0
    cdef const char *digit = name
    while c"0" <= digit[0] <= c"9" and number <= UINT32_MAX:
        number = number * 10 + (digit[0] - c"0")
        digit += 1
    return digit != name and digit[0] == c"-" and number == job_id


cdef inline bint holds_entry_of(const char *state_directory, uint32_t job_id) noexcept nogil:
    """Whether an entry's name starts with the job's id; a folder that is not there holds none."""
    cdef bint is_found = False
    cdef dirent *entry
    cdef DIR *folder = opendir(state_directory)
    if folder == NULL:
        if errno != ENOENT:
            slurm_error(b"%s: cannot look for what the job holds in %s: %s", PLUGIN_LOG_NAME,
                        state_directory, strerror(errno))
        return False
    entry = readdir(folder)
    while entry != NULL and not is_found:
        is_found = is_entry_of(entry.d_name, job_id)
        entry = readdir(folder)
    closedir(folder)
    return is_found
