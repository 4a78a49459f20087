# SPDX-License-Identifier: GPL-3.0-or-later
"""Which proxy a set of variables means for a request."""

import pytest

from spank_qrmi.clients.proxies import Proxies
from spank_qrmi.clients.transport import SettingsError
from spank_qrmi.clients.url import Url
from tests.unit.outcomes import trying

ALL = {"all_proxy": "http://proxy:3128"}


def place_of(variables: dict[str, str], url: str) -> str | None:
    proxy = Proxies(variables).proxy_for(Url(url))
    return None if proxy is None else proxy.url.authority


OF_EACH_SCHEME: list[tuple[dict[str, str], str | None, str | None]] = [
    ({}, None, None),
    ({"http_proxy": "http://a:1"}, "a:1", None),
    ({"https_proxy": "http://a:1"}, None, "a:1"),
    ({"all_proxy": "http://a:1"}, "a:1", "a:1"),
    ({"all_proxy": "http://a:1", "https_proxy": "http://b:2"}, "a:1", "b:2"),
    ({"HTTP_PROXY": "http://a:1", "HTTPS_PROXY": "b:2"}, "a:1", "b:2"),
    ({"HTTP_PROXY": "http://a:1", "http_proxy": "http://b:2"}, "b:2", None),
    ({"HTTP_PROXY": "http://a:1", "http_proxy": ""}, None, None),
    ({"http_proxy": "a"}, "a:80", None),
    ({"http_proxy": "HTTP://A:1/"}, "a:1", None),
    ({"http_proxy": "http://[::1]:3128"}, "[::1]:3128", None),
    ({"http_proxy": "user:p@ss@a:1"}, "a:1", None),
    ({"ftp_proxy": "http://a:1", "no_proxy": "*"}, None, None),
]


def test_proxy_of_each_scheme() -> None:
    for variables, of_http, of_https in OF_EACH_SCHEME:
        with trying(variables):
            assert place_of(variables, "http://h.test/") == of_http
            assert place_of(variables, "https://h.test/") == of_https


STRAIGHT: list[tuple[str, list[str], list[str]]] = [
    ("*", ["http://h.test/", "https://1.2.3.4/"], []),
    ("x,*", ["http://h.test/"], []),
    ("h.test", ["http://h.test/", "https://a.h.test:1/"], ["http://ah.test/", "http://test/"]),
    (".h.test", ["http://a.h.test/"], ["http://h.test/", "http://ah.test/"]),
    ("*.h.test", ["http://a.h.test/"], ["http://h.test/", "http://ah.test/"]),
    (" H.Test , other", ["http://h.test/", "http://other/"], ["http://h.test.evil/"]),
    ("h.test:8080", ["http://h.test:8080/"], ["http://h.test/", "https://h.test/"]),
    ("h.test:443", ["https://h.test/"], ["http://h.test/"]),
    ("h.test:" + "4" * 5000, [], ["https://h.test/"]),
    ("https://h.test", ["https://h.test/"], ["http://h.test/"]),
    ("http://h.test:81/x", ["http://h.test:81/"], ["http://h.test/"]),
    ("127.0.0.1,::1", ["http://127.0.0.1/", "http://[::1]:1/"], ["http://127.0.0.2/"]),
    ("[::1]:8080", ["http://[::1]:8080/"], ["http://[::1]/"]),
    *(
        (each, ["http://[::1]/", "http://[0:0:0::0001]/"], ["http://[::2]/", "http://1/"])
        for each in ("::1", "[::1]", "0:0:0:0:0:0:0:1", "[0:0::1]", "0000::0.0.0.1")
    ),
    ("[FD00::A:0]:80", ["http://[fd00:0::a:0]/"], ["http://[fd00::a:0]:81/"]),
    ("127.1,010.0.0.1", ["http://127.0.0.1/", "http://8.0.0.1/"], ["http://10.0.0.1/"]),
    ("127.0.0.1", ["http://127.1/", "http://0x7f000001/"], ["http://127.1.h.test/"]),
    ("::ffff:127.0.0.1", ["http://[::ffff:7f00:1]/"], ["http://127.0.0.1/"]),
    ("::g, fe80::1%lo, 1.2.3.256, \udcff, a\0b", [], ["http://[::1]/", "http://1.2.3.4/"]),
    ("a 127.0.0.1\tb", ["http://a/", "http://127.0.0.1/", "http://b/"], ["http://c/"]),
    ("10.0.0.0/8", ["http://10.9.8.7/"], ["http://11.0.0.1/", "http://h.test/"]),
    ("127.0.0.0/8, ::/127", ["http://127.1/", "http://[0:0::1]/"], ["http://[::2]/"]),
    ("10.1.2.3/8,fd00::/8", ["http://10.9.8.7/", "http://[fd00::1]/"], ["http://[fe80::1]/"]),
    ("10.0.0.0/99, a/b", [], ["http://10.0.0.1/", "http://a/"]),
    (",,", [], ["http://h.test/"]),
]


def test_what_goes_straight() -> None:
    for no_proxy, straight, by_proxy in STRAIGHT:
        for name in ("no_proxy", "NO_PROXY"):
            variables = {**ALL, name: no_proxy}
            with trying(variables):
                places = {url: place_of(variables, url) for url in (*straight, *by_proxy)}
                assert places == {
                    **dict.fromkeys(straight),
                    **dict.fromkeys(by_proxy, "proxy:3128"),
                }


UNUSABLE = [
    *("https://proxy:1", "socks5://proxy:1", "socks5h://user:secret@proxy", "://", "http://"),
    *("http://user:secret@", "http://proxy:x", "http://proxy:99999", "http://pro xy", "a\0b"),
    *("http://proxy/path", "http://user:sec#ret@proxy", "http://user:12/secret@proxy"),
    *("http://user:12?secret@proxy", "http://pro\nxy", "http://\u2488.test"),
    "http://user:secret\udcff@proxy",
]


@pytest.mark.parametrize("name", ["http_proxy", "https_proxy", "all_proxy"])
def test_unusable_proxy_is_named_without_its_value(name: str) -> None:
    for value in UNUSABLE:
        with trying(value):
            with pytest.raises(SettingsError) as caught:
                Proxies({name: value})
            assert str(caught.value) == (
                f"{name}: write the proxy as http://host:port; https:// and socks:// are not "
                "supported"
            )
            assert caught.value.__cause__ is None
