# SPDX-License-Identifier: GPL-3.0-or-later
"""Withholding licences by reservations, one for each QPU: needs no slurmdbd.

A reservation is the monitor's if it has the name that the rule gives it, no node, and that licence
alone. Any other is left alone, and what it reserves is not ours to withhold: slurmctld refuses to
reserve more licences than there are, also if the other reservation is to begin later.
"""

import contextlib
import logging
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

from spank_qrmi.catalog.license_names import license_name_of
from spank_qrmi.errors import SlurmError
from spank_qrmi.monitor.licenses import License, number_in, records_in, show_licenses
from spank_qrmi.numbers_in_text import parse_number
from spank_qrmi.trust.slurm_commands import SlurmCommands, SlurmTimeoutError

_LARGEST_COUNT = 10**9
# Slurm's "infinite" is a year.
_RENEWED_BEFORE = timedelta(days=60)
_RENEWED_FOR = "now+365days"

log = logging.getLogger(__name__)


def reservation_of(license_name: str) -> str:
    """Return the name of the monitor's reservation of a licence."""
    return f"spank_qrmi_{license_name}"


class Reservations:
    """The reservations of one slurmctld."""

    def __init__(self, commands: SlurmCommands) -> None:
        self._commands = commands
        self._own: dict[str, int] = {}

    def read(self) -> dict[str, License]:
        """Return all licences, with what the monitor's reservations withhold of them."""
        shown = show_licenses(self._commands)
        foreign: Counter[str] = Counter()
        ends: dict[str, str] = {}
        self._own = {}
        for record in self._records():
            licenses = _licenses_in(record)
            name = _own_license(record, licenses)
            if name is None:
                foreign.update(licenses)
            else:
                self._own[name] = licenses[name]
                ends[name] = record.get("EndTime", "")
        return {
            name: License(
                total=number_in(record, "Total"),
                used=number_in(record, "Used"),
                withheld=self._own.get(name, 0),
                most_withheld=max(0, number_in(record, "Total") - foreign[name]),
                is_due=name in ends and (self._own[name] == 0 or _ends_soon(ends[name])),
            )
            for name, record in shown.items()
        }

    def withhold(self, name: str, count: int) -> None:
        """Make, change or delete a licence's reservation."""
        reservation, licenses = reservation_of(name), f"licenses={name}:{count}"
        if count == 0:
            if name in self._own:
                self._commands.run("scontrol", "delete", f"reservation={reservation}")
        elif name in self._own:
            self._commands.run(
                *("scontrol", "update", f"reservation={reservation}", licenses),
                f"endtime={_RENEWED_FOR}",
            )
        else:
            self._commands.run(
                *("scontrol", "create", "reservation", f"reservationname={reservation}"),
                *(licenses, "flags=LICENSE_ONLY", "user=root"),
                *("starttime=now", "duration=infinite"),
            )

    def release_all(self) -> list[str]:
        """Delete all reservations of the monitor's; return their names.

        Raises SlurmError with the first reason if one could not be deleted, after all were tried.
        """
        released, failures = [], []
        for record in self._records():
            name = _own_license(record, _licenses_in(record))
            if name is not None:
                try:
                    self._commands.run("scontrol", "delete", f"reservation={reservation_of(name)}")
                except SlurmTimeoutError:
                    raise
                except SlurmError as error:
                    failures.append(error)
                else:
                    released.append(reservation_of(name))
        if failures:
            raise failures[0]
        return released

    def _records(self) -> list[dict[str, str]]:
        output = self._commands.run("scontrol", "--oneliner", "show", "reservations")
        return [each for each in records_in(output) if "ReservationName" in each]


def _licenses_in(record: Mapping[str, str]) -> dict[str, int]:
    """Return how many of which licences a reservation has."""
    found = {}
    for each in record.get("Licenses", "").split(","):
        name, _, count = each.partition(":")
        if name and name != "(null)":
            number = parse_number(count or "1", _LARGEST_COUNT)
            found[name] = 0 if number is None else number
    return found


def _own_license(record: Mapping[str, str], licenses: Mapping[str, int]) -> str | None:
    """Return the licence whose reservation this is, None if it is not the monitor's."""
    name = next(iter(licenses), "")
    is_ours = (
        len(licenses) == 1
        and name.startswith(license_name_of(""))
        and record["ReservationName"] == reservation_of(name)
        and number_in(record, "NodeCnt") == 0
    )
    return name if is_ours else None


def _ends_soon(end: str) -> bool:
    """Return whether a reservation must be prolonged; what is no time is none that ends."""
    with contextlib.suppress(ValueError):
        ends_at = datetime.strptime(end, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
        return ends_at - datetime.now(timezone.utc) < _RENEWED_BEFORE
    return False
