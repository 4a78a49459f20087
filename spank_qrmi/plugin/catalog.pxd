# SPDX-License-Identifier: GPL-3.0-or-later
# The published catalog of QPUs as lines of text (spank_qrmi/catalog/lines.py), read where a job is
# submitted, as its user. What is not whole, too old, or could be another user's counts as none.

from libc.stdio cimport snprintf
from libc.stdlib cimport malloc, strtoll
from libc.string cimport memchr, memcmp, memset, strchr, strcmp, strlen, strncmp, strspn
from libc.time cimport time
from posix.fcntl cimport O_CLOEXEC, O_NONBLOCK, O_RDONLY, open
from posix.stat cimport S_ISREG, S_IWGRP, S_IWOTH, fstat, stat, struct_stat
from posix.types cimport gid_t, uid_t
from posix.unistd cimport close, getegid, getgroups, getuid, read

from spank_qrmi.plugin.byte_buffer cimport ByteBuffer, free_bytes
from spank_qrmi.plugin.message cimport MAX_NAME_BYTES
from spank_qrmi.plugin.name_list cimport is_listed
from spank_qrmi.plugin.printable cimport printable_bytes
from unix cimport O_NOFOLLOW, Dl_info, dladdr

cdef extern from *:
    """
    #define CATALOG_FILE "/qpus.txt"
    #define CATALOG_START "spank-qrmi-catalog 1 "
    """
    const char *CATALOG_FILE
    const char *CATALOG_START

cdef enum:
    MAX_CATALOG_BYTES = 1024 * 1024
    CATALOG_PATH_BYTES = 4096
    ENTRY_FIELDS = 5
    MOST_GROUPS = 65536  # NGROUPS_MAX
    MOST_SLIPS = 2

cdef struct Catalog:
    ByteBuffer content
    char *first  # entry: its fields are texts, one after another
    char *end

cdef struct CatalogEntry:
    const char *name
    const char *state
    const char *uids
    const char *gids
    const char *told
    const char *following


cdef inline uid_t owner_of_plugin() noexcept nogil:
    """Who can change the plugin can make a command do anything; root if that cannot be told."""
    cdef Dl_info info
    cdef struct_stat status
    if (dladdr(<const void *>owner_of_plugin, &info) == 0 or info.dli_fname == NULL
            or stat(info.dli_fname, &status) != 0):
        return 0
    return status.st_uid


cdef inline bint is_trusted(const struct_stat *status) noexcept nogil:
    return (S_ISREG(status.st_mode) != 0 and status.st_mode & (S_IWGRP | S_IWOTH) == 0
            and (status.st_uid == 0 or status.st_uid == owner_of_plugin()))


cdef inline bint read_whole(int file, ByteBuffer *content, size_t size) noexcept nogil:
    cdef ssize_t count = 1
    content.bytes = <char *>malloc(size + 1)
    if content.bytes == NULL:
        return False
    content.capacity = size + 1
    while count > 0 and content.length < size:
        count = read(file, content.bytes + content.length, size - content.length)
        content.length += max(count, <ssize_t>0)
    content.bytes[content.length] = 0
    return content.length == size


cdef inline bint read_catalog_file(ByteBuffer *content, const char *folder) noexcept nogil:
    """Read a file that can keep nobody waiting, as another one in its place could."""
    cdef char path[CATALOG_PATH_BYTES]
    cdef struct_stat status
    cdef bint is_read = False
    cdef int file
    if (folder[0] != c"/"
            or snprintf(path, sizeof(path), b"%s%s", folder, CATALOG_FILE) >= <int>sizeof(path)):
        return False
    file = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
    if file < 0:
        return False
    if (fstat(file, &status) == 0 and is_trusted(&status)
            and 0 < status.st_size <= MAX_CATALOG_BYTES):
        is_read = read_whole(file, content, status.st_size)
    close(file)
    return is_read


cdef inline const char *next_number(const char *text, char end, long long *number) noexcept nogil:
    """Return what stands behind a number of digits and this character; NULL for anything else."""
    cdef size_t digits = strspn(text, b"0123456789")
    if digits == 0 or text[digits] != end:
        return NULL
    number[0] = strtoll(text, NULL, 10)
    return text + digits + 1


cdef inline bint is_first_line(const char *line, long long now) noexcept nogil:
    """Whether a catalog starts so that is not too old."""
    cdef long long as_of = 0
    cdef long long valid_until = 0
    cdef const char *text = line + strlen(CATALOG_START)
    if strncmp(line, CATALOG_START, strlen(CATALOG_START)) != 0:
        return False
    text = next_number(text, c" ", &as_of)
    return (text != NULL and next_number(text, 0, &valid_until) != NULL and now <= valid_until)


cdef inline bint are_ids(const char *ids) noexcept nogil:
    return strcmp(ids, b"-") == 0 or strspn(ids, b"0123456789,") == strlen(ids)


cdef inline const char *entry_at(const char *text, CatalogEntry *entry) noexcept nogil:
    """Find the fields of what has been split; return what stands behind it."""
    entry.name = text
    entry.state = entry.name + strlen(entry.name) + 1
    entry.uids = entry.state + strlen(entry.state) + 1
    entry.gids = entry.uids + strlen(entry.uids) + 1
    entry.told = entry.gids + strlen(entry.gids) + 1
    return entry.told + strlen(entry.told) + 1


