# SPDX-License-Identifier: GPL-3.0-or-later
"""The site's S3 service, as IBM's clients use it: signed requests, presigned URLs, path style."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config

from spank_qrmi.simulator.object_store import LocalObjectStore, ObjectStore

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(botocore|moto|werkzeug).*")


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with LocalObjectStore("127.0.0.1") as store:
        yield store


def client_of(store: ObjectStore, access_key_id: str | None = None) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        region_name=store.region,
        aws_access_key_id=access_key_id or store.access_key_id,
        aws_secret_access_key=store.secret_access_key,
        config=Config(
            signature_version="s3v4", s3={"addressing_style": "path"}, proxies={"http": None}
        ),
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
    assert "<Code>InvalidAccessKeyId</Code>" in answer.text


def test_foreign_access_key_is_refused(store: ObjectStore) -> None:
    client = client_of(store, "stranger")
    with pytest.raises(client.exceptions.ClientError, match="InvalidAccessKeyId"):
        client.list_buckets()


@pytest.mark.parametrize(
    ("old", "new"),
    [("X-Amz-Expires=60", "X-Amz-Expires=-1"), ("X-Amz-Date=", "X-Amz-Date=1")],
)
def test_presigned_url_expires(store: ObjectStore, old: str, new: str) -> None:
    url = presigned(store, "get_object", "input_1.json").replace(old, new)
    answer = httpx.get(url, trust_env=False)
    assert (answer.status_code, "Request has expired" in answer.text) == (403, True)


def test_request_is_logged_without_its_query(
    store: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="spank_qrmi.simulator"):
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
        "from spank_qrmi.simulator.object_store import LocalObjectStore\n"
        "with LocalObjectStore('127.0.0.1'):\n"
        "    sys.exit(str([one for one in ('moto', 'boto3', 'werkzeug') if one in sys.modules]))\n"
    )
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert ended.stderr == b"[]\n"
