# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a file that is locked is still the one that others find by its name."""

import os
from pathlib import Path

from spank_qrmi.state.locked_files import is_in_place


def test_file_is_in_place_until_its_name_is_anothers_or_gone(tmp_path: Path) -> None:
    path = tmp_path / "entry"
    path.write_text("one")
    directory = os.open(tmp_path, os.O_RDONLY)
    with path.open() as file:
        assert is_in_place(file.fileno(), directory, "entry")
        path.rename(tmp_path / "other")
        assert not is_in_place(file.fileno(), directory, "entry")
        path.write_text("another")
        assert not is_in_place(file.fileno(), directory, "entry")
    os.close(directory)
