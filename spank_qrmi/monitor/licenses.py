# SPDX-License-Identifier: GPL-3.0-or-later
"""Licences as slurmctld shows them, and the two ways to keep some of them from jobs."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from spank_qrmi.numbers_in_text import parse_number
from spank_qrmi.trust.slurm_commands import SlurmCommands

_PAIR = re.compile(r"(?:^|\s)([A-Za-z]\w*)=(\S*)")
_LARGEST_COUNT = 10**9


@dataclass(frozen=True)
class License:
    """One licence: how many there are, jobs have, and the monitor withholds.

    Never more than `most_withheld` can be: others keep the rest. `is_due` if what is withheld must
    be told anew although it stays.
    """

    total: int
    used: int
    withheld: int
    most_withheld: int
    is_due: bool = False


class WayToWithhold(Protocol):
    """How licences are kept from jobs. Its methods raise SlurmError."""

    def read(self) -> dict[str, License]:
        """Return slurmctld's licences by name."""

    def withhold(self, name: str, count: int) -> None:
        """Withhold so many of a licence, 0 for none; called after `read`, for one of those."""

    def release_all(self) -> list[str]:
        """Withhold none of any licence; return names of what was given back."""


def records_in(output: str) -> Iterator[dict[str, str]]:
    """Yield what each line of `scontrol -o show` says: of a repeated key the first."""
    for line in output.splitlines():
        record: dict[str, str] = {}
        for key, value in _PAIR.findall(line):
            record.setdefault(key, value)
        yield record


def number_in(record: Mapping[str, str], key: str) -> int:
    """Return a number of a record, 0 for what is none."""
    return parse_number(record.get(key, ""), _LARGEST_COUNT) or 0


def show_licenses(commands: SlurmCommands) -> dict[str, Mapping[str, str]]:
    """Return what slurmctld says of each licence, by its name; raise SlurmError."""
    records = records_in(commands.run("scontrol", "--oneliner", "show", "licenses"))
    return {each["LicenseName"]: each for each in records if "LicenseName" in each}
