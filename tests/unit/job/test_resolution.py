# SPDX-License-Identifier: GPL-3.0-or-later
"""From the text of --qpu to names."""

from spank_qrmi.job.resolution import split_names


def test_names_are_trimmed_and_count_once() -> None:
    names = {
        "a": ("a",),
        " b , a ,, b,": ("b", "a"),
        "A,a": ("A", "a"),
        "\u00a0a,a": ("\u00a0a", "a"),
        " , ": (),
        "": (),
    }
    assert {option: split_names(option) for option in names} == names
