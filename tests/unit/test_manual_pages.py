# SPDX-License-Identifier: GPL-3.0-or-later
"""The manual pages name every subcommand and option that the commands have."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from spank_qrmi.admin import command as cli
from spank_qrmi.qrun import command

PAGES = Path(__file__).parents[2] / "man"


def words_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield subcommands and long options, as mdoc(7) writes them."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, subparser in action.choices.items():
                yield f"Cm {name}"
                yield from words_of(subparser)
        for option in action.option_strings:
            if option.startswith("--") and option != "--help":
                yield option.removeprefix("-")


@pytest.mark.parametrize(
    ("page", "parser"), [("spank-qrmi.8", cli._parser()), ("qrun.1", command._parser())]
)
def test_page_names_what_the_command_has(page: str, parser: argparse.ArgumentParser) -> None:
    text = (PAGES / page).read_text()
    missing = [word for word in words_of(parser) if not re.search(rf"{re.escape(word)}\b", text)]
    assert missing == []


@pytest.mark.parametrize("page", ["spank-qrmi.8", "qrun.1"])
def test_page_holds_no_line_that_a_formatter_would_drop(page: str) -> None:
    lines = (PAGES / page).read_text().splitlines()
    assert [line for line in lines if line.startswith("'") or line != line.rstrip()] == []
    assert lines[1].startswith(".Dd ")
