# SPDX-License-Identifier: GPL-3.0-or-later
"""`spank-qrmi simulate` leads to the simulated site, which is a distribution of its own."""

import importlib.util
import os
import sys

import pytest

from spank_qrmi import __version__
from spank_qrmi.admin.command import main


def test_it_becomes_the_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    become: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, command: become.append([program, *command]))
    for arguments in ([], ["--help"], ["--port", "80", "--write-config=a", "--noise"]):
        main(["simulate", *arguments])
        python = sys.executable
        expected = [python, python, "-I", "-m", "spank_qrmi_simulator", *arguments]
        assert become.pop() == expected


def test_without_it_the_file_to_install_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert main(["simulate", "--noise"]) == 1
    assert capsys.readouterr().err == (
        "spank-qrmi: the simulated site is a package of its own: install the file "
        f"spank_qrmi_simulator-{__version__}-py3-none-any.whl of this release beside spank-qrmi\n"
    )
