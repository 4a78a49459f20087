# SPDX-License-Identifier: GPL-3.0-or-later
"""What the bill of materials says of its subject."""

from pathlib import Path

import pytest

from scripts import sbom

METADATA = """\
Name: spank-qrmi
Version: 1.2
Summary: a "quoted" summary
License-Expression: GPL-3.0-or-later
Requires-Dist: one<2,>=1
Requires-Dist: two; extra == "qrun"

Text
"""
SUBJECT = r"""[project]
name = "spank-qrmi"
version = "1.2"
description = "a \"quoted\" summary"
dependencies = ["one<2,>=1", "two; extra == \"qrun\""]
license = { text = "GPL-3.0-or-later" }
"""


def test_subject_is_the_installed_package(tmp_path: Path) -> None:
    folder = tmp_path / "lib" / "python3" / "site-packages" / "spank_qrmi-1.2.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(METADATA)
    assert sbom.subject_of(sbom.metadata_of(tmp_path)) == SUBJECT


def test_tool_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"^error: the bill of materials cannot be made$"):
        sbom.describe("false", tmp_path, tmp_path, tmp_path)
