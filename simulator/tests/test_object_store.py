# SPDX-License-Identifier: GPL-3.0-or-later
"""The site's S3 service, as IBM's clients use it: signed requests, presigned URLs, path style."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

import boto3
import httpx
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from spank_qrmi_simulator.object_store import LocalObjectStore, ObjectStore
from spank_qrmi_simulator.object_store_signatures import (
    SignatureCheck,
    StoreRefusalError,
    StoreRequest,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(botocore|moto|werkzeug).*")


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with LocalObjectStore("127.0.0.1") as store:
        yield store


def client_of(store: ObjectStore, **changes: str) -> Any:
    options = {
        "region_name": store.region,
        "aws_access_key_id": store.access_key_id,
        "aws_secret_access_key": store.secret_access_key,
        **changes,
    }
    return boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        config=Config(
            signature_version="s3v4", s3={"addressing_style": "path"}, proxies={"http": None}
        ),
        **options,
    )


def presigned(store: ObjectStore, method: str, key: str, lifetime_seconds: int = 60) -> str:
    parameters = {"Bucket": store.bucket, "Key": key}
    url: str = client_of(store).generate_presigned_url(method, parameters, lifetime_seconds)
    return url


def test_object_is_kept_and_read_back(store: ObjectStore) -> None:
    client = client_of(store)
    client.put_object(Bucket=store.bucket, Key="input_1.json", Body=b"{}")
    assert client.get_object(Bucket=store.bucket, Key="input_1.json")["Body"].read() == b"{}"
    assert [one["Name"] for one in client.list_buckets()["Buckets"]] == [store.bucket]


def test_presigned_urls_need_no_key(store: ObjectStore) -> None:
    upload = presigned(store, "put_object", "results_1.json")
    assert httpx.put(upload, content=b"[1]", trust_env=False).status_code == 200
    answer = httpx.get(presigned(store, "get_object", "results_1.json"), trust_env=False)
    assert (answer.status_code, answer.content) == (200, b"[1]")


def test_endpoint_is_loopback_without_a_path(store: ObjectStore) -> None:
    host, port = store.endpoint.removeprefix("http://").split(":")
    assert host == "127.0.0.1"
    assert port.isdigit()


@pytest.mark.parametrize("path", ["", "/simulator-bucket/input_1.json"])
def test_request_without_a_signature_is_refused(store: ObjectStore, path: str) -> None:
    answer = httpx.get(f"{store.endpoint}{path}", trust_env=False)
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/xml")
    assert "<Code>AccessDenied</Code>" in answer.text


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"aws_access_key_id": "stranger"}, "InvalidAccessKeyId"),
        ({"aws_secret_access_key": "guessed"}, "SignatureDoesNotMatch"),
        ({"region_name": "eu-de"}, "AuthorizationHeaderMalformed"),
    ],
)
def test_foreign_signer_is_refused(store: ObjectStore, changes: dict[str, str], code: str) -> None:
    client = client_of(store, **changes)
    with pytest.raises(client.exceptions.ClientError, match=code):
        client.list_objects_v2(Bucket=store.bucket, Prefix="in put/ä+")
    url = client.generate_presigned_url("get_object", {"Bucket": store.bucket, "Key": "k"})
    assert f"<Code>{code}</Code>" in httpx.get(url, trust_env=False).text


def test_keys_of_all_kinds_are_signed_alike(store: ObjectStore) -> None:
    key = "in put/ä+~%2F_1.json"
    client_of(store).put_object(Bucket=store.bucket, Key=key, Body=b"1", ContentType="text/plain")
    listed = client_of(store).list_objects_v2(Bucket=store.bucket, Prefix="in put/ä+")
    assert [one["Key"] for one in listed["Contents"]] == [key]
    assert httpx.get(presigned(store, "get_object", key), trust_env=False).content == b"1"
    client_of(store).delete_object(Bucket=store.bucket, Key=key)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("input_1", "input_2", "SignatureDoesNotMatch"),
        ("?", "?acl&", "SignatureDoesNotMatch"),
        ("X-Amz-Expires=60", "X-Amz-Expires=61", "SignatureDoesNotMatch"),
        ("X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=host%3Baccept", "SignatureDoesNotMatch"),
        ("X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=accept", "AccessDenied"),
        ("X-Amz-Signature=", "X-Amz-Signature=%C3%A4", "SignatureDoesNotMatch"),
        ("X-Amz-Signature=", "Signature=", "AuthorizationQueryParametersError"),
        ("X-Amz-Expires=60", "X-Amz-Expires=-1", "AuthorizationQueryParametersError"),
        ("X-Amz-Expires=60", "X-Amz-Expires=604801", "AuthorizationQueryParametersError"),
        ("X-Amz-Expires=60", "X-Amz-Expires=0", "AccessDenied"),
        ("AWS4-HMAC-SHA256", "AWS4-NONE", "AuthorizationQueryParametersError"),
    ],
)
def test_changed_presigned_url_is_refused(
    store: ObjectStore, old: str, new: str, code: str
) -> None:
    url = presigned(store, "get_object", "input_1.json")
    assert old in url
    # One second later, no time is left of a life of none.
    later = datetime.now(timezone.utc) + timedelta(seconds=1)
    with pytest.raises(StoreRefusalError) as refused:
        check_of(store).check(request_of(store, url.replace(old, new, 1)), later)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("lifetime_seconds", "later", "code"),
    [
        (60, timedelta(seconds=59), None),
        (60, timedelta(seconds=62), "AccessDenied"),
        (604_800, timedelta(days=6), None),
        (60, timedelta(minutes=-14), None),
        (60, timedelta(minutes=-16), "AccessDenied"),
    ],
)
def test_presigned_url_has_its_time(
    store: ObjectStore, lifetime_seconds: int, later: timedelta, code: str | None
) -> None:
    url = presigned(store, "get_object", "input_1.json", lifetime_seconds)
    assert code == refusal_of(store, request_of(store, url), later)


def test_presigned_url_is_for_one_method_and_host(store: ObjectStore) -> None:
    url = presigned(store, "get_object", "input_1.json")
    assert "SignatureDoesNotMatch" in httpx.put(url, content=b"x", trust_env=False).text
    moved = httpx.get(url, headers={"Host": "elsewhere"}, trust_env=False)
    assert "SignatureDoesNotMatch" in moved.text


def check_of(store: ObjectStore) -> SignatureCheck:
    return SignatureCheck(store.access_key_id, store.secret_access_key, store.region)


def request_of(
    store: ObjectStore, url: str, headers: dict[str, str] | None = None, body: bytes | None = None
) -> StoreRequest:
    """Return a request to the store as it arrives there."""
    parts = urlsplit(url)
    host = urlsplit(store.endpoint).netloc
    lower = {name.lower(): value for name, value in (headers or {}).items()}
    method = "GET" if body is None else "PUT"
    return StoreRequest(method, f"{parts.path}?{parts.query}", {"host": host, **lower}, body)


def refusal_of(store: ObjectStore, request: StoreRequest, later: timedelta) -> str | None:
    """Return the code with which the request is refused when it comes so much later."""
    try:
        check_of(store).check(request, datetime.now(timezone.utc) + later)
    except StoreRefusalError as refusal:
        return refusal.code
    return None


def signed_upload(store: ObjectStore) -> dict[str, str]:
    """Return the headers of an upload of b"{}" that is signed in its headers."""
    request = AWSRequest("PUT", f"{store.endpoint}/simulator-bucket/k", {"X-Mine": "1"}, b"{}")
    credentials = Credentials(store.access_key_id, store.secret_access_key)
    S3SigV4Auth(credentials, "s3", store.region).add_auth(request)
    return dict(request.headers.items())


@pytest.mark.parametrize(
    ("changes", "body", "later", "code"),
    [
        ({}, b"{}", timedelta(0), None),
        ({"Accept": "*/*"}, b"{}", timedelta(0), None),
        ({}, b"{ }", timedelta(0), "XAmzContentSHA256Mismatch"),
        ({"X-Mine": "2"}, b"{}", timedelta(0), "SignatureDoesNotMatch"),
        ({"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}, b"", timedelta(0), "SignatureDoesNotMatch"),
        ({}, b"{}", timedelta(minutes=16), "RequestTimeTooSkewed"),
        ({}, b"{}", timedelta(minutes=-16), "RequestTimeTooSkewed"),
        ({"X-Amz-Date": "today"}, b"{}", timedelta(0), "AuthorizationHeaderMalformed"),
        ({"Authorization": "AWS simulator:x"}, b"{}", timedelta(0), "AuthorizationHeaderMalformed"),
    ],
)
def test_signed_request_is_refused_once_changed(
    store: ObjectStore, changes: dict[str, str], body: bytes, later: timedelta, code: str | None
) -> None:
    headers = {**signed_upload(store), **changes}
    request = request_of(store, "/simulator-bucket/k", headers, body)
    assert refusal_of(store, request, later) == code


def test_payload_hash_is_a_required_header(store: ObjectStore) -> None:
    headers = signed_upload(store)
    del headers["X-Amz-Content-SHA256"]
    request = request_of(store, "/simulator-bucket/k", headers, b"{}")
    assert refusal_of(store, request, timedelta(0)) == "InvalidRequest"


@pytest.mark.parametrize("body", [b"{ }", b""])
def test_upload_with_another_body_is_refused(store: ObjectStore, body: bytes) -> None:
    answer = httpx.put(
        f"{store.endpoint}/simulator-bucket/k",
        headers=signed_upload(store),
        content=body,
        trust_env=False,
    )
    assert (answer.status_code, "XAmzContentSHA256Mismatch" in answer.text) == (400, True)


CHUNKED = (
    "PUT /simulator-bucket/k HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n"
    f"Authorization: AWS4-HMAC-SHA256 x\r\nx-amz-content-sha256: {'0' * 64}\r\n\r\n"
)


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        ("\0\r\n\r\n", None),
        ("GET / HTTP/9.9.9\r\n\r\n", None),
        (f"{CHUNKED}zz\r\n", "400"),
        (f"{CHUNKED}5\r\nab", "400"),
        ("GET {url} HTTP/1.1\r\nHost: [::\r\n\r\n", "403"),
        ("GET {url}&\xff=%ff HTTP/1.1\r\nHost: \xff\r\n\r\n", "403"),
        ("GET /../../etc/passwd HTTP/1.1\r\nHost: s\r\n\r\n", "403"),
        ("GET http://elsewhere/ HTTP/1.1\r\nHost: s\r\n\r\n", "403"),
    ],
)
def test_broken_requests_are_no_errors_of_the_service(
    store: ObjectStore,
    request_text: str,
    status: str | None,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    target = presigned(store, "get_object", "k").removeprefix(store.endpoint)
    host, port = store.endpoint.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(request_text.replace("{url}", target).encode("latin-1"))
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as answer:
            words = answer.read().decode("latin-1").split()
    assert status is None or words[1] == status
    assert "Traceback" not in caplog.text + capfd.readouterr().err


def test_request_is_logged_without_its_query(
    store: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="spank_qrmi_simulator"):
        httpx.put(presigned(store, "put_object", "logs_1.json"), content=b"", trust_env=False)
    assert caplog.messages == ["S3 PUT /simulator-bucket/logs_1.json 200"]


def test_environment_holds_all_five_variables() -> None:
    store = ObjectStore("http://127.0.0.1:9000", "b", "eu-de", "id", "secret")
    assert store.environment("P_") == {
        "P_AWS_ACCESS_KEY_ID": "id",
        "P_AWS_SECRET_ACCESS_KEY": "secret",
        "P_S3_ENDPOINT": "http://127.0.0.1:9000",
        "P_S3_BUCKET": "b",
        "P_S3_REGION": "eu-de",
    }
    assert "secret" not in repr(store)


def test_service_that_nobody_used_ends_at_once() -> None:
    with LocalObjectStore("127.0.0.1") as store:
        pass
    port = int(store.endpoint.rpartition(":")[2])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_starting_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from spank_qrmi_simulator.object_store import LocalObjectStore\n"
        "with LocalObjectStore('127.0.0.1'):\n"
        "    sys.exit(str([one for one in ('moto', 'boto3', 'werkzeug') if one in sys.modules]))\n"
    )
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert ended.stderr == b"[]\n"
