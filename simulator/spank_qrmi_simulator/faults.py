# SPDX-License-Identifier: GPL-3.0-or-later
"""The faults that can be ordered: their kinds, what an order must say, and whose turn it is.

Nothing here speaks HTTP; `fault_middleware` carries an order out.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

STATUSES_OF_REDIRECTS = frozenset({301, 302, 303, 307, 308})
LARGEST_DELAY_SECONDS = 3600.0
LARGEST_SIZE_BYTES = 1 << 30


class FaultError(ValueError):
    """An order makes no sense; the text says why."""


@dataclass(frozen=True)
class Kind:
    """What an order of one kind needs, may have, and when it strikes unless told."""

    when: str
    required: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()


KINDS: Mapping[str, Kind] = {
    "status": Kind("before", frozenset({"status"}), frozenset({"retry_after"})),
    "delay": Kind("before", frozenset({"delay_seconds"})),
    "hang": Kind("before"),
    "drop": Kind("before"),
    "malformed": Kind("after"),
    "truncated": Kind("after"),
    "slow_drip": Kind("after", frozenset({"delay_seconds"})),
    "expired_token": Kind("before"),
    "redirect": Kind("before", frozenset({"location"}), frozenset({"status"})),
    "oversized": Kind("after", frozenset(), frozenset({"size_bytes"})),
}
COMMON_KEYS = frozenset({"kind", "path", "method", "times", "when"})


@dataclass
class Fault:
    """One order; `times` is what is left of it, None for always.

    `when` says whether the service acts on the request ("after") or not ("before") once it strikes.
    """

    kind: str
    path: str
    method: str | None
    times: int | None
    when: str
    status: int
    retry_after: str | None
    delay_seconds: float
    location: str
    size_bytes: int

    def matches(self, method: str, path: str) -> bool:
        """Return whether a request is meant; `path` is a regular expression found anywhere."""
        return self.method in (None, method) and re.search(self.path, path) is not None


class FaultQueue:
    """The orders in the order they came; a request meets the first that means it."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Queue an order."""
        self._faults.append(fault)

    def clear(self) -> None:
        """Withdraw all orders."""
        self._faults.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault that strikes this request, and count it."""
        for fault in self._faults:
            if fault.matches(method, path):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times == 0:
                        self._faults.remove(fault)
                return fault
        return None

    def documents(self) -> list[dict[str, object]]:
        """Return the orders that are still open as JSON objects."""
        return [asdict(fault) for fault in self._faults]


def parse_fault(order: Mapping[str, object]) -> Fault:
    """Return the fault that a JSON object orders; raise FaultError if it makes no sense."""
    kind_name = order.get("kind")
    if not isinstance(kind_name, str) or kind_name not in KINDS:
        message = f"kind must be one of {', '.join(KINDS)}"
        raise FaultError(message)
    kind = KINDS[kind_name]
    missing = kind.required - order.keys()
    unknown = order.keys() - COMMON_KEYS - kind.required - kind.optional
    if missing or unknown:
        parts = [f"{key} is missing" for key in sorted(missing)]
        parts += [f"{key} means nothing to {kind_name}" for key in sorted(unknown)]
        raise FaultError("; ".join(parts))
    return Fault(
        kind=kind_name,
        path=_path(order),
        method=_method(order),
        times=_times(order),
        when=_choice(order, "when", ("before", "after"), kind.when),
        status=_redirect_status(order) if kind_name == "redirect" else _status(order),
        retry_after=_retry_after(order),
        delay_seconds=_delay_seconds(order),
        location=_text(order, "location", ""),
        size_bytes=_integer(order, "size_bytes", 1, LARGEST_SIZE_BYTES, 16 << 20),
    )


def _path(order: Mapping[str, object]) -> str:
    path = _text(order, "path", "")
    if not path:
        raise FaultError("path must be a regular expression")
    try:
        re.compile(path)
    except re.error as error:
        message = f"path is no regular expression: {error}"
        raise FaultError(message) from error
    return path


def _method(order: Mapping[str, object]) -> str | None:
    if order.get("method") is None:
        return None
    return _choice(order, "method", ("GET", "POST", "PUT", "PATCH", "DELETE"), "")


def _times(order: Mapping[str, object]) -> int | None:
    if "times" in order and order["times"] is None:
        return None
    return _integer(order, "times", 1, 1_000_000, 1)


def _status(order: Mapping[str, object]) -> int:
    status = _integer(order, "status", 200, 599, 500)
    if 300 <= status <= 399:  # noqa: PLR2004 - the class of redirects
        raise FaultError("status 3xx is ordered with kind redirect")
    return status


def _redirect_status(order: Mapping[str, object]) -> int:
    status = _integer(order, "status", 300, 399, 302)
    if status not in STATUSES_OF_REDIRECTS:
        raise FaultError("status of a redirect must be 301, 302, 303, 307 or 308")
    return status


def _retry_after(order: Mapping[str, object]) -> str | None:
    value = order.get("retry_after")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise FaultError("retry_after must be a number of seconds or the header's text")
    text = str(value)
    if not _can_be_header(text):
        raise FaultError("retry_after must be printable ASCII")
    return text


def _delay_seconds(order: Mapping[str, object]) -> float:
    value = order.get("delay_seconds", 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FaultError("delay_seconds must be a number")
    if not 0 <= value <= LARGEST_DELAY_SECONDS:
        message = f"delay_seconds must be between 0 and {LARGEST_DELAY_SECONDS:.0f}"
        raise FaultError(message)
    return float(value)


def _integer(order: Mapping[str, object], key: str, least: int, most: int, default: int) -> int:
    value = order.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        message = f"{key} must be an integer between {least} and {most}"
        raise FaultError(message)
    return value


def _text(order: Mapping[str, object], key: str, default: str) -> str:
    value = order.get(key, default)
    if not isinstance(value, str) or not _can_be_header(value):
        message = f"{key} must be printable ASCII text"
        raise FaultError(message)
    return value


def _can_be_header(text: str) -> bool:
    # A client must meet nonsense values too, but only those that HTTP can carry.
    return text.isascii() and text.isprintable()


def _choice(order: Mapping[str, object], key: str, choices: tuple[str, ...], default: str) -> str:
    value = order.get(key, default)
    if not isinstance(value, str) or value not in choices:
        message = f"{key} must be one of {', '.join(choices)}"
        raise FaultError(message)
    return value
