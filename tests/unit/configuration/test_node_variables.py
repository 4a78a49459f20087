# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates that `--env:` names: nobody else may change them."""

from pathlib import Path

import pytest

from spank_qrmi.configuration.node_variables import check_certificates
from spank_qrmi.errors import ArgumentError
from tests.unit.outcomes import WRITABLE


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_certificates_that_others_can_write_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "certificates"
    if name == "SSL_CERT_DIR":
        path.mkdir()
    else:
        path.touch()
    value = f"{path}:{path}" if name == "SSL_CERT_DIR" else str(path)
    path.chmod(0o755)
    check_certificates({name: value})
    path.chmod(0o775)
    with pytest.raises(ArgumentError) as caught:
        check_certificates({name: value})
    assert str(caught.value) == (f"--env:{name}: {path}: {WRITABLE} {path}")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/nowhere/ca.pem", "/nowhere/ca.pem: cannot be read: No such file or directory"),
        ("ca.pem", "ca.pem: must be an absolute path"),
    ],
)
def test_certificates_that_cannot_be_read_are_named(value: str, expected: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        check_certificates({"SSL_CERT_FILE": value})
    assert str(caught.value) == f"--env:SSL_CERT_FILE: {expected}"


def test_other_variables_name_no_certificates() -> None:
    check_certificates({"SSL_CERT_FILE": "", "SSL_CERT_DIR": "", "OTHER": "nowhere"})
