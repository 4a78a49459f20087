# SPDX-License-Identifier: GPL-3.0-or-later
"""A user's own Qiskit Runtime: it opens every session, and then refuses or never answers."""

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

from spank_qrmi.state.journal import Entry
from spank_qrmi.state.owner import Owner

SESSIONS = "/sessions"


class _QuietServer(ThreadingHTTPServer):
    """Serves clients that hang up before the answer."""

    def handle_error(self, *_: object) -> None:
        """Say nothing: the terminal is the tests'."""


class HostileService:
    """Serves loopback while it is entered; `hangs` says that a release gets no answer at all."""

    def __init__(self, *, hangs: bool) -> None:
        numbers = count(1)
        ended = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                document: dict[str, object] = {"status": "active"}
                status = 200
                if self.path == "/identity/token":
                    document = {"access_token": "of-the-hostile-service", "expires_in": 3600}
                elif self.path == SESSIONS:
                    document = {"id": f"hostile-{next(numbers)}"}
                elif not self.path.startswith("/backends/"):
                    if hangs:
                        ended.wait()
                        return
                    status = 403
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815 (the names are those of http.server)

            def log_message(self, *_: object) -> None:
                """Say nothing: the terminal is the tests'."""

        self._ended = ended
        self._server = _QuietServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)

    @property
    def values(self) -> dict[str, str]:
        """A resource's variables, without the `<name>_` prefix, that lead here."""
        url = f"http://127.0.0.1:{self._server.server_port}"
        return {
            "QRMI_IBM_QRS_ENDPOINT": url,
            "QRMI_IBM_QRS_IAM_ENDPOINT": url,
            "QRMI_IBM_QRS_IAM_APIKEY": "key-of-the-hostile-user",
            "QRMI_IBM_QRS_SERVICE_CRN": "crn-of-the-hostile-user",
        }

    def __enter__(self) -> "HostileService":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def orphan_of(
    job_id: int, uid: int, values: Mapping[str, str], token: str, *, host: str, is_users: bool
) -> Entry:
    """Return what a job of an earlier boot has left open of a session on ibm_sherbrooke."""
    return Entry(
        *(job_id, 0, 0xFFFFFFFB, uid, "ibm_sherbrooke", "qiskit-runtime-service", dict(values)),
        token=token,
        acquired_at=1_700_000_000,
        owner=Owner(host, "another boot", 1, 2, 3),
        hold="a session",
        ends_at=4_000_000_000,
        has_users_endpoint=is_users,
    )
