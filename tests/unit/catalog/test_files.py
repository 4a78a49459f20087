# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalog's files: written whole, for everybody to read, and read only from who may write."""

import os
from pathlib import Path

import pytest

from spank_qrmi.catalog.files import publish, read_catalog
from spank_qrmi.catalog.lines import MAX_LINES_BYTES
from spank_qrmi.errors import ConfigError
from tests.unit.catalog.sample import PAUSED, catalog, entry


def test_what_is_published_is_read_from_folder_and_file(tmp_path: Path) -> None:
    published = catalog(PAUSED, entry())
    umask = os.umask(0o077)
    try:
        publish(catalog(), tmp_path)
        publish(published, tmp_path)
    finally:
        os.umask(umask)
    names = ["qpus.json", "qpus.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in names] == [0o644, 0o644]
    assert read_catalog(tmp_path) == read_catalog(tmp_path / "qpus.json") == published


def test_catalog_that_the_plugin_would_not_read_is_not_published(tmp_path: Path) -> None:
    entries = [entry(f"q{number}", uids=tuple(range(10_000))) for number in range(30)]
    told = f"of which the plugins read {MAX_LINES_BYTES}: let fewer users and groups stand for each"
    with pytest.raises(ConfigError, match=told):
        publish(catalog(*entries), tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_file_that_others_can_write_is_not_read(tmp_path: Path) -> None:
    publish(catalog(), tmp_path)
    (tmp_path / "qpus.json").chmod(0o666)
    with pytest.raises(ConfigError, match=r"qpus.json: must be writable by its owner alone"):
        read_catalog(tmp_path)
