# SPDX-License-Identifier: GPL-3.0-or-later
"""The administrators' tables of arguments name what the plugins know, in the same order."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from spank_qrmi.configuration import qrmi_plugstack, qrun_plugstack
from spank_qrmi.configuration.common_plugstack import Argument

ADMINISTRATION = Path(__file__).parents[3] / "docs" / "administration.md"
TABLES = re.compile(r"^\| Argument \|.*\n\|[- |]+\|\n((?:\|.*\n)+)", re.MULTILINE)
ARGUMENT = re.compile(r"`(--(?!env:)[^`]+)`")


@pytest.mark.parametrize(
    ("number", "known"),
    [(0, qrmi_plugstack.OPTIONS), (1, qrun_plugstack.OPTIONS)],
    ids=["qrmi", "qrun"],
)
def test_document_has_the_arguments(number: int, known: Sequence[Argument]) -> None:
    rows = TABLES.findall(ADMINISTRATION.read_text())[number].splitlines()
    named = [text for row in rows for text in ARGUMENT.findall(re.split(r"(?<!\\)\|", row)[1])]
    assert named == [each.text.replace("|", "\\|") for each in known]
