# SPDX-License-Identifier: GPL-3.0-or-later
"""A second entrance to a local service, by https, with a certificate that nobody else trusts."""

import asyncio
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "127.0.0.1"
START_SECONDS = 60.0
_SINCE_AN_HOUR = timedelta(hours=-1)
_CHUNK_BYTES = 65536


@dataclass(frozen=True)
class TlsEntrance:
    """Where the service answers, and the file of the only certificate that proves it."""

    url: str
    certificate: Path


@contextmanager
def tls_entrance_to(
    url: str, folder: Path, *, begins_in: timedelta = _SINCE_AN_HOUR
) -> Iterator[TlsEntrance]:
    """Forward https on a free port to the service at `url`, with certificate and key in `folder`.

    The certificate is valid for a day, which `begins_in` so long. Raises TimeoutError if the
    entrance does not open.
    """
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    _make_certificate(certificate, key, datetime.now(timezone.utc) + begins_in)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    forwarder = _Forwarder(url, tls)
    thread = threading.Thread(target=lambda: asyncio.run(forwarder.serve()), daemon=True)
    thread.start()
    if not forwarder.is_ready.wait(START_SECONDS):
        raise TimeoutError("the entrance by https does not open")
    try:
        yield TlsEntrance(f"https://{HOST}:{forwarder.port}", certificate)
    finally:
        forwarder.stop()
        thread.join()


class _Forwarder:
    """Takes TLS off each connection and hands what comes to the service behind."""

    def __init__(self, url: str, tls: ssl.SSLContext) -> None:
        self.is_ready = threading.Event()
        self.port = 0
        self._service = urlsplit(url)
        self._tls = tls

    async def serve(self) -> None:
        """Forward until `stop`."""
        self._loop = asyncio.get_running_loop()
        # A client that does not trust us is what some tests want to see.
        self._loop.set_exception_handler(lambda _loop, _context: None)
        self._is_over = asyncio.Event()
        server = await asyncio.start_server(self._forward, HOST, 0, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        self.is_ready.set()
        await self._is_over.wait()
        server.close()

    def stop(self) -> None:
        """Have `serve` end, from another thread."""
        self._loop.call_soon_threadsafe(self._is_over.set)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        service_reader, service_writer = await asyncio.open_connection(
            self._service.hostname, self._service.port
        )
        try:
            await asyncio.gather(_pump(reader, service_writer), _pump(service_reader, writer))
        except asyncio.CancelledError:
            # The entrance closes, and asyncio would log that as an error of this connection.
            return
        finally:
            service_writer.close()
            writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    writer.close()


def _make_certificate(certificate: Path, key: Path, begins_at: datetime) -> None:
    """Write a certificate for the loopback address that is its own authority, and its key."""
    private_key = ec.generate_private_key(ec.SECP256R1())
    public_key = private_key.public_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "simulated site")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(public_key)
    made = (
        x509.CertificateBuilder(name, name, public_key, x509.random_serial_number())
        .not_valid_before(begins_at)
        .not_valid_after(begins_at + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
            critical=False,
        )
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]),
            critical=False,
        )
        .sign(private_key, hashes.SHA256())
    )
    key.touch(mode=0o600)
    key.write_bytes(
        private_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))


def _usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
