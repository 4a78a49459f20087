# SPDX-License-Identifier: GPL-3.0-or-later
# cython: language_level=3, cdivision=True
"""The plugin reads the published catalog at submission: any bytes, for any names.

The input is the names of `--qpu` up to a NUL, and then what the file holds.
"""

from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcpy, memset, strlen

from spank_qrmi.plugin.catalog cimport (
    Catalog, CatalogEntry, close_catalog, find_entry, may_use, nearest_name, next_entry,
    slips_between, split_catalog, MOST_SLIPS)
from spank_qrmi.plugin.message cimport MAX_NAME_BYTES
from spank_qrmi.plugin.name_list cimport next_name, problem_of_names
from spank_qrmi.plugin.submission cimport count_chances, tell_chances

include "fuzz/plugin/claims.pxi"

cdef extern from *:
    """
    #define PLUGIN_LOG_NAME "fuzz"
    """

cdef enum:
    NOW = 1000


cdef void see_entries(const Catalog *catalog) noexcept nogil:
    cdef CatalogEntry entry
    cdef CatalogEntry found
    memset(&entry, 0, sizeof(entry))
    while next_entry(catalog, &entry):
        require(0 < strlen(entry.name) <= MAX_NAME_BYTES)
        require_one_line(entry.name)
        require(entry.following <= catalog.end)
        require(find_entry(catalog, entry.name, strlen(entry.name), &found))
        require(nearest_name(catalog, entry.name, strlen(entry.name)) != NULL
                or strlen(entry.name) == 0)
        may_use(&entry)


cdef void see_names(const Catalog *catalog, const char *names) noexcept nogil:
    cdef size_t length = 0
    cdef int left = 0
    cdef int lost = 0
    cdef const char *nearest
    cdef const char *name = next_name(names, &length)
    while name != NULL:
        nearest = nearest_name(catalog, name, length)
        require(nearest == NULL or slips_between(name, <int>length, nearest, <int>strlen(nearest),
                                                 MOST_SLIPS) <= MOST_SLIPS)
        name = next_name(name + length, &length)
    count_chances(catalog, names, &left, &lost)
    require(left >= 0 and lost >= 0 and left + lost > 0)
    tell_chances(catalog, names, c"e")
    tell_chances(catalog, names, c"i")


cdef public int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) noexcept nogil:
    cdef Catalog catalog
    cdef const uint8_t *end = NULL
    cdef size_t length = size
    cdef char *names
    if size > 0:
        end = <const uint8_t *>memchr(data, 0, size)
    if end != NULL:
        length = end - data
    names = <char *>malloc(length + 1)
    memset(&catalog, 0, sizeof(catalog))
    require(names != NULL)
    if length > 0:
        memcpy(names, data, length)
    names[length] = 0
    data += length
    size -= length
    # As the file is read: in memory of its own, with a NUL behind it.
    catalog.content.bytes = <char *>malloc(size + 1)
    require(catalog.content.bytes != NULL)
    if size > 1:
        memcpy(catalog.content.bytes, data + 1, size - 1)
        catalog.content.length = size - 1
    catalog.content.bytes[catalog.content.length] = 0
    if split_catalog(&catalog, NOW):
        see_entries(&catalog)
        if problem_of_names(names) == NULL:
            see_names(&catalog, names)
    close_catalog(&catalog)
    free(names)
    return 0
