# SPDX-License-Identifier: GPL-3.0-or-later
"""Files keep their names, whatever Python has SHA-256 from."""

import builtins
import hashlib
import importlib
from collections.abc import Iterator

import pytest

from spank_qrmi.light import digest


@pytest.fixture
def only_openssl(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Python without SHA-256 of its own."""
    real = builtins.__import__

    def without_own(name: str, *rest: object) -> object:
        if name in {"_sha2", "_sha256"}:
            raise ImportError(name)
        return real(name, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "__import__", without_own)
        importlib.reload(digest)
    yield
    importlib.reload(digest)


def test_digest_is_the_standard_one() -> None:
    for data in (b"", b"abc", b"\xff" * 1000):
        assert digest.sha256_hex(data) == hashlib.sha256(data).hexdigest()


@pytest.mark.usefixtures("only_openssl")
def test_python_that_leaves_it_to_openssl() -> None:
    assert digest.sha256 is hashlib.sha256  # type: ignore[attr-defined]
    assert digest.sha256_hex(b"abc").startswith("ba7816bf")
