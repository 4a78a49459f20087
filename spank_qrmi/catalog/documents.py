# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalog as JSON, for people's programs: written, and read with unknown keys let by."""

from collections.abc import Mapping
from typing import Any

import orjson

from spank_qrmi.catalog.entries import Catalog, CatalogEntry
from spank_qrmi.errors import ConfigError
from spank_qrmi.redaction import printable
from spank_qrmi.status import QpuState, QpuStatus

_LARGEST_NUMBER = 2**63 - 1


def document_of(catalog: Catalog) -> bytes:
    """Return the JSON of a catalog: the fields as they are called there, one object a QPU."""
    document = {
        "as_of": catalog.as_of,
        "valid_until": catalog.valid_until,
        "qpus": [_object_of(entry) for entry in catalog.entries],
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _object_of(entry: CatalogEntry) -> dict[str, object]:
    status = entry.status
    return {
        "name": entry.name,
        "types": entry.types,
        "state": status.state.value,
        "reason": status.reason,
        "waiting_jobs": status.waiting_jobs,
        "free_slots": status.free_slots,
        "total_slots": status.total_slots,
        "calibrated_at": status.calibrated_at,
        "available_at": status.available_at,
        "facts_at": status.facts_at,
        "since": entry.since,
        "answered_at": entry.answered_at,
        "license": {
            "name": entry.license_name,
            "total": entry.total_licenses,
            "withheld": entry.withheld_licenses,
        },
        "uids": entry.uids,
        "gids": entry.gids,
    }


def catalog_of(content: bytes, place: str) -> Catalog:
    """Return the catalog that JSON tells, every text of it printable.

    Raises ConfigError naming `place`, the key and what it must be.
    """
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"{place}: is not JSON: {error}") from None
    whole = _Members(place, document)
    qpus = whole.read("qpus", list, "an array")
    return Catalog(
        whole.number("as_of"),
        whole.number("valid_until"),
        tuple(_entry_of(_Members(f"{place}: qpus[{at}]", each)) for at, each in enumerate(qpus)),
    )


def _entry_of(members: "_Members") -> CatalogEntry:
    licence = _Members(f"{members.place}: license", members.read("license", dict, "an object"))
    return CatalogEntry(
        name=members.text("name"),
        types=members.texts("types"),
        status=QpuStatus(
            state=members.state(),
            reason=members.text("reason"),
            waiting_jobs=members.maybe_number("waiting_jobs"),
            free_slots=members.maybe_number("free_slots"),
            total_slots=members.maybe_number("total_slots"),
            calibrated_at=members.text("calibrated_at"),
            available_at=members.text("available_at"),
            facts_at=members.text("facts_at"),
        ),
        since=members.number("since"),
        answered_at=members.maybe_number("answered_at"),
        license_name=licence.text("name"),
        total_licenses=licence.maybe_number("total"),
        withheld_licenses=licence.maybe_number("withheld"),
        uids=members.ids("uids"),
        gids=members.ids("gids"),
    )


class _Members:
    """The members of a JSON object, each read as the type that it must have."""

    def __init__(self, place: str, value: object) -> None:
        self.place = place
        if not isinstance(value, dict):
            raise ConfigError(f"{place}: must be an object")
        self._members: Mapping[str, Any] = value

    def read(self, key: str, kind: type, what: str) -> Any:
        value = self._members.get(key)
        # True is a number to Python.
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self._error(key, what)
        return value

    def text(self, key: str) -> str:
        return printable(self.read(key, str, "a string"))

    def number(self, key: str) -> int:
        value: int = self.read(key, int, "a whole number")
        if not 0 <= value <= _LARGEST_NUMBER:
            raise self._error(key, "a whole number that is not negative")
        return value

    def maybe_number(self, key: str) -> int | None:
        return None if self._members.get(key) is None else self.number(key)

    def texts(self, key: str) -> tuple[str, ...]:
        values = self.read(key, list, "an array of strings")
        if not all(isinstance(each, str) for each in values):
            raise self._error(key, "an array of strings")
        return tuple(map(printable, values))

    def ids(self, key: str) -> tuple[int, ...] | None:
        if self._members.get(key) is None:
            return None
        values = self.read(key, list, "an array of ids, or null")
        # As above.
        if not all(type(each) is int and 0 <= each < 2**32 for each in values):
            raise self._error(key, "an array of ids, or null")
        return tuple(values)

    def state(self) -> QpuState:
        words = [each.value for each in QpuState]
        if self._members.get("state") not in words:
            raise self._error("state", f"one of {', '.join(words)}")
        return QpuState(self._members["state"])

    def _error(self, key: str, what: str) -> ConfigError:
        return ConfigError(f'{self.place}: "{key}" must be {what}')
