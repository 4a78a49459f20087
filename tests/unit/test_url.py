# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses of requests: what is sent where, and what is refused."""

import pytest

from spank_qrmi.clients.url import Url
from tests.unit.outcomes import trying

PARTS = [
    ("https://host", "host:443", "host", "/"),
    ("HTTP://Host.Test:80/Path?a=b", "host.test:80", "host.test", "/Path?a=b"),
    ("http://host:8080/", "host:8080", "host:8080", "/"),
    ("http://[::1]/x", "[::1]:80", "[::1]", "/x"),
    ("https://[2001:DB8::1]:1", "[2001:db8::1]:1", "[2001:db8::1]:1", "/"),
    ("https://hôte.example/ü", "xn--hte-kna.example:443", "xn--hte-kna.example", "/%C3%BC"),
    ("http://h/a%2fb%20c/../d", "h:80", "h", "/a%2fb%20c/../d"),
    ('http://h/"<>\u202e', "h:80", "h", "/%22%3C%3E%E2%80%AE"),
    ("http://h?a=b", "h:80", "h", "/?a=b"),
    ("http://h/?", "h:80", "h", "/"),
]


def test_parts() -> None:
    for text, *expected in PARTS:
        with trying(text):
            url = Url(text)
            assert [url.authority, url.host_header, url.target] == expected
            assert url.path == url.target.partition("?")[0]
            assert url.is_tls is text.lower().startswith("https")
            assert url.target not in repr(url)


def test_query_is_encoded() -> None:
    assert Url("http://h/p", {"a b": "ü&=?/"}).target == "/p?a%20b=%C3%BC%26%3D%3F%2F"


UNUSABLE = [
    *("", "h", "//h", "ftp://h", "http:/h", "http://", "http:///p", "http://:80/", "file:///x"),
    *("http://u@h/", "http://u:p@h/", "http://h:/", "http://h:x", "http://h:-1", "http://h#x"),
    *("http://h:65536", "http://h:000080", "http://[::1", "http://[1.2.3.4]", "http://[:::]"),
    *("http://h\\@evil/", "http://h /", "http://h/a b", "http://h\r\n/", "http://h/\r\nX: y"),
    *("http://h\0/", "http://a%2fb/", "http://h!/", "http://" + "ä" * 70, "http://ä..b/"),
    # No TLS library takes the first, no name server the other.
    *("http://.h/", f"http://{'h.' * 128}"),
    # What another rule would send elsewhere.
    *("http://fa\u00df.test/", "http://\uff48ost.test/", "http://ä\u3002test/", "http://℀/"),
    *("http://a\u200db.test/", "http://\u212aelvin.test/", "http\u017f://h/"),
    *("http://h/\udcff", "http://\udcff/"),
]


def test_what_nothing_can_be_sent_to() -> None:
    for text in UNUSABLE:
        # Codecs say it in words of their own.
        with trying(text), pytest.raises(ValueError):  # noqa: PT011 (see above)
            Url(text)
