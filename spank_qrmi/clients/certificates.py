# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose certificates are trusted, and why a connection did not come about."""

import logging
import os
import re
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress

from spank_qrmi.errors import SettingsError
from spank_qrmi.redaction import printable

log = logging.getLogger(__name__)

# As `openssl rehash` names them; OpenSSL looks for no other file.
_HASHED_NAME = re.compile(r"[0-9a-f]{8}\.[0-9]+")
# A system's own folder has a hundred and more; a few are what an administrator has added.
_FEWEST_OF_A_SYSTEM = 20
_ADVICE = (
    "{0} must name the certificates that prove it: the administrator sets it by --env:{0}= in "
    "plugstack.conf"
)
_NAME_OTHERS = "name the site's certificates by --env:SSL_CERT_FILE= in plugstack.conf"

# What OpenSSL's verification says, see X509_STORE_CTX_get_error(3).
_NOT_YET_VALID, _EXPIRED = 9, 10
_OF_ANOTHER_HOST = {62, 64}
_WITHOUT_AUTHORITY = {2, 18, 19, 20, 21}


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


def is_final(error: OSError | None) -> bool:
    """Return whether the next connection would not come about either."""
    return isinstance(error, ssl.SSLCertVerificationError) or _has_no_tls(error)


def connection_reason(error: OSError, advice: str) -> str:
    """Return why there is no connection as the end of a sentence, or nothing.

    `advice` is for a certificate of an unknown authority.
    """
    match error:
        case ssl.SSLCertVerificationError():
            return _certificate_reason(error, advice)
        case ssl.SSLError() if _has_no_tls(error):
            return "TLS: wrong version number: does it speak http:// only? check the URL"
        case ssl.SSLError():
            reason = str(error.reason or "failed").replace("_", " ").lower()
            return f"TLS: {printable(reason)}"
    return _reason_of(error)


def _certificate_reason(error: ssl.SSLCertVerificationError, advice: str) -> str:
    code, told = error.verify_code, printable(error.verify_message).rstrip(".")
    if code in {_NOT_YET_VALID, _EXPIRED}:
        state = "has expired" if code == _EXPIRED else "is not yet valid"
        now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        return (
            f"its certificate, or one that proves it, {state}: check this node's clock "
            f"(now {now}), then tell who runs the service"
        )
    if code in _OF_ANOTHER_HOST:
        return (
            f"its certificate is of another host ({told}): correct the endpoint's URL, or tell who "
            "runs the service"
        )
    if code not in _WITHOUT_AUTHORITY:
        advice = "tell who runs the service"
    return f"its certificate is not trusted ({told}); {advice}"


def _has_no_tls(error: OSError | None) -> bool:
    return isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER"


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
                return context, f"this system has none: install ca-certificates, or {_NAME_OTHERS}"
    return context, f"if it is the site's own, {_NAME_OTHERS}"


def _hashed_files(folder: str) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(each.path for each in entries if _HASHED_NAME.fullmatch(each.name))
