# SPDX-License-Identifier: GPL-3.0-or-later
"""The object store as qrun uses it: nothing but what it is given, and readable errors."""

import os
import ssl
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from loopback.tls_entrance import tls_entrance_to
from spank_qrmi.errors import ObjectStoreError
from spank_qrmi.qrun.object_store import ObjectStore
from spank_qrmi.qrun.settings import StoreSettings
from spank_qrmi_simulator.object_store import ObjectStore as Server
from tests.unit.outcomes import trying
from tests.unit.scripted_server import scripted_server, tunnelling_proxy

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(botocore|moto|werkzeug).*"),
    pytest.mark.usefixtures("no_settings_of_this_machine"),
]


FOREIGN = {
    "AWS_PROFILE": "nobody",
    "AWS_ACCESS_KEY_ID": "foreign",
    "AWS_SESSION_TOKEN": "foreign",
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
    "AWS_CA_BUNDLE": "/nowhere",
}
"""What a user may have for a store of his own; any of it would break ours."""


def store_of(store: Server, **changes: str) -> ObjectStore:
    settings = {
        "endpoint_url": store.endpoint,
        "bucket": store.bucket,
        "region": store.region,
        "access_key_id": store.access_key_id,
        "secret_access_key": store.secret_access_key,
        **changes,
    }
    return ObjectStore(StoreSettings(**settings), timeout_seconds=5)


def test_urls_are_of_our_store_in_path_style_and_sign_the_host_alone(
    object_store: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / ".aws"
    folder.mkdir()
    (folder / "config").write_text("[default]\ns3 =\n    addressing_style = virtual\n")
    (folder / "credentials").write_text("nonsense")
    # The store's server in this process reads them too, so they must be gone when it is asked.
    with monkeypatch.context() as context:
        context.setenv("HOME", str(tmp_path))
        for name, value in FOREIGN.items():
            context.setenv(name, value)
        before = dict(os.environ)
        store = store_of(object_store)
        assert dict(os.environ) == before
        put = store.presign("put_object", "a.json", 99)
        get = store.presign("get_object", "a.json", 99)
    for url in (put, get):
        assert url.startswith(f"{object_store.endpoint}/{object_store.bucket}/a.json?")
        query = parse_qs(urlsplit(url).query)
        assert query["X-Amz-SignedHeaders"] == ["host"]
        assert query["X-Amz-Expires"] == ["99"]
        key_id, _, *scope = query["X-Amz-Credential"][0].split("/")
        assert (key_id, scope) == (object_store.access_key_id, ["us-east-1", "s3", "aws4_request"])
        assert "X-Amz-Security-Token" not in query
    assert httpx.put(put, content=b"one", trust_env=False).status_code == 200
    assert httpx.get(get, trust_env=False).content == b"one"
    store.upload("a.json", b"two")
    assert httpx.get(get, trust_env=False).content == b"two"


def test_object_comes_and_goes(object_store: Server) -> None:
    store = store_of(object_store)
    store.upload("a.json", b"one")
    store.upload("a.json", b"three")
    target = BytesIO()
    store.download("a.json", target)
    assert (target.getvalue(), store.beginning("a.json", 2)) == (b"three", b"th")
    store.delete(["a.json", "never.json"])
    with pytest.raises(ObjectStoreError, match=r"cannot give a\.json: 404 Not Found: ") as missing:
        store.download("a.json", target)
    assert (missing.value.status, missing.value.is_transient) == (404, False)


def test_errors_are_readable(object_store: Server) -> None:
    for name, value, text, is_refused in (
        ("access_key_id", "somebody", "403 Forbidden: The AWS Access Key Id", True),
        ("bucket", "nowhere", "404 Not Found: The specified bucket does not exist", False),
        ("bucket", "NO BUCKET", "ParamValidation", False),
        ("endpoint_url", "http://127.0.0.1:9", "EndpointConnection", False),
        ("region", "no region", "InvalidRegion", False),
    ):
        with trying((name, value)):
            with pytest.raises(ObjectStoreError) as caught:
                store_of(object_store, **{name: value}).upload("a.json", b"")
            assert text in str(caught.value)
            assert "secret" not in str(caught.value)
            assert str(caught.value).isprintable()
            assert caught.value.is_refused is is_refused


DELETED = b"HTTP/1.1 204 No Content\r\n\r\n"
LOGIN, PROOF = "user:p%40ss", b"\r\nProxy-Authorization: Basic dXNlcjpwQHNz\r\n"


def test_proxy_is_the_one_of_all_requests(
    object_store: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = object_store.bucket.encode()
    for name in ("http_proxy", "ALL_PROXY"):
        with scripted_server(DELETED) as proxy, monkeypatch.context() as patches:
            patches.setenv(name, f"{LOGIN}@127.0.0.1:{proxy.port}")
            store_of(object_store, endpoint_url="http://h.test/s3").delete(["a.json"])
        [request] = proxy.requests
        assert request.startswith(b"DELETE http://h.test/s3/%s/a.json " % bucket), name
        assert PROOF in request, name
    # What no_proxy names goes straight.
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "h.test, 127.0.0.1")
    store_of(object_store).upload("a.json", b"one")


def test_unusable_proxy_is_named_without_its_value(
    object_store: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("all_proxy", "socks5://user:secret@127.0.0.1:9")
    with pytest.raises(ObjectStoreError) as caught:
        store_of(object_store)
    assert str(caught.value) == (
        f"the object store at {object_store.endpoint} cannot be reached: all_proxy: write the "
        "proxy as http://host:port; https:// and socks:// are not supported"
    )


def test_certificates_are_those_of_all_requests(
    object_store: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def upload() -> None:
        store_of(object_store, endpoint_url=entrance.url).upload("a.json", b"one")

    system = SimpleNamespace(openssl_cafile="/nowhere")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: system)
    with (
        tls_entrance_to(object_store.endpoint, tmp_path) as entrance,
        tunnelling_proxy() as (port, asked),
    ):
        monkeypatch.setenv("https_proxy", f"http://{LOGIN}@127.0.0.1:{port}")
        # The library has some where the system has none.
        with pytest.raises(ObjectStoreError, match=r"cannot store a\.json: SSL"):
            upload()
        system.openssl_cafile = str(entrance.certificate)
        upload()
        system.openssl_cafile = "/nowhere"
        monkeypatch.setenv("SSL_CERT_FILE", str(entrance.certificate))
        upload()
    assert all(PROOF in request for request in asked)
