# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP/1.1 is written and read as h11 does it, which is strict, or refused."""

import contextlib
from collections.abc import Callable, Iterator

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spank_qrmi.clients import http1
from spank_qrmi.clients.http1 import (
    IncomingAnswer,
    MalformedError,
    UnsendableError,
    encoded_request,
)

OK = b"HTTP/1.1 200 OK\r\n"

LINES = [
    *(
        OK,
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.1 204 \r\n",
        b"HTTP/1.1 304\r\n",
        b"HTTP/1.1 100 Go on\r\n",
    ),
    *(
        b"HTTP/1.1 503 Try \xff later\r\n",
        b"HTTP/1.1 200 OK\n",
        b"HTTP/1.1 101 Switching\r\n",
        b"HTTP/2 200\r\n",
    ),
    *(
        b"Content-Length: 5\r\n",
        b"content-length:  5 \r\n",
        b"Content-Length: 6\r\n",
        b"Content-Length: 5, 5\r\n",
    ),
    *(
        b"Content-Length: +5\r\n",
        b"Content-Length: 5a\r\n",
        b"Content-Length: 99999999999999999999\r\n",
    ),
    *(
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: Chunked\r\n",
        b"Transfer-Encoding: gzip\r\n",
    ),
    *(
        b"Connection: close\r\n",
        b"Connection: keep-alive\r\n",
        b"X-Empty:\r\n",
        b"X: a\r\n",
        b"X: b\r\n",
    ),
    *(
        b"X : a\r\n",
        b" folded\r\n",
        b": a\r\n",
        b"X: \x00\r\n",
        b"X: \xc3\xbc\r\n",
        b"\r\n",
        b"\n",
        b"\r",
    ),
    *(
        b"hello",
        b"5\r\nhello\r\n",
        b"5;a=b\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"6\r\nhello\r\n",
        b"0\r\n",
        b"0\r\n\r\n",
    ),
    *(b"-5\r\n", b"0x5\r\n", b"5\nhello\n", b"fffffffffffff\r\n"),
]


def receiving(*pieces: bytes) -> Callable[[], bytes]:
    rest = iter(pieces)
    return lambda: next(rest, b"")


def pieces_of(content: bytes, length: int) -> Iterator[bytes]:
    return (content[start : start + length] for start in range(0, len(content), length))


def read(content: bytes, length: int = 65536, method: str = "GET") -> tuple[object, ...]:
    answer = IncomingAnswer(method, receiving(*pieces_of(content, length)))
    body = b"".join(answer.body())
    return answer.status, answer.headers, body, answer.may_be_followed()


