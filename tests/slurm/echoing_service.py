# SPDX-License-Identifier: GPL-3.0-or-later
"""A service on loopback that tells everybody what it was sent, the credentials as well."""

import json
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SIGNED_QUERY = "X-Amz-Credential=simulator-access-key-id&X-Amz-Signature=0123456789abcdef"

# Status, headers and body of an answer to a request, of which all is in one text.
Answer = tuple[int, Mapping[str, str], bytes]


def _refusal(echo: str) -> Answer:
    document = {
        "errors": [{"code": echo, "message": echo}],
        "errorCode": echo,
        "errorMessage": echo,
        "message": echo,
        "detail": echo,
    }
    return 401, {"WWW-Authenticate": echo}, json.dumps(document).encode()


def _refusal_in_words(echo: str) -> Answer:
    words = urllib.parse.unquote_plus(echo)
    return 400, {}, json.dumps({"errorMessage": words, "message": words}).encode()


def _refusal_with_signed_url(_echo: str) -> Answer:
    text = f"cannot read https://127.0.0.1:9/bucket/input.json?{SIGNED_QUERY} there"
    return 403, {}, json.dumps({"message": text, "errorMessage": text}).encode()


def _malformed(echo: str) -> Answer:
    return 200, {}, json.dumps({"access_token": echo, "status": echo, "id": echo})[:-1].encode()


def _page(echo: str) -> Answer:
    return 404, {}, f"<html>{echo}</html>".encode()


def _redirect(echo: str) -> Answer:
    query = f"{SIGNED_QUERY}&{urllib.parse.urlencode({'echo': echo})}"
    return 307, {"Location": f"http://127.0.0.1:9/elsewhere?{query}"}, b""


ANSWERS: Mapping[str, Callable[[str], Answer]] = {
    "refusal": _refusal,
    "refusal in words": _refusal_in_words,
    "refusal with a signed URL": _refusal_with_signed_url,
    "malformed": _malformed,
    "page": _page,
    "redirect": _redirect,
}


class EchoingService:
    """Answers every request in one of the ways of `ANSWERS`; `url` is its endpoint."""

    def __init__(self, way: str) -> None:
        answer = ANSWERS[way]
        requests: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                sent = self.rfile.read(length).decode()
                # The credentials first: of a long text only the beginning is shown.
                headers = [self.headers[name] for name in self.headers if name in _CREDENTIALS]
                echo = " ".join((*headers, sent))
                requests.append(echo)
                status, fields, body = answer(echo)
                self.send_response(status, urllib.parse.quote(echo, safe=" ="))
                for name, value in (fields | {"Content-Length": str(len(body))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815 (the names are those of http.server)

            def log_message(self, *_: object) -> None:
                """Say nothing: the terminal is the tests'."""

        self.requests = requests
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)

    @property
    def url(self) -> str:
        """The endpoint to configure."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "EchoingService":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


_CREDENTIALS = {"Authorization", "Service-CRN"}