cdef inline char *split_line(char *line, char *end) noexcept nogil:
    """Make texts of a line's fields; return the next line, NULL if this is no entry's."""
    cdef CatalogEntry entry
    cdef char *newline = <char *>memchr(line, c"\n", end - line)
    cdef char *field = line
    cdef size_t length
    cdef int fields = 1
    if newline == NULL or memchr(line, 0, newline - line) != NULL:
        return NULL
    newline[0] = 0
    while fields < ENTRY_FIELDS:
        field = <char *>strchr(field, c"\t")
        if field == NULL:
            return NULL
        field[0] = 0
        field += 1
        fields += 1
    entry_at(line, &entry)
    length = strlen(entry.name)
    if (strchr(field, c"\t") != NULL or not 0 < length <= MAX_NAME_BYTES
            or printable_bytes(entry.name, length) != length
            or not are_ids(entry.uids) or not are_ids(entry.gids)):
        return NULL
    return newline + 1


cdef inline bint split_catalog(Catalog *catalog, long long now) noexcept nogil:
    """Make texts of all fields; return False for what is no catalog, or one of no use."""
    cdef char *line
    cdef char *newline = <char *>memchr(catalog.content.bytes, c"\n", catalog.content.length)
    if newline == NULL:
        return False
    newline[0] = 0
    catalog.first = line = newline + 1
    catalog.end = catalog.content.bytes + catalog.content.length
    if not is_first_line(catalog.content.bytes, now):
        return False
    while line != NULL and line < catalog.end:
        line = split_line(line, catalog.end)
    # One without any QPU would refuse every job.
    return line != NULL and catalog.first < catalog.end


cdef inline bint open_catalog(Catalog *catalog, const char *folder) noexcept nogil:
    """Read the catalog of this folder; return False if there is none that counts.

    `close_catalog` must follow either way.
    """
    memset(catalog, 0, sizeof(catalog[0]))
    return (read_catalog_file(&catalog.content, folder)
            and split_catalog(catalog, <long long>time(NULL)))


cdef inline void close_catalog(Catalog *catalog) noexcept nogil:
    free_bytes(&catalog.content)


cdef inline bint next_entry(const Catalog *catalog, CatalogEntry *entry) noexcept nogil:
    """Go on to the entry behind this one, to the first from one whose bytes are all zero."""
    cdef const char *text = entry.following
    if text == NULL:
        text = catalog.first
    if text >= catalog.end:
        return False
    entry.following = entry_at(text, entry)
    return True


cdef inline bint find_entry(const Catalog *catalog, const char *name, size_t length,
                            CatalogEntry *entry) noexcept nogil:
    memset(entry, 0, sizeof(entry[0]))
    while next_entry(catalog, entry):
        if strlen(entry.name) == length and memcmp(entry.name, name, length) == 0:
            return True
    return False


cdef inline bint lists_number(const char *numbers, unsigned int number) noexcept nogil:
    cdef char text[16]
    cdef int length = snprintf(text, sizeof(text), b"%u", number)
    return is_listed(numbers, text, length)


cdef inline bint lists_group(const char *gids) noexcept nogil:
    """Whether one of the process's groups is listed, as the system knows them without asking."""
    cdef bint is_found = lists_number(gids, getegid())
    cdef int count = getgroups(0, NULL)
    cdef ByteBuffer groups
    cdef int i
    memset(&groups, 0, sizeof(groups))
    if not is_found and 0 < count <= MOST_GROUPS:
        groups.bytes = <char *>malloc(count * sizeof(gid_t))
        if groups.bytes != NULL:
            count = getgroups(count, <gid_t *>groups.bytes)
            for i in range(count):
                is_found = is_found or lists_number(gids, (<gid_t *>groups.bytes)[i])
    free_bytes(&groups)
    return is_found


cdef inline bint may_use(const CatalogEntry *entry) noexcept nogil:
    """Whether the QPU is for this user. Root may submit for any."""
    return (getuid() == 0 or strcmp(entry.uids, b"-") == 0 or strcmp(entry.gids, b"-") == 0
            or lists_number(entry.uids, getuid())
            or (entry.gids[0] != 0 and lists_group(entry.gids)))


cdef inline char small_letter(char byte) noexcept nogil:
    return byte + 32 if c"A" <= byte <= c"Z" else byte


cdef inline int slips_between(const char *one, int one_length, const char *other, int other_length,
                              int most) noexcept nogil:
    """Return how many slips lie between two names, any larger number for more than `most`.

    The other one is of a catalog. spank_qrmi/catalog/nearest.py says what a slip is.
    """
    cdef int row[MAX_NAME_BYTES + 1]
    cdef int i, j, diagonal, fewest, least
    if one_length - other_length > most or other_length - one_length > most:
        return most + 1
    for j in range(other_length + 1):
        row[j] = j
    for i in range(one_length):
        diagonal = row[0]
        least = row[0] = i + 1
        for j in range(other_length):
            fewest = diagonal + (small_letter(one[i]) != small_letter(other[j]))
            fewest = min(fewest, min(row[j] + 1, row[j + 1] + 1))
            diagonal = row[j + 1]
            row[j + 1] = fewest
            least = min(least, fewest)
        if least > most:
            return most + 1
    return row[other_length]


cdef inline const char *nearest_name(const Catalog *catalog, const char *name,
                                     size_t length) noexcept nogil:
    """Return the QPU's name that is fewest slips away, the first of several; NULL if none is."""
    cdef CatalogEntry entry
    cdef const char *found = NULL
    cdef int most = <int>min(<size_t>MOST_SLIPS, length - 1)
    cdef int slips
    memset(&entry, 0, sizeof(entry))
    if length > MAX_NAME_BYTES + MOST_SLIPS:
        return NULL
    while next_entry(catalog, &entry):
        slips = slips_between(name, <int>length, entry.name, <int>strlen(entry.name), most)
        if slips <= most:
            found = entry.name
            most = slips - 1
    return found
