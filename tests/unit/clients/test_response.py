# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read and shown of a service's response."""

from spank_qrmi.clients.response import Response, error_text
from tests.unit.fake_services import API_KEY, SERVICE_CRN, failure_of
from tests.unit.outcomes import trying


def response_of(body: bytes, status: int = 400, secrets: tuple[str, ...] = ()) -> Response:
    return Response(status, "https://h:443/p", {}, body, secrets)


def test_error_text_knows_the_shapes_survives_anything_and_shows_no_secret() -> None:
    for body, expected in (
        (b'{"errors":[{"code":"1216","message":"no such backend"}]}', "no such backend (1216)"),
        (b'{"errors":[{"code":1234,"message":"plan"}]}', "plan (1234)"),
        (b'{"errors":[{"message":"only text"}]}', "only text"),
        (b'{"errorCode":"BXNIM0415E","errorMessage":"bad key"}', "bad key (BXNIM0415E)"),
        (b'{"error":{"code":409,"message":"no output"}}', "no output (409)"),
        (b'{"error":"text","message":"fallback"}', "fallback"),
        (b'{"error_code":"qc_not_found","message":"none"}', "none (qc_not_found)"),
        (b'{"error_code":["a"],"message":"none"}', "none"),
        (b'{"detail":"unknown backend"}', "unknown backend"),
        (b'{"errors":[],"message":"fallback"}', "fallback"),
        (b'{"errors":["text"],"detail":"fallback"}', "fallback"),
        (b'{"errors":{"a":1}}', ""),
        (b'{"message":"a\\nb\\u001b[31mc\\u202ed\\u2028e"}', "a?b?[31mc?d?e"),
        (b'{"message":"  "}', ""),
        (b'{"message":["a"],"detail":{"b":1}}', ""),
        (b'{"errors":[{"code":"%b","message":"%b"}]}' % (b"c" * 300, b"m" * 300), "m" * 200),
        (b'"text"', ""),
        (b"<html>", ""),
    ):
        with trying(body):
            assert error_text(response_of(body)) == expected
    # What we sent is masked.
    body = f'{{"message":"instance {SERVICE_CRN} of {API_KEY} ok"}}'.encode()
    response = response_of(body, secrets=(SERVICE_CRN, API_KEY, "ok"))
    assert error_text(response) == "instance **** of **** ok"


def test_status_text() -> None:
    texts = {(404, b""): "404 Not Found", (499, b""): "499"}
    texts[404, b'{"message":"x"}'] = "404 Not Found: x"
    assert {each: response_of(each[1], each[0]).status_text() for each in texts} == texts


def test_json_object_refuses_everything_else() -> None:
    deep = (b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}", b'{"a":' * 2000 + b"1" + b"}" * 2000)
    for body in (b"[]", b"1", b"", b"{", b'{"a":NaN}', *deep):
        kind = "a JSON object" if body in (b"[]", b"1") else "JSON"
        error, text = failure_of(response_of(body, 200).json_object)
        told = f"the answer of https://h:443/p is not {kind}"
        assert (text, error.status) == (told, 200), body[:80]
