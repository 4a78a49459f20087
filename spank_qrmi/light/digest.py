# SPDX-License-Identifier: GPL-3.0-or-later
"""SHA-256, for names of files.

hashlib loads OpenSSL, which takes 3 ms that a job would wait for; below it, Python has the function
by itself.
"""

from spank_qrmi.light.type_hints import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import sha256
else:
    try:
        from _sha2 import sha256  # Python 3.12 and later
    except ImportError:
        try:
            from _sha256 import sha256
        except ImportError:  # A Python that leaves it to OpenSSL.
            from hashlib import sha256


def sha256_hex(data: bytes) -> str:
    """Return the digest in hexadecimal."""
    return sha256(data).hexdigest()
