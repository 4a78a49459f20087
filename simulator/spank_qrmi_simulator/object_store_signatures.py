# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may use the site's S3 service: signatures of version 4, in the header or in a presigned URL.

The signature that a request should carry is calculated by botocore, which signs for the clients in
Python; what S3 refuses, and with which code, is in AWS's public reference of its API.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import parse_qsl

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

ALGORITHM = "AWS4-HMAC-SHA256"
LONGEST_LIFE_SECONDS = 604_800
LARGEST_SKEW = timedelta(minutes=15)
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
HEADER_PART = re.compile(r"(Credential|SignedHeaders|Signature)=([^,\s]+)")
SHA256 = re.compile(r"[0-9a-f]{64}")


class StoreRefusalError(Exception):
    """S3 refuses a request: with an HTTP status, its own code and a text."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class StoreRequest:
    """A request as it was signed: `target` is path and query as sent, header names are lower-case.

    `body` is None where the signature does not cover it.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None = None


@dataclass(frozen=True)
class _Claim:
    """What a request says of its own signature."""

    credential: str
    signed_headers: Sequence[str]
    signature: str
    date: str


def signed_body_hash(headers: Mapping[str, str]) -> str | None:
    """Return the SHA-256 that the body of a request must have, None if any body will do."""
    claimed = headers.get("x-amz-content-sha256", "")
    return claimed if SHA256.fullmatch(claimed) else None


class SignatureCheck:
    """Refuses requests that are not signed with the one key of the store."""

    def __init__(self, access_key_id: str, secret_access_key: str, region: str) -> None:
        self._access_key_id = access_key_id
        self._secret_access_key = secret_access_key
        self._region = region

    def check(self, request: StoreRequest, now: datetime) -> None:
        """Raise StoreRefusalError unless the request's signature is right and still valid."""
        path, _, query_text = request.target.partition("?")
        query = parse_qsl(query_text, keep_blank_values=True)
        parameters = dict(query)
        if "X-Amz-Algorithm" in parameters:
            claim = _presigned_claim(parameters)
        elif "authorization" in request.headers:
            claim = _header_claim(request.headers)
        else:
            raise StoreRefusalError(403, "AccessDenied", "Access Denied")
        signed_at = self._check_scope(claim)
        if "X-Amz-Algorithm" in parameters:
            _check_life(signed_at, parameters, now)
        elif abs(now - signed_at) > LARGEST_SKEW:
            raise StoreRefusalError(403, "RequestTimeTooSkewed", "The clocks are too far apart.")
        signed_query = [pair for pair in query if pair[0] != "X-Amz-Signature"]
        if not hmac.compare_digest(
            self._signature(request, path, signed_query, claim).encode(), claim.signature.encode()
        ):
            message = "The request signature does not match the signature you provided."
            raise StoreRefusalError(403, "SignatureDoesNotMatch", message)
        _check_body(request)

    def _check_scope(self, claim: _Claim) -> datetime:
        access_key_id, *scope = claim.credential.split("/")
        if access_key_id != self._access_key_id:
            message = "The AWS Access Key Id you provided does not exist."
            raise StoreRefusalError(403, "InvalidAccessKeyId", message)
        if scope != [claim.date[:8], self._region, "s3", "aws4_request"]:
            message = f"The credential must be of the request's day, {self._region} and s3."
            raise StoreRefusalError(400, "AuthorizationHeaderMalformed", message)
        if "host" not in claim.signed_headers:
            raise StoreRefusalError(403, "AccessDenied", "The header host must be signed.")
        try:
            return datetime.strptime(claim.date, "%Y%m%dT%H%M%S%z")
        except ValueError as error:
            raise StoreRefusalError(403, "AccessDenied", "X-Amz-Date is not a date.") from error

    def _signature(
        self, request: StoreRequest, path: str, query: Sequence[tuple[str, str]], claim: _Claim
    ) -> str:
        signer = _Signer(Credentials(self._access_key_id, self._secret_access_key), self._region)
        headers = {name: request.headers.get(name, "") for name in claim.signed_headers}
        # The signature covers the host as a header, never that of a URL.
        signed = AWSRequest(request.method, f"http://store{path}", headers, params=query)
        signed.context["timestamp"] = claim.date
        canonical = signer.canonical_request(signed)
        signature: str = signer.signature(signer.string_to_sign(signed, canonical), signed)
        return signature


class _Signer(S3SigV4Auth):  # type: ignore[misc] # botocore publishes no types
    """botocore's signer, for a request whose sender has chosen which headers to sign."""

    def __init__(self, credentials: Credentials, region: str) -> None:
        super().__init__(credentials, "s3", region)

    def headers_to_sign(self, request: AWSRequest) -> HTTPHeaders:
        """Return all headers of the request, which were signed."""
        return request.headers

    def payload(self, request: AWSRequest) -> str:
        """Return what stands for a body's hash where no signed header holds it."""
        return UNSIGNED_PAYLOAD


def _presigned_claim(parameters: Mapping[str, str]) -> _Claim:
    names = ("Credential", "SignedHeaders", "Signature", "Date", "Expires")
    missing = [name for name in names if not parameters.get(f"X-Amz-{name}")]
    if missing or parameters["X-Amz-Algorithm"] != ALGORITHM:
        message = f"The query must hold {ALGORITHM} and all of its parameters."
        raise StoreRefusalError(400, "AuthorizationQueryParametersError", message)
    return _Claim(
        credential=parameters["X-Amz-Credential"],
        signed_headers=parameters["X-Amz-SignedHeaders"].split(";"),
        signature=parameters["X-Amz-Signature"],
        date=parameters["X-Amz-Date"],
    )


def _header_claim(headers: Mapping[str, str]) -> _Claim:
    algorithm, _, rest = headers["authorization"].partition(" ")
    parts = dict(HEADER_PART.findall(rest))
    has_all = {"Credential", "SignedHeaders", "Signature"} <= parts.keys()
    if algorithm != ALGORITHM or not has_all:
        message = f"The authorization must be {ALGORITHM} with all of its parts."
        raise StoreRefusalError(400, "AuthorizationHeaderMalformed", message)
    if "x-amz-content-sha256" not in headers:
        message = "Missing required header for this request: x-amz-content-sha256"
        raise StoreRefusalError(400, "InvalidRequest", message)
    return _Claim(
        credential=parts["Credential"],
        signed_headers=parts["SignedHeaders"].split(";"),
        signature=parts["Signature"],
        date=headers.get("x-amz-date", ""),
    )


def _check_life(signed_at: datetime, parameters: Mapping[str, str], now: datetime) -> None:
    text = parameters["X-Amz-Expires"]
    is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(LONGEST_LIFE_SECONDS))
    if not is_number or int(text) > LONGEST_LIFE_SECONDS:
        message = f"X-Amz-Expires must be a number of seconds up to {LONGEST_LIFE_SECONDS}."
        raise StoreRefusalError(400, "AuthorizationQueryParametersError", message)
    if now > signed_at + timedelta(seconds=int(text)):
        raise StoreRefusalError(403, "AccessDenied", "Request has expired")
    if signed_at > now + LARGEST_SKEW:
        raise StoreRefusalError(403, "AccessDenied", "Request is not valid yet")


def _check_body(request: StoreRequest) -> None:
    wanted = signed_body_hash(request.headers)
    if request.body is None or wanted is None:
        return
    if hashlib.sha256(request.body).hexdigest() != wanted:
        message = "The provided 'x-amz-content-sha256' header does not match what was computed."
        raise StoreRefusalError(400, "XAmzContentSHA256Mismatch", message)
