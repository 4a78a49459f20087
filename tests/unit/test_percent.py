# SPDX-License-Identifier: GPL-3.0-or-later
"""Percent-encoding is the standard library's."""

from urllib.parse import parse_qsl, quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spank_qrmi.light.percent import quoted, quoted_pairs
from tests.unit.strategies import texts


@given(texts, st.sampled_from(["", "/", "/%:@!$&'()*+,;=?"]))
def test_text_is_encoded_as_urllib_does(text: str, safe: str) -> None:
    assert quoted(text, safe) == quote(text, safe)


@given(st.dictionaries(texts.filter(bool), texts, max_size=4))
def test_pairs_are_read_again(pairs: dict[str, str]) -> None:
    assert dict(parse_qsl(quoted_pairs(pairs), keep_blank_values=True)) == pairs


def test_what_is_no_text_is_refused_or_kept_as_bytes() -> None:
    assert quoted("\udcff", errors="surrogateescape") == "%FF"
    with pytest.raises(UnicodeEncodeError):
        quoted_pairs({"a": "\udcff"})
