# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose certificates are trusted, and why a connection did not come about."""

import logging
import os
import re
import ssl
from collections.abc import Mapping
from contextlib import suppress

from spank_qrmi.errors import SettingsError
from spank_qrmi.redaction import printable

log = logging.getLogger(__name__)

# As `openssl rehash` names them; OpenSSL looks for no other file.
_HASHED_NAME = re.compile(r"[0-9a-f]{8}\.[0-9]+")
# A system's own folder has a hundred and more; a few are what an administrator has added.
_FEWEST_OF_A_SYSTEM = 20
_ADVICE = "{} is set and must name the certificates that prove it"


def trust_of(variables: Mapping[str, str]) -> tuple[ssl.SSLContext, str]:
    """Return what trusts the named certificates, else the system's, and what to do about others.

    SSL_CERT_FILE wins over SSL_CERT_DIR. What these name is read at once, so nobody needs to be
    able to read it later; what is the system's may be read when it is needed. Verification cannot
    be switched off. Raises SettingsError if a file of certificates cannot be read.
    """
    file, folders = variables.get("SSL_CERT_FILE"), variables.get("SSL_CERT_DIR")
    if file:
        return _context_of_file(file), _ADVICE.format("SSL_CERT_FILE")
    if folders:
        return _context_of_folders(folders), _ADVICE.format("SSL_CERT_DIR")
    return _trust_of_system()


def is_untrusted(error: OSError | None) -> bool:
    """Return whether a connection was refused for its certificate."""
    return isinstance(error, ssl.SSLCertVerificationError)


def connection_reason(error: OSError, advice: str) -> str:
    """Return why there is no connection as the end of a sentence, or nothing."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted ({printable(error.verify_message)}); {advice}"
        case ssl.SSLError():
            reason = str(error.reason or "failed").replace("_", " ").lower()
            return f"TLS: {printable(reason)}"
    return _reason_of(error)


def _reason_of(error: OSError) -> str:
    """Return the operating system's reason as the end of a sentence, or nothing."""
    reason = error.strerror or ""
    return printable(reason[:1].lower() + reason[1:])


def _context_of_file(path: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=path)
    except (OSError, ValueError) as error:
        if isinstance(error, (ssl.SSLError, ValueError)):
            reason = "no certificate"
        else:
            reason = _reason_of(error)
        raise SettingsError(
            f"SSL_CERT_FILE: {printable(path)} cannot be read as certificates ({reason}): "
            "give the path of a file in PEM format"
        ) from error


def _context_of_folders(paths: str) -> ssl.SSLContext:
    """Return what trusts the certificates that OpenSSL would find in the folders."""
    try:
        context = ssl.create_default_context(capath=paths)
    except (OSError, ValueError) as error:
        raise SettingsError(f"SSL_CERT_DIR: {printable(paths)} is no path of a folder") from error
    for folder in filter(None, paths.split(os.pathsep)):
        try:
            files = _hashed_files(folder)
        except OSError as error:
            raise SettingsError(
                f"SSL_CERT_DIR: {printable(folder)} cannot be read ({_reason_of(error)})"
            ) from error
        for path in files:
            try:
                context.load_verify_locations(cafile=path)
            except OSError as error:
                # One that is broken must not take away what the others prove.
                log.warning("SSL_CERT_DIR: %s is left out: %s", printable(path), _reason_of(error))
    return context


def _trust_of_system() -> tuple[ssl.SSLContext, str]:
    """Return the same whatever SSL_CERT_FILE and SSL_CERT_DIR are in the process's environment."""
    known = ssl.get_default_verify_paths()
    context = ssl.create_default_context(capath=known.openssl_capath)
    # From a folder OpenSSL reads the one that it needs; a file is read whole, which takes 20 ms.
    in_folder: list[str] = []
    with suppress(OSError):
        in_folder = _hashed_files(known.openssl_capath)
    if len(in_folder) < _FEWEST_OF_A_SYSTEM:
        try:
            context.load_verify_locations(cafile=known.openssl_cafile)
        except OSError:
            if not in_folder:
                advice = "this system has none: install ca-certificates, or set SSL_CERT_FILE"
                return context, advice
    advice = "set SSL_CERT_FILE to the site's certificates if it is the site's own"
    return context, advice


def _hashed_files(folder: str) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(each.path for each in entries if _HASHED_NAME.fullmatch(each.name))
