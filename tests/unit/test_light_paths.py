# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths as text are what pathlib makes of them."""

from pathlib import PurePosixPath

from spank_qrmi.light.paths import absolute, below, stem, steps_of

PATHS = ["/", "/a", "/a/b.json", "//a//b/", "/a/./b/.", "/a/../b.tar.gz", "/.hidden", "/a."]


def test_absolute_paths() -> None:
    for text in PATHS:
        path = PurePosixPath(text.replace("//", "/"))
        assert absolute(text) == absolute(PurePosixPath(text)) == str(path), text
        assert tuple(steps_of(text)) == path.parts[1:], text


def test_paths_that_are_not_absolute() -> None:
    for text in ("", "a", "./a", "~/a", " /a"):
        assert absolute(text) is None, text


def test_what_lies_below() -> None:
    paths = {("/",): "/", ("/", "a"): "/a", ("/a", "b", "c"): "/a/b/c", ("/a/", "b"): "/a/b"}
    assert {steps: below(*steps) for steps in paths} == paths


def test_stem() -> None:
    for text in ("/etc/qrmi_config.json", "a.tar.gz", "/a.d/b", ".hidden"):
        assert stem(text) == PurePosixPath(text).stem, text
