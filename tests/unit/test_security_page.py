# SPDX-License-Identifier: GPL-3.0-or-later
"""SECURITY.md names the test of each rule; a rule without one would be a promise."""

import re

from loopback.installation import REPOSITORY

PAGE = REPOSITORY.joinpath("SECURITY.md").read_text()
NAMED = sorted(set(re.findall(r"`((?:\w+/)?test_\w+\.py)(?:::(test_\w+))?`", PAGE)))


def is_there(file: str, name: str) -> bool:
    texts = [path.read_text() for path in REPOSITORY.glob(f"tests/**/{file}")]
    beginning = f"\ndef {name}(" if name else "\ndef test_"
    return any(beginning in text for text in texts)


def test_tests_that_it_names_are_there():
    assert len(NAMED) > 20
    assert [each for each in NAMED if not is_there(*each)] == []


def test_every_rule_names_what_shows_it():
    rows = PAGE.partition("| Threat | Rule | Shown by |")[2].partition("\n## ")[0].splitlines()[2:]
    assert all(
        re.search(r"`((\w+/)?test_|make )", row.split("|")[3])
        for row in rows
        if row.startswith("|")
    )
