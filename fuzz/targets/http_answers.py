# SPDX-License-Identifier: GPL-3.0-or-later
"""What comes back on a connection: status lines, headers, chunks and what follows them.

The first byte of the input says by which way and whether the request may be repeated, the second
how many bytes come at a time (0: all); the rest is what comes. `$SENT` stands for a credential.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import httpcore

from fuzz.targets.claims import check_line
from fuzz.targets.vendor_answers import check_failure
from spank_qrmi.clients.http import BODY_LIMIT_BYTES, HttpClient
from spank_qrmi.clients.response import Response
from spank_qrmi.errors import ServiceError
from tests.unit.fake_services import API_KEY, RecordingDeadline

BY_TUNNEL = 1
IS_REPEATABLE = 2
REQUESTS = 3

_PROXY = {"https_proxy": "http://proxy.test:3128", "http_proxy": "", "no_proxy": ""}


def check_http_answers(data: bytes) -> None:
    """Ask some times and be answered with these bytes; only ServiceError may come of it."""
    choice, piece_bytes = (*data[:2], 0, 0)[:2]
    sent = data[2:].replace(b"$SENT", API_KEY.encode())
    size = piece_bytes or len(sent) or 1
    pieces = [sent[start : start + size] for start in range(0, len(sent), size)]
    scheme = "https" if choice & BY_TUNNEL else "http"
    http = _open_client().within(RecordingDeadline())
    with _answering_with(pieces):
        for _ in range(REQUESTS):
            try:
                answer = http.request(
                    "GET",
                    f"{scheme}://api.test/path",
                    headers={"Authorization": f"Bearer {API_KEY}"},
                    is_repeatable=bool(choice & IS_REPEATABLE),
                    max_tries=1,
                )
            except ServiceError as error:
                check_failure(error)
            else:
                _check_answer(answer, len(sent))


@functools.cache
def _open_client() -> HttpClient:
    """Return one client for all inputs: to read the system's certificates takes longest."""
    http = HttpClient(RecordingDeadline())
    http.open_with(_PROXY)
    return http


def _check_answer(answer: Response, received_bytes: int) -> None:
    assert answer.is_success or 400 <= answer.status < 1000  # noqa: PLR2004 (RFC 9110, 15)
    assert len(answer.body) <= min(BODY_LIMIT_BYTES, received_bytes)
    for name, value in answer.headers.items():
        assert name == name.lower()
        assert not set("\r\n\0") & set(name + value)
    check_line(answer.status_text(), [API_KEY])


@contextmanager
def _answering_with(pieces: list[bytes]) -> Iterator[None]:
    """Let every connection give the next pieces; what TLS would encrypt is in clear text."""

    def connect(*_: object, **__: object) -> httpcore.MockStream:
        return httpcore.MockStream(pieces)

    with patch.object(httpcore.SyncBackend, "connect_tcp", connect):
        yield
