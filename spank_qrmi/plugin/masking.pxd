# SPDX-License-Identifier: GPL-3.0-or-later
# What of a name's value may be seen in a log, by the rules of spank_qrmi/redaction.py. Only for
# lines that are written where no worker is.

from libc.stdio cimport snprintf
from libc.string cimport strchr, strlen, strncmp, strrchr, strspn

from spank_qrmi.plugin.printable cimport mask_controls
from unix cimport strcasestr

cdef extern from *:
    """
    #define SCHEME_CHARACTERS \
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+.-" /* RFC 3986, 3.1 */
    """
    const char *SCHEME_CHARACTERS

cdef enum:
    SHOWN_BYTES = 1024


cdef inline bint is_secret_name(const char *name) noexcept nogil:
    return (strcasestr(name, b"KEY") != NULL or strcasestr(name, b"SECRET") != NULL
            or strcasestr(name, b"TOKEN") != NULL or strcasestr(name, b"PASSWORD") != NULL
            or strcasestr(name, b"CRN") != NULL or strcasestr(name, b"SESSION_ID") != NULL)


cdef inline void show_mask(char *shown) noexcept nogil:
    snprintf(shown, SHOWN_BYTES, b"****")


cdef inline void show_text(char *shown, const char *text) noexcept nogil:
    """Write text as a part of one log line; what is longer than SHOWN_BYTES is cut."""
    snprintf(shown, SHOWN_BYTES, b"%s", text)
    mask_controls(shown, strlen(shown))


cdef inline void show_value(char *shown, const char *name, const char *value) noexcept nogil:
    """Write the value masked if the name says that it is secret, and without a proxy's user."""
    cdef const char *host = strrchr(value, c"@")
    cdef size_t scheme_length = strspn(value, SCHEME_CHARACTERS)
    if is_secret_name(name):
        show_mask(shown)
    elif host == NULL:
        show_text(shown, value)
    else:
        if strncmp(value + scheme_length, b"://", 3) == 0:
            snprintf(shown, SHOWN_BYTES, b"%.*s://****%s", <int>scheme_length, value, host)
        else:
            snprintf(shown, SHOWN_BYTES, b"****%s", host)
        mask_controls(shown, strlen(shown))


cdef inline void show_argument(char *shown, const char *argument) noexcept nogil:
    """Write an argument of plugstack.conf, `--name=value` with its value as above."""
    cdef const char *equals = strchr(argument, c"=")
    cdef char name[SHOWN_BYTES]
    cdef char value[SHOWN_BYTES]
    if equals == NULL:
        show_text(shown, argument)
        return
    snprintf(name, SHOWN_BYTES, b"%.*s", <int>(equals - argument), argument)
    show_value(value, name, equals + 1)
    snprintf(shown, SHOWN_BYTES, b"%.300s=%.700s", name, value)
    mask_controls(shown, strlen(shown))