def read_by_h11(content: bytes) -> tuple[object, ...]:
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=2**20)
    http.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]))
    http.send(h11.EndOfMessage())
    http.receive_data(content)
    http.receive_data(b"")
    body, head = b"", None
    while not isinstance(event := http.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif (
            event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED
        ):
            raise h11.RemoteProtocolError("ends early")
    assert head is not None
    headers: dict[str, str] = {}
    for name, value in head.headers:
        text = value.decode("utf-8", "replace")
        known = headers.get(name.decode())
        headers[name.decode()] = text if known is None else f"{known}, {text}"
    return head.status_code, without_length(headers), body


def answers() -> st.SearchStrategy[bytes]:
    return st.lists(st.sampled_from(LINES), max_size=9).map(b"".join)


@given(
    st.builds(bytes.__add__, st.sampled_from([OK, b"HTTP/1.1 100 \r\n\r\n" + OK, b""]), answers()),
    st.integers(1, 9),
)
@example(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: a\r\n\r\n", 1)
def test_what_is_taken_is_read_as_h11_reads_it(content: bytes, length: int) -> None:
    try:
        status, headers, body, _ = read(content, length)
    except MalformedError:
        return
    assert (status, without_length(headers), body) == read_by_h11(content)


def without_length(headers: dict[str, str]) -> dict[str, str]:
    """Leave out what h11 shows once if it was sent twice, and the case that it does not keep."""
    return {name: headers[name].lower() for name in headers if name != "content-length"}


@given(st.binary(max_size=200), st.integers(1, 50))
def test_any_bytes_are_an_answer_or_refused(content: bytes, length: int) -> None:
    for start in (b"", OK, OK + b"Transfer-Encoding: chunked\r\n\r\n"):
        with contextlib.suppress(MalformedError):
            read(start + content, length)


@pytest.mark.parametrize(
    ("content", "body", "may_be_followed"),
    [
        (OK + b"Content-Length: 5\r\n\r\nhello", b"hello", True),
        (OK + b"Content-Length: 0\r\n\r\n", b"", True),
        (OK + b"Content-Length: 5\r\nConnection: x, Close\r\n\r\nhello", b"hello", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
        (OK + b"\r\nhello", b"hello", False),
        (
            OK + b"Transfer-Encoding: chunked\r\n\r\n2;x\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\n",
            b"hello",
            True,
        ),
        (
            b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK + b"Content-Length: 5\r\n\r\nhello",
            b"hello",
            True,
        ),
        (b"HTTP/1.1 204\r\nContent-Length: 5\r\n\r\n", b"", True),
        (b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", b"hello", True),
    ],
)
def test_body_ends_where_it_says(content: bytes, body: bytes, may_be_followed: bool) -> None:
    for length in (1, 7, 65536):
        status, _, read_body, followed = read(content, length)
        seen = (status in {200, 204}, read_body, followed)
        assert seen == (True, body, may_be_followed), f"{length} bytes at a time"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        OK,
        OK + b"Content-Length: 5\r\n\r\nhell",
        OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloo\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 2000 + b"\r\nh\r\n0\r\n\r\n",
        OK + b"X: a\r\n folded\r\n\r\n",
        OK + b"X: " + b"a" * http1.HEAD_LIMIT_BYTES + b"\r\n\r\n",
        b"HTTP/1.1 100 \r\n\r\n" * 10_000 + OK + b"\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
def test_what_is_no_whole_answer_is_refused(content: bytes) -> None:
    with pytest.raises(MalformedError):
        read(content)


def test_bytes_after_an_answer_end_its_connection() -> None:
    answer = IncomingAnswer("GET", receiving(OK + b"Content-Length: 5\r\n\r\nhello" + OK))
    assert list(answer.body()) == [b"hello"]
    assert (answer.has_more(), answer.may_be_followed()) == (True, False)


def test_body_that_was_not_read_ends_its_connection() -> None:
    answer = IncomingAnswer("GET", receiving(OK + b"Content-Length: 5\r\n\r\n", b"hello"))
    assert not answer.may_be_followed()


def test_tunnel_has_no_body() -> None:
    answer = IncomingAnswer("CONNECT", receiving(OK + b"Transfer-Encoding: chunked\r\n\r\n"))
    assert (list(answer.body()), answer.has_more()) == ([], False)


def test_request_is_written_as_h11_reads_it() -> None:
    headers = {"Host": "h:80", "Authorization": "Bearer abc", "X": ""}
    sent = encoded_request("POST", "/a?b=c", headers, b"{}")
    server = h11.Connection(h11.SERVER)
    server.receive_data(sent)
    request, data, end = server.next_event(), server.next_event(), server.next_event()
    assert isinstance(request, h11.Request)
    assert (request.method, request.target, request.http_version) == (b"POST", b"/a?b=c", b"1.1")
    assert [(name.decode(), value.decode()) for name, value in request.headers] == [
        ("host", "h:80"),
        ("authorization", "Bearer abc"),
        ("x", ""),
        ("content-length", "2"),
    ]
    assert (data.data, type(end)) == (b"{}", h11.EndOfMessage)


@pytest.mark.parametrize(
    ("method", "content", "length"),
    [("GET", None, None), ("POST", None, "0"), ("DELETE", None, None), ("GET", b"", "0")],
)
def test_content_has_its_length(method: str, content: bytes | None, length: str | None) -> None:
    sent = encoded_request(method, "/", {}, content).decode()
    assert (f"\r\nContent-Length: {length}\r\n" in sent) == (length is not None)


@pytest.mark.parametrize(
    ("target", "value"),
    [
        ("/a b", "x"),
        ("/a\r\nX: y", "x"),
        ("/é", "x"),
        ("", "x"),
        ("/", "x\r\nY: z"),
        ("/", "é"),
        ("/", " x"),
        ("/", "x\0"),
    ],
)
def test_what_would_be_another_request_is_not_written(target: str, value: str) -> None:
    with pytest.raises(UnsendableError):
        encoded_request("GET", target, {"X": value}, None)
