# SPDX-License-Identifier: GPL-3.0-or-later
"""The administrators' tables of arguments name what the plugins know, in the same order."""

import re
from pathlib import Path

from spank_qrmi.configuration import qrmi_plugstack, qrun_plugstack

ADMINISTRATION = Path(__file__).parents[3] / "docs" / "administration.md"
TABLES = re.compile(r"^\| Argument \|.*\n\|[- |]+\|\n((?:\|.*\n)+)", re.MULTILINE)
ARGUMENT = re.compile(r"`(--(?!env:)[^`]+)`")


def test_document_has_the_arguments() -> None:
    tables = TABLES.findall(ADMINISTRATION.read_text())
    for table, known in zip(tables, (qrmi_plugstack.OPTIONS, qrun_plugstack.OPTIONS), strict=True):
        cells = [re.split(r"(?<!\\)\|", row)[1] for row in table.splitlines()]
        named = [text for cell in cells for text in ARGUMENT.findall(cell)]
        assert named == [each.text.replace("|", "\\|") for each in known]
