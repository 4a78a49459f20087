# SPDX-License-Identifier: GPL-3.0-or-later
# What a user is told at submission of the QPUs that a job asks for, as far as a catalog is published.
# Nothing here may keep a job from its queue but a catalog that has none of its QPUs for it.

from libc.stdio cimport snprintf
from libc.string cimport memcmp, strcmp, strlen

from spank_qrmi.plugin.arguments cimport argument_value
from spank_qrmi.plugin.catalog cimport (
    Catalog, CatalogEntry, close_catalog, find_entry, may_use, nearest_name, open_catalog)
from spank_qrmi.plugin.log cimport log_line
from spank_qrmi.plugin.name_list cimport next_name
from spank_qrmi.plugin.printable cimport mask_controls

cdef extern from *:
    """
    #define NO_SUCH_QPU "%s--qpu: no QPU is called %.*s"
    #define MEANT_QPU "%s--qpu: no QPU is called %.*s: is it %s?"
    #define NOT_FOR_YOU "%s--qpu: you may not use %s"
    #define IS_IN_STATE "%s--qpu: %s is %.32s%s%.200s"
    #define NONE_LEFT "--qpu: nothing is submitted: the job would have %s; `spank-qrmi qpus` " \
        "shows which QPUs there are"
    """
    const char *IS_IN_STATE
    const char *MEANT_QPU
    const char *NO_SUCH_QPU
    const char *NONE_LEFT
    const char *NOT_FOR_YOU

cdef enum:
    MOST_TOLD_QPUS = 8
    SUBMISSION_LINE_BYTES = 1024
    SHOWN_NAME_BYTES = 255

# What a job can have of a QPU that it asks for.
cdef enum Chance:
    CHANCE_UNKNOWN_NAME
    CHANCE_NOT_FOR_USER
    CHANCE_AWAY
    CHANCE_BUSY
    CHANCE_GOOD


cdef inline Chance chance_of(const Catalog *catalog, const char *name, size_t length,
                             CatalogEntry *entry) noexcept nogil:
    if not find_entry(catalog, name, length, entry):
        return CHANCE_UNKNOWN_NAME
    if not may_use(entry):
        return CHANCE_NOT_FOR_USER
    if (strcmp(entry.state, b"paused") == 0 or strcmp(entry.state, b"offline") == 0
            or strcmp(entry.state, b"unknown") == 0):
        return CHANCE_AWAY
    return CHANCE_BUSY if strcmp(entry.state, b"busy") == 0 else CHANCE_GOOD


cdef inline void write_unknown(char *line, const char *level_word, const Catalog *catalog,
                               const char *name, size_t length) noexcept nogil:
    cdef const char *nearest = nearest_name(catalog, name, length)
    cdef int shown_length = <int>min(length, <size_t>SHOWN_NAME_BYTES)
    if nearest == NULL:
        snprintf(line, SUBMISSION_LINE_BYTES, NO_SUCH_QPU, level_word, shown_length, name)
    else:
        snprintf(line, SUBMISSION_LINE_BYTES, MEANT_QPU, level_word, shown_length, name, nearest)


cdef inline void tell_chance(const Catalog *catalog, const char *name, size_t length,
                             Chance chance, const CatalogEntry *entry, char level) noexcept nogil:
    """Tell of one QPU; what is lost at the level of errors or `i`, a busy one as a debug line."""
    cdef char line[SUBMISSION_LINE_BYTES]
    cdef const char *level_word = b"warning: "
    cdef const char *colon = b": "
    if chance == CHANCE_BUSY:
        level = c"d"
    elif chance == CHANCE_AWAY:
        level = c"i"
    if level != c"i":
        level_word = b""
    if chance == CHANCE_UNKNOWN_NAME:
        write_unknown(line, level_word, catalog, name, length)
    elif chance == CHANCE_NOT_FOR_USER:
        snprintf(line, sizeof(line), NOT_FOR_YOU, level_word, entry.name)
    else:
        if entry.told[0] == 0:
            colon = b""
        snprintf(line, sizeof(line), IS_IN_STATE, level_word, entry.name, entry.state, colon,
                 entry.told)
    mask_controls(line, strlen(line))
    log_line(level, line)


cdef inline bint is_repeated(const char *names, const char *name, size_t length) noexcept nogil:
    """Whether the same name stands before this one."""
    cdef size_t its_length = 0
    cdef const char *each = next_name(names, &its_length)
    while each != name:
        if its_length == length and memcmp(each, name, length) == 0:
            return True
        each = next_name(each + its_length, &its_length)
    return False


cdef inline void count_chances(const Catalog *catalog, const char *names, int *left,
                               int *lost) noexcept nogil:
    """Count how many of the QPUs a job could have, and how many not."""
    cdef CatalogEntry entry
    cdef size_t length = 0
    cdef const char *name = next_name(names, &length)
    left[0] = lost[0] = 0
    while name != NULL:
        if chance_of(catalog, name, length, &entry) >= CHANCE_AWAY:
            left[0] += 1
        else:
            lost[0] += 1
        name = next_name(name + length, &length)


cdef inline void tell_chances(const Catalog *catalog, const char *names, char level) noexcept nogil:
    """Tell what stands in a job's way, of the first QPUs that have anything to tell."""
    cdef CatalogEntry entry
    cdef Chance chance
    cdef size_t length = 0
    cdef int told = 0
    cdef const char *name = next_name(names, &length)
    while name != NULL and told < MOST_TOLD_QPUS:
        if not is_repeated(names, name, length):
            chance = chance_of(catalog, name, length, &entry)
            if chance != CHANCE_GOOD:
                tell_chance(catalog, name, length, chance, &entry, level)
                told += 1
        name = next_name(name + length, &length)


cdef inline bint needs_all(int argc, char **argv) noexcept nogil:
    cdef const char *choice = argument_value(argc, argv, b"--require=")
    return choice != NULL and strcmp(choice, b"all") == 0


cdef inline bint may_submit(const char *names, bint runs_without, int argc,
                            char **argv) noexcept nogil:
    """Tell what the published catalog says of these QPUs; return False if it leaves the job none.

    With `--require=all` that is so if one is missing. A job that `runs_without` QPUs is only told.
    """
    cdef char line[SUBMISSION_LINE_BYTES]
    cdef Catalog catalog
    cdef const char *has = b"no QPU"
    cdef bint must_refuse = False
    cdef int left = 0
    cdef int lost = 0
    cdef const char *folder = argument_value(argc, argv, b"--catalog=")
    if folder == NULL:
        return True
    if open_catalog(&catalog, folder):
        count_chances(&catalog, names, &left, &lost)
        must_refuse = not runs_without and (left == 0 or (lost > 0 and needs_all(argc, argv)))
        tell_chances(&catalog, names, c"e" if must_refuse else c"i")
        if left > 0:
            has = b"not all of its QPUs"
        if must_refuse:
            snprintf(line, sizeof(line), NONE_LEFT, has)
            log_line(c"e", line)
    close_catalog(&catalog)
    return not must_refuse
