# SPDX-License-Identifier: GPL-3.0-or-later
"""The manual pages name what the commands and files of an administrator have, and no more."""

import argparse
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from spank_qrmi.admin import command as cli
from spank_qrmi.clients import CLIENTS, qrun_variables
from spank_qrmi.clients.base import Settings
from spank_qrmi.configuration import qrmi_plugstack, qrun_plugstack
from spank_qrmi.configuration.common_plugstack import Argument
from spank_qrmi.errors import AcquisitionError
from spank_qrmi.qrun import command
from spank_qrmi_simulator import command as simulator
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


@pytest.mark.parametrize(
    ("page", "parser"), [("spank-qrmi.8", cli._parser()), ("qrun.1", command._parser())]
)
def test_page_names_what_the_command_has(page: str, parser: argparse.ArgumentParser) -> None:
    text = (PAGES / page).read_text()
    missing = [word for word in words_of(parser) if not re.search(rf"{re.escape(word)}\b", text)]
    assert missing == []


def test_synopsis_has_each_subcommand_with_its_options() -> None:
    [subcommands] = cli._parser()._subparsers._group_actions
    parsers = {**subcommands.choices, "simulate": simulator._parser()}
    told = {}
    for form in section_of("spank-qrmi.8", ".Sh SYNOPSIS").split(".Nm\n.Cm ")[1:]:
        told[form.partition("\n")[0]] = {*re.findall(r"Fl (--?[\w-]+)", form.partition(".Nm")[0])}
    assert told == {name: {*words_of(parser)} for name, parser in parsers.items()}


@pytest.mark.parametrize(
    ("plugin", "known"),
    [("SPANK_QRMI.SO", qrmi_plugstack.OPTIONS), ("SPANK_IBM_QRUN.SO", qrun_plugstack.OPTIONS)],
)
def test_page_has_the_arguments(plugin: str, known: Sequence[Argument]) -> None:
    """In the same order, after the one that may be given often."""
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


VALUES = dict.fromkeys(("ENDPOINT", "URL"), "https://example.org") | {
    "MODE": "batch",
    "DOWN": "refuse",
    "KEY": "dXNlcjpwYXNzd29yZA==",
}


@pytest.mark.parametrize("resource_type", [*CLIENTS])
def test_page_has_the_variables_of_a_type(resource_type: str) -> None:
    section = section_of("qrmi_config.json.5", f".Ss {resource_type}")
    items = dict(re.findall(r"(?m)^\.It Ev (\S+)\n(.*)", section))
    assert {*items} == {*CLIENTS[resource_type].keys} - KEYS_OF_USERS

    def can_do_without(name: str) -> bool:
        values = {each: VALUES.get(each.rpartition("_")[2], "1") for each in items if each != name}
        try:
            CLIENTS[resource_type](Settings("qpu", values))
        except AcquisitionError:
            return False
        return True

    needed = [name for name, text in items.items() if text.endswith("; needed")]
    assert [name for name in items if not can_do_without(name)] == needed


def test_page_has_the_types() -> None:
    text = (PAGES / "qrmi_config.json.5").read_text()
    types = re.findall(r"(?m)^\.Ss (.*)", text)
    assert types == [*CLIENTS], "the sections below TYPES in man/qrmi_config.json.5"


def section_of(page: str, heading: str) -> str:
    """Return what stands below a heading, up to the next one."""
    _, *below = (PAGES / page).read_text().split(f"{heading}\n")
    assert len(below) == 1, f"man/{page} has the line {heading} {len(below)} times"
    return re.split(r"(?m)^\.S[hs] ", below[0])[0]


@pytest.mark.parametrize("page", [each.name for each in sorted(PAGES.iterdir())])
def test_page_holds_no_line_that_a_formatter_would_drop(page: str) -> None:
    lines = (PAGES / page).read_text().splitlines()
    assert [line for line in lines if line.startswith("'") or line != line.rstrip()] == []
    assert lines[1].startswith(".Dd ")
