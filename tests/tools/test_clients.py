# SPDX-License-Identifier: GPL-3.0-or-later
"""A client that cannot be installed is an error that names the log."""

from pathlib import Path

import pytest

from loopback import clients
from loopback.errors import CommandError


def test_client_that_cannot_be_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("VERBOSE", raising=False)
    monkeypatch.setattr(clients, "CACHE", tmp_path)
    monkeypatch.setattr(clients, "LOG", tmp_path / "client.log")
    monkeypatch.setitem(clients.REQUIREMENTS, "none", ("./no-such-file.whl",))
    with pytest.raises(CommandError) as raised:
        clients.install_client("none")
    assert "no-such-file.whl" in str(raised.value)
    assert str(raised.value).endswith(f"all of it is in {tmp_path / 'client.log'}\n")
    assert not clients.is_installed("none")
    out, err = capfd.readouterr()
    assert out == f"making {tmp_path / 'none'}\ninstalling ./no-such-file.whl\n"
    assert err == ""
