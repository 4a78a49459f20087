# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose certificates are trusted, and the handshake that checks them.

The only module that imports `ssl`; it is imported when something is asked by https.
"""

import logging
import os
import re
import socket
import ssl
from collections.abc import Mapping

from spank_qrmi.clients.connection import reason_of
from spank_qrmi.clients.transport import (
    ConnectError,
    ConnectTimeoutError,
    SettingsError,
    UntrustedError,
)
from spank_qrmi.redaction import printable

log = logging.getLogger(__name__)


# As `openssl rehash` names them; OpenSSL looks for no other file.
_HASHED_NAME = re.compile(r"[0-9a-f]{8}\.[0-9]+")
# A system's own folder has a hundred and more; a few are what an administrator has added.
_FEWEST_OF_A_SYSTEM = 20
_ADVICE = "{} is set and must name the certificates that prove it"


class Trust:
    """The certificates that a set of variables names, else the system's.

    SSL_CERT_FILE wins over SSL_CERT_DIR. What these name is read at once, so nobody needs to be
    able to read it later; what is the system's may be read when it is needed. Verification cannot
    be switched off. Raises SettingsError if a file of certificates cannot be read.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        file, folders = variables.get("SSL_CERT_FILE"), variables.get("SSL_CERT_DIR")
        if file:
            self._context = _context_of_file(file)
            self._advice = _ADVICE.format("SSL_CERT_FILE")
        elif folders:
            self._context = _context_of_folders(folders)
            self._advice = _ADVICE.format("SSL_CERT_DIR")
        else:
            self._context, self._advice = _context_of_system()
        self._context.set_alpn_protocols(["http/1.1"])

    def handshake(self, stream: socket.socket, host: str) -> ssl.SSLSocket:
        """Return the stream encrypted, once its certificate has proved to be the host's.

        Raises UntrustedError, ConnectError, ConnectTimeoutError.
        """
        try:
            # As bytes, for which no codec has to be imported.
            return self._context.wrap_socket(stream, server_hostname=host.encode("ascii"))
        except ssl.SSLCertVerificationError as error:
            reason = printable(error.verify_message)
            text = f"its certificate is not trusted ({reason}); {self._advice}"
            raise UntrustedError(text) from error
        except TimeoutError as error:
            raise ConnectTimeoutError from error
        except ssl.SSLError as error:
            reason = str(error.reason or "failed").replace("_", " ").lower()
            text = f"TLS: {printable(reason)}"
            raise ConnectError(text) from error
        except OSError as error:
            raise ConnectError(reason_of(error)) from error


def _context_of_file(path: str) -> ssl.SSLContext:
    failure: Exception
    try:
        return ssl.create_default_context(cafile=path)
    except (ssl.SSLError, ValueError) as error:
        failure, reason = error, "no certificate"
    except OSError as error:
        failure, reason = error, reason_of(error)
    message = (
        f"SSL_CERT_FILE: {printable(path)} cannot be read as certificates ({reason}): "
        "give the path of a file in PEM format"
    )
    raise SettingsError(message) from failure


def _context_of_folders(paths: str) -> ssl.SSLContext:
    """Return what trusts the certificates that OpenSSL would find in the folders."""
    try:
        context = ssl.create_default_context(capath=paths)
    except (OSError, ValueError) as error:
        message = f"SSL_CERT_DIR: {printable(paths)} is no path of a folder"
        raise SettingsError(message) from error
    for path in _hashed_files(paths):
        try:
            context.load_verify_locations(cafile=path)
        except OSError as error:
            # One that is broken must not take away what the others prove.
            log.warning("SSL_CERT_DIR: %s is left out: %s", printable(path), reason_of(error))
    return context


def _hashed_files(paths: str) -> list[str]:
    """Return the certificates in folders; raise SettingsError for a folder that cannot be read."""
    found: list[str] = []
    for folder in filter(None, paths.split(os.pathsep)):
        try:
            with os.scandir(folder) as entries:
                found += sorted(each.path for each in entries if _HASHED_NAME.fullmatch(each.name))
        except OSError as error:
            message = f"SSL_CERT_DIR: {printable(folder)} cannot be read ({reason_of(error)})"
            raise SettingsError(message) from error
    return found


def _context_of_system() -> tuple[ssl.SSLContext, str]:
    """Return what trusts the system's certificates, and what to do if one is not among them.

    Whatever SSL_CERT_FILE and SSL_CERT_DIR are in the process's own environment.
    """
    known = ssl.get_default_verify_paths()
    context = ssl.create_default_context(capath=known.openssl_capath)
    # From a folder OpenSSL reads the one that it needs; a file is read whole, which takes 20 ms.
    in_folder = _hashed_file_count(known.openssl_capath)
    if in_folder < _FEWEST_OF_A_SYSTEM:
        try:
            context.load_verify_locations(cafile=known.openssl_cafile)
        except OSError:
            if in_folder == 0:
                advice = "this system has none: install ca-certificates, or set SSL_CERT_FILE"
                return context, advice
    return context, "set SSL_CERT_FILE to the site's certificates if it is the site's own"


def _hashed_file_count(folder: str) -> int:
    try:
        with os.scandir(folder) as entries:
            return sum(1 for each in entries if _HASHED_NAME.fullmatch(each.name))
    except OSError:
        return 0
