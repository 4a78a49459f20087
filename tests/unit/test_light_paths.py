# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths as text are what pathlib makes of them."""

from pathlib import PurePosixPath

import pytest

from spank_qrmi.light.paths import absolute, below, stem, steps_of

PATHS = ["/", "/a", "/a/b.json", "//a//b/", "/a/./b/.", "/a/../b.tar.gz", "/.hidden", "/a."]


@pytest.mark.parametrize("text", PATHS)
def test_absolute_paths(text: str) -> None:
    path = PurePosixPath(text.replace("//", "/"))
    assert absolute(text) == absolute(PurePosixPath(text)) == str(path)
    assert tuple(steps_of(text)) == path.parts[1:]


@pytest.mark.parametrize("text", ["", "a", "./a", "~/a", " /a"])
def test_paths_that_are_not_absolute(text: str) -> None:
    assert absolute(text) is None


@pytest.mark.parametrize(
    ("folder", "names", "expected"),
    [("/", (), "/"), ("/", ("a",), "/a"), ("/a", ("b", "c"), "/a/b/c"), ("/a/", ("b",), "/a/b")],
)
def test_what_lies_below(folder: str, names: tuple[str, ...], expected: str) -> None:
    assert below(folder, *names) == expected


@pytest.mark.parametrize("text", ["/etc/qrmi_config.json", "a.tar.gz", "/a.d/b", ".hidden"])
def test_stem(text: str) -> None:
    assert stem(text) == PurePosixPath(text).stem
