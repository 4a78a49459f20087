# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a catalog in their folder: root writes them, everybody reads them."""

from pathlib import Path

from spank_qrmi.catalog.documents import catalog_of, document_of
from spank_qrmi.catalog.entries import Catalog
from spank_qrmi.catalog.lines import lines_of
from spank_qrmi.errors import ConfigError
from spank_qrmi.trust.files import StrPath, read_trusted_file
from spank_qrmi.trust.public_files import write_public_file

DOCUMENT_NAME = "qpus.json"
LINES_NAME = "qpus.txt"

_MAX_DOCUMENT_BYTES = 64 * 1024 * 1024


def publish(catalog: Catalog, directory: StrPath) -> None:
    """Write both files of a catalog into a folder that there is, each whole or not at all.

    Everybody may read them. Raises ConfigError naming the file: its folder is not to be trusted, or
    cannot be written; the former file is there then.
    """
    contents = {DOCUMENT_NAME: document_of(catalog), LINES_NAME: lines_of(catalog)}
    for name, content in contents.items():
        write_public_file(Path(directory, name), content)


def read_catalog(path: StrPath) -> Catalog:
    """Return the catalog at `path`, a file or the folder of one.

    Raises ConfigError if it cannot be read, is no such file, or others than root and we ourselves
    could have written it.
    """
    place = Path(path).absolute()
    try:
        place = place / DOCUMENT_NAME if place.is_dir() else place
    except OSError as error:
        raise ConfigError(f"{place}: cannot be read: {error.strerror}") from error
    file = read_trusted_file(place, _MAX_DOCUMENT_BYTES, may_be_link=True)
    return catalog_of(file.content, str(place))
