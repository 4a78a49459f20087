# SPDX-License-Identifier: GPL-3.0-or-later
"""The manual pages name what the commands and files of an administrator have, and no more."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from spank_qrmi.admin import command as cli
from spank_qrmi.clients import CLIENTS, qrun_variables
from spank_qrmi.clients.base import Settings
from spank_qrmi.configuration import qrmi_plugstack, qrun_plugstack
from spank_qrmi.errors import AcquisitionError
from spank_qrmi.qrun import command
from spank_qrmi_simulator import command as simulator
from tests.unit.outcomes import refusal_of
from tests.unit.vendors import KEYS_OF_USERS

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


def test_pages_name_what_the_commands_have() -> None:
    for page, parser in (("qrun.1", command._parser()), ("spank-qrmi.8", cli._parser())):
        text, words = (PAGES / page).read_text(), words_of(parser)
        assert [word for word in words if not re.search(rf"{re.escape(word)}\b", text)] == [], page
    # The synopsis has each subcommand with its options.
    [subcommands] = cli._parser()._subparsers._group_actions
    parsers = {**subcommands.choices, "simulate": simulator._parser()}
    told = {}
    for form in section_of("spank-qrmi.8", ".Sh SYNOPSIS").split(".Nm\n.Cm ")[1:]:
        told[form.partition("\n")[0]] = {*re.findall(r"Fl (--?[\w-]+)", form.partition(".Nm")[0])}
    assert told == {name: {*words_of(parser)} for name, parser in parsers.items()}


def test_page_has_the_arguments() -> None:
    """In the same order, after the one that may be given often."""
    for plugin, known in (
        ("SPANK_QRMI.SO", qrmi_plugstack.OPTIONS),
        ("SPANK_IBM_QRUN.SO", qrun_plugstack.OPTIONS),
    ):
        section = section_of("spank_qrmi.conf.5", f".Sh ARGUMENTS OF {plugin}")
        named = [
            "-" + item.replace(" Ns ", "").replace("Ar ", "").replace(" :", ":")
            for item in re.findall(r"(?m)^\.It Fl (-.*)", section)
        ]
        assert named == ["--env:NAME=VALUE", *(each.text for each in known)]


def test_page_and_document_have_the_keys_of_credentials() -> None:
    keys = (*qrun_variables.SITE_VARIABLES, *qrun_variables.IAM_VARIABLES)
    expected = [name.removeprefix(qrun_variables.PREFIX) for name in keys]
    section = section_of("spank_qrmi.conf.5", ".Sh ARGUMENTS OF SPANK_IBM_QRUN.SO")
    assert re.findall(r"(?m)^\.It Li (.*)", section) == expected
    document = PAGES.with_name("docs").joinpath("administration.md").read_text()
    table = document.partition("| Key in FILE |")[2].partition("\n\n")[0]
    rows = re.findall(r"(?m)^\| (`.*?) \|", table)
    assert [each.strip("`") for row in rows for each in row.split(", ")] == expected


VALUES = {
    "ENDPOINT": "https://example.org",
    "URL": "https://example.org",
    "MODE": "batch",
    "DOWN": "refuse",
    "KEY": "dXNlcjpwYXNzd29yZA==",
}


def test_page_has_the_types_with_their_variables() -> None:
    types = re.findall(r"(?m)^\.Ss (.*)", (PAGES / "qrmi_config.json.5").read_text())
    assert types == [*CLIENTS], "the sections below TYPES in man/qrmi_config.json.5"
    for each in types:
        section = section_of("qrmi_config.json.5", f".Ss {each}")
        items = dict(re.findall(r"(?m)^\.It Ev (\S+)\n(.*)", section))
        assert {*items} == {*CLIENTS[each].keys} - KEYS_OF_USERS
        values = {name: VALUES.get(name.rpartition("_")[2], "1") for name in items}
        needed = [name for name, text in items.items() if text.endswith("; needed")]
        for name in items:
            without = {other: value for other, value in values.items() if other != name}
            refused = refusal_of(AcquisitionError, CLIENTS[each], Settings("qpu", without))
            assert (refused is not None) is (name in needed), (each, name)


def section_of(page: str, heading: str) -> str:
    """Return what stands below a heading, up to the next one."""
    _, *below = (PAGES / page).read_text().split(f"{heading}\n")
    assert len(below) == 1, f"man/{page} has the line {heading} {len(below)} times"
    return re.split(r"(?m)^\.S[hs] ", below[0])[0]


def test_page_holds_no_line_that_a_formatter_would_drop() -> None:
    for page in PAGES.iterdir():
        lines = page.read_text().splitlines()
        assert [line for line in lines if line.startswith("'") or line != line.rstrip()] == []
        assert lines[1].startswith(".Dd "), page
