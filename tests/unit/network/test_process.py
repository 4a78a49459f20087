# SPDX-License-Identifier: GPL-3.0-or-later
"""What the network process needs it has before it gives up root: later its files may be closed."""

import re
from itertools import chain

import orjson

from loopback.tls_entrance import TlsEntrance
from spank_qrmi.clients import CLIENTS
from spank_qrmi.clients import qrun_variables as names
from spank_qrmi_simulator.qrmi_config import site_config
from tests.unit.job.test_qrun import arguments
from tests.unit.outcomes import said_by
from tests.unit.scripted_server import HANG_UP, scripted_server

# Does all that requests can meet, and tells what was imported meanwhile.
PROGRAM = """
import sys
from uuid import uuid4
from spank_qrmi.clients import retry
from spank_qrmi.clients.http import open_client
from spank_qrmi.network import process as network_process
from spank_qrmi.trust import privileges
from spank_qrmi.errors import QrmiError
from spank_qrmi.network.calls import QUANTUM_SYSTEM, Call
from spank_qrmi.network.messages import error_fields, pairs_to_fields

retry.DELAYS_SECONDS = (0.01,) * len(retry.DELAYS_SECONDS)
clients = {
    proxy: open_client({"http_proxy": proxy, "https_proxy": proxy} if proxy else {})
    for proxy in ("", "http://user:password@127.0.0.1:9")
}
before = set(sys.modules)

import json

resources = json.loads(sys.argv[1])["resources"]
values = dict(zip(sys.argv[2::2], sys.argv[3::2]))
privileges.capabilities()
released = set()
for proxy, client in clients.items():
    for url in ("", "https", "http://localhost:9"):
        seconds = 0.3 if url or proxy else 20.0
        work = network_process._Work(client, seconds, lambda *_: None)
        for each in resources:
            variables = dict(each["environment"])
            for key in [key for key in variables if url and "ENDPOINT" in key or "BASE_URL" in key]:
                base = variables[key]
                variables[key] = base.replace("http:", "https:") if url == "https" else url or base
            name = each["name"]
            facts = ("60", "1000", "7", "")
            work.add_subject(name, each["type"], name, *facts, *pairs_to_fields(variables))
            work.add_token(name, name, "", "0")
            try:
                work.result_of(Call.LOG_IN, name, "0")
                work.result_of(Call.CHECK, name, "0")
                [token] = work.result_of(Call.ACQUIRE, name, "1", f"MUNGE:{uuid4()}:")
                work.result_of(Call.RELEASE, name, "1", f"MUNGE:{uuid4()}:", token, "")
                released.add(each["type"])
            except QrmiError as error:
                error_fields(error)
        work.add_subject("jobs", QUANTUM_SYSTEM, "", "", "", "", "", *pairs_to_fields(values))
        for call, field in ((Call.LIST, "1.0"), (Call.REMOVE, "no-such-job")):
            try:
                work.result_of(call, "jobs", "0", field)
            except QrmiError as error:
                error_fields(error)
print(len(released), sorted(set(sys.modules) - before))
"""


def test_requests_import_nothing(base_url: str) -> None:
    values = zip(names.SITE_VARIABLES, arguments(base_url), strict=True)
    config = orjson.dumps(site_config(base_url)).decode()
    assert said_by(PROGRAM, config, *chain(*values)) == (f"{len(CLIENTS)} []\n", "")


# Meets what would import more, once nothing can be read any more.
HOSTILE_PROGRAM = r"""
import sys
from spank_qrmi.clients.http import open_client

https_url, certificate, http_url = sys.argv[1:]
trusting, other = (
    open_client(each)
    for each in ({"SSL_CERT_FILE": certificate}, {"https_proxy": http_url})
)

from spank_qrmi.clients.response import Response
from spank_qrmi.clients.retry import status_failure
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import ServiceError

class Unreadable:
    @staticmethod
    def find_spec(name, *_):
        raise PermissionError(13, "Permission denied", name)

sys.meta_path.insert(0, Unreadable)
headers = {"retry-after": "Wed, 21 Oct 2099 07:28:00 GMT"}
body = rb'{"message": "\\u0073ecret-value \\ud83d\\udd11"}'
answer = Response(429, "http://h/", headers, body, ("secret-value",))
print(status_failure(answer, is_repeatable=False))
asked = [(trusting, https_url), (other, https_url), (other, "http://h\u00f4te.test/")]
for client, url in asked + [(other, http_url)] * 5:
    try:
        client = client.within(Deadline(20))
        answer = client.request("GET", url, headers={}, is_repeatable=True, max_tries=1)
        print(answer.status)
    except ServiceError as error:
        print(error)
"""

ANSWERS_OF_A_PROXY_THEN_OF_A_SERVICE = [
    b"HTTP/1.1 407 Denied\r\n\r\n" + HANG_UP,
    b"HTTP/1.1 302 Found\r\nLocation: https://[bad\r\n\r\n" + HANG_UP,
    b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; expires=x; max-age=y\r\nSet-Cookie: \xff\r\n"
    b"Content-Encoding: gzip\r\n\r\n" + HANG_UP,
    b"HTTP/1.1 200 OK\r\nContent-Type: text/x; charset=\xff\r\n\r\n\xff" + HANG_UP,
    b"SSH-2.0\r\n\r\n" + HANG_UP,
    b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" + HANG_UP,
]


def test_what_cannot_be_imported_any_more_is_done_without(entrance: TlsEntrance) -> None:
    with scripted_server(*ANSWERS_OF_A_PROXY_THEN_OF_A_SERVICE) as server:
        certificate = str(entrance.certificate)
        out, err = said_by(HOSTILE_PROGRAM, f"{entrance.url}/", certificate, server.url)
    service, broken = f"{server.url}/", f"the connection broke before the answer of {server.url}/"
    # What a name server says of a name that nobody has depends on who runs the tests.
    told = re.sub(r"(xn--hte-kna.test:80): .*", r"\1", out)
    assert (told.splitlines(), err) == (
        [
            r"http://h/ answered 429 Too Many Requests: **** \ud83d\udd11",
            "404",
            f"the proxy does not connect us to {entrance.url} (it answered 407): check the proxy "
            "settings",
            "cannot connect to http://xn--hte-kna.test:80",
            f"{service} answered 302 and wants to send us to an unreadable address: redirects are "
            "not followed, correct the endpoint's URL",
            f"the answer of {service} is compressed, although we take none such",
            "200",
            *[f"{broken} was complete"] * 2,
        ],
        "",
    )


THREADS_PROGRAM = """
import threading
from spank_qrmi.network.process import NETWORK_LIMITS
from spank_qrmi.trust.privileges import limit
limit(NETWORK_LIMITS)
for _ in range(64 * 2 * 2):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
print(threading.active_count())
"""


def test_limits_leave_room_for_two_requests_of_64_resources_at_once() -> None:
    assert said_by(THREADS_PROGRAM) == ("257\n", "")
