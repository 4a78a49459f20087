# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalog as lines of text, for the plugin at submission, which reads no JSON.

The first line is `spank-qrmi-catalog 1 AS_OF VALID_UNTIL`, each other one a QPU with a TAB between
`NAME STATE UIDS GIDS TELL`. plugin/catalog.pxd reads it.
"""

from collections.abc import Iterable

from spank_qrmi.catalog.entries import Catalog, CatalogEntry
from spank_qrmi.errors import ConfigError
from spank_qrmi.redaction import printable

MAX_LINES_BYTES = 1024 * 1024
"""More the plugin does not read: MAX_CATALOG_BYTES in plugin/catalog.pxd."""

_MAX_TELL_BYTES = 200
_EVERYBODY = "-"


def lines_of(catalog: Catalog) -> bytes:
    """Return the lines of a catalog; raise ConfigError if they are more than the plugin reads."""
    lines = [f"spank-qrmi-catalog 1 {catalog.as_of} {catalog.valid_until}"]
    lines += ("\t".join(_columns_of(entry)) for entry in catalog.entries)
    content = "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
    if len(content) > MAX_LINES_BYTES:
        raise ConfigError(
            f"the catalog's lines would be {len(content)} bytes, of which the plugins read "
            f"{MAX_LINES_BYTES}: let fewer users and groups stand for each QPU"
        )
    return content


def _columns_of(entry: CatalogEntry) -> tuple[str, ...]:
    return (
        printable(entry.name),
        entry.status.state.value,
        *(_EVERYBODY if ids is None else ",".join(map(str, ids)) for ids in _ids_of(entry)),
        told(entry),
    )


def _ids_of(entry: CatalogEntry) -> Iterable[tuple[int, ...] | None]:
    """Return users and groups; either lets in, so that none of one kind is not everybody."""
    if entry.is_for_everybody:
        return (None, None)
    return (entry.uids or (), entry.gids or ())


def told(entry: CatalogEntry) -> str:
    """Return why a QPU is in its state and until when: printable, at most 200 bytes, maybe none."""
    until = entry.status.available_at
    parts = (entry.status.reason, f"available again at {until}" if until else "")
    text = printable(", ".join(filter(None, parts)))
    return text.encode("utf-8", "replace")[:_MAX_TELL_BYTES].decode("utf-8", "ignore")
