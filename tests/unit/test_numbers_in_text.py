# SPDX-License-Identifier: GPL-3.0-or-later
"""What is taken for a number."""

from spank_qrmi.numbers_in_text import parse_number


def test_number_is_ascii_digits_up_to_the_largest() -> None:
    numbers = {"0": 0, "7": 7, "007": 7, "120": 120}
    others = ["", "121", "0007", "1" * 5000, "-1", "+1", " 1", "1.0", "1_0", "0x1", "²", "٣", "a"]
    assert {text: parse_number(text, 120) for text in numbers} == numbers
    assert [text for text in others if parse_number(text, 120) is not None] == []
