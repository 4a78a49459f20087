# SPDX-License-Identifier: GPL-3.0-or-later
"""Users read the published catalog."""

from fuzz.targets.claims import result_or_refusal
from spank_qrmi.catalog.documents import catalog_of, document_of
from spank_qrmi.catalog.entries import Catalog
from spank_qrmi.catalog.lines import lines_of
from spank_qrmi.catalog.table import Reader, table_of
from spank_qrmi.errors import ConfigError

_TABS = 4


def check_catalog_document(data: bytes) -> None:
    """Read a document; one that is taken comes back the same, and every line of it is one."""
    catalog = result_or_refusal(lambda: catalog_of(data, "it"), ConfigError)
    if isinstance(catalog, Catalog):
        assert catalog_of(document_of(catalog), "it") == catalog
        lines = lines_of(catalog).decode().splitlines()
        assert len(lines) == len(catalog.entries) + 1
        assert all(line.count("\t") == _TABS for line in lines[1:])
        table = table_of(catalog, Reader(1000, [1000], 1000), has_colours=False)
        assert all(line.isprintable() for line in table)
