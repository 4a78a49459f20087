# SPDX-License-Identifier: GPL-3.0-or-later
"""What the property tests draw from: values as other people's programs give them."""

from hypothesis import strategies as st

MARK = "Tv73-do-not-show"
"""Stands in every drawn secret; nothing else holds it."""

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
"""Any text that UTF-8 can hold."""

system_texts = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
        st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=["Cs"]),
    ),
    max_size=40,
)
"""Any text of an argument or a variable: bytes without NUL, as Python decodes them."""

secrets = st.builds(lambda before, after: before + MARK + after, texts, texts)

_JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        texts,
    ),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(texts, values, max_size=4),
    max_leaves=8,
)


# Functions of their own: hypothesis tells of a failure how its input was drawn, in full.


@st.composite
def json_values(draw: st.DrawFn) -> object:
    """Return any document that orjson reads."""
    return draw(_JSON)


@st.composite
def maybe_wrong(draw: st.DrawFn, right: st.SearchStrategy[object]) -> object:
    """Return the right value, or once in a while any other."""
    return draw(_JSON if draw(st.integers(0, 3)) == 0 else right)
