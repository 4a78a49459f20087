# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole numbers as others write them."""


def parse_number(text: str, largest: int) -> int | None:
    """Return the number that the text is, from 0 to `largest`; None if it is anything else.

    It is ASCII digits alone, and no more of them than `largest` has.
    """
    # Python refuses to read a number of thousands of digits.
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(largest))):
        return None
    number = int(text)
    return number if number <= largest else None
