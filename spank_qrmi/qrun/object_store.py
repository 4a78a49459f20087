# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects in the S3 bucket that `qrun` shares with the service.

The only module that knows the S3 library. All that it needs is given: neither ~/.aws nor AWS_*
variables nor a cloud machine's metadata service is read.
"""

import os
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.client import responses
from pathlib import Path
from typing import Any, BinaryIO, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from spank_qrmi.clients.http import check_proxies
from spank_qrmi.errors import ObjectStoreError, SettingsError
from spank_qrmi.qrun.outcome import ExitStatus, QrunError
from spank_qrmi.qrun.settings import StoreSettings
from spank_qrmi.redaction import printable

_TRIES = 4
_CHUNK_BYTES = 1024 * 1024
_TEXT_LIMIT = 200

_NO_CONFIGURATION = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}

Operation = Literal["get_object", "put_object"]


class ObjectStore:
    """One bucket; each method raises ObjectStoreError.

    `timeout_seconds` is the longest silence of the store within one of a request's few tries.
    """

    def __init__(self, settings: StoreSettings, timeout_seconds: float) -> None:
        self._bucket = settings.bucket
        self._place = settings.endpoint_url
        try:
            import botocore.exceptions  # noqa: PLC0415 (an extra, and slow)
        except ImportError as error:
            raise QrunError(
                f"{error.name} is not installed: run the qrun of the package or of `make install`, "
                "or install what the release's list of requirements names",
                ExitStatus.ENVIRONMENT,
            ) from error
        self._library_errors = (
            botocore.exceptions.BotoCoreError,
            botocore.exceptions.ClientError,
            ValueError,
        )
        with self._as_store_errors("be reached"):
            self._client = _client(settings, timeout_seconds)

    def upload(self, key: str, content: bytes) -> None:
        """Store an object (S3 PutObject), over one of the same key."""
        with self._as_store_errors(f"store {key}"):
            self._client.put_object(
                Bucket=self._bucket, Key=key, Body=content, ContentType="application/octet-stream"
            )

    def presign(self, operation: Operation, key: str, lifetime_seconds: int) -> str:
        """Return a URL that reads or writes the object without a key of one's own: a secret."""
        parameters = {"Bucket": self._bucket, "Key": key}
        with self._as_store_errors(f"sign a URL of {key}"):
            url: str = self._client.generate_presigned_url(operation, parameters, lifetime_seconds)
            return url

    def download(self, key: str, target: BinaryIO) -> None:
        """Write the whole object to `target` (S3 GetObject)."""
        with self._as_store_errors(f"give {key}"):
            body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"]
            # The library checks at the end that as much came as was announced.
            for chunk in body.iter_chunks(_CHUNK_BYTES):
                target.write(chunk)

    def beginning(self, key: str, limit_bytes: int) -> bytes:
        """Return the object, or its first part if it is larger than the limit."""
        with self._as_store_errors(f"give {key}"):
            body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"]
            content: bytes = body.read(limit_bytes)
            body.close()
            return content

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects (S3 DeleteObject); those that are not there are fine."""
        for key in keys:
            with self._as_store_errors(f"delete {key}"):
                self._client.delete_object(Bucket=self._bucket, Key=key)

    @contextmanager
    def _as_store_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except (SettingsError, *self._library_errors) as error:
            status, reason = _reason(error)
            raise ObjectStoreError(
                f"the object store at {self._place} cannot {what}: {reason}", status=status
            ) from error


def _reason(error: Exception) -> tuple[int | None, str]:
    """Return the HTTP status, None without a response, and the reason as it may be shown."""
    if isinstance(error, SettingsError):
        return None, str(error)
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        # The library's text may hold a presigned URL.
        return None, type(error).__name__.removesuffix("Error")
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    details = response.get("Error", {})
    code, text = str(details.get("Code", "")), str(details.get("Message", ""))
    reason = f"{text} ({code})" if text else code
    phrase = f"{status} {responses.get(status, '')}".rstrip()
    return status, printable(f"{phrase}: {reason}"[:_TEXT_LIMIT])


def _client(settings: StoreSettings, timeout_seconds: float) -> Any:
    """Return the library's client: path style, signature version 4, no other setting than ours."""
    from botocore import config, session  # noqa: PLC0415 (an extra, and slow)

    options = config.Config(
        region_name=settings.region,
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        connect_timeout=timeout_seconds,
        read_timeout=timeout_seconds,
        retries={"mode": "standard", "total_max_attempts": _TRIES},
        proxies=_proxies(settings.endpoint_url),
        # Checksums of newer AWS services: others refuse them, and the service could not send those
        # that a presigned URL would demand.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    with _no_aws_variables():
        return session.Session().create_client(
            "s3",
            endpoint_url=settings.endpoint_url,
            verify=_certificates(),
            aws_access_key_id=settings.access_key_id,
            aws_secret_access_key=settings.secret_access_key,
            config=options,
        )


def _proxies(url: str) -> dict[str, str]:
    """Return the proxy of a scheme as the library takes it; empty, it keeps that from looking."""
    check_proxies(os.environ)
    place, known = urlsplit(url), getproxies()
    proxy = known.get(place.scheme) or known.get("all", "")
    if not proxy or proxy_bypass(place.netloc):
        return {}
    return {place.scheme: proxy if "://" in proxy else f"http://{proxy}"}


def _certificates() -> str | None:
    """Return the file of trusted certificates, None for the library's own: it takes no folder."""
    named = os.environ.get("SSL_CERT_FILE")
    if named:
        return named
    system = ssl.get_default_verify_paths().openssl_cafile
    return system if Path(system).is_file() else None


@contextmanager
def _no_aws_variables() -> Iterator[None]:
    """Hide the variables and files that the library would read while it makes a client.

    It has no other switch for this, and a user's AWS_PROFILE or region is about another store.
    """
    hidden = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    for name in hidden:
        del os.environ[name]
    os.environ.update(_NO_CONFIGURATION)
    try:
        yield
    finally:
        for name in _NO_CONFIGURATION:
            del os.environ[name]
        os.environ.update(hidden)
