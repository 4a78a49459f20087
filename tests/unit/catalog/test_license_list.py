# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of licences as Slurm writes them for a job."""

from hypothesis import given
from hypothesis import strategies as st

from spank_qrmi.catalog.license_list import held_licenses
from spank_qrmi.catalog.license_names import license_name_of
from tests.unit.strategies import texts

COUNTS = st.integers(1, 1000)


def test_lists_are_read() -> None:
    lists = {
        "": {},
        "a:2;b=3": {"a": 2, "b": 3},
        "a:1,a:2": {"a": 3},
        " a , b:2 ": {"a": 1, "b": 2},
        "a:0,b:-1,c:x,d:,:1,@s:1,,": {},
        "a:4294967295": {"a": 4294967295},
        "a:4294967296": {},
        "a|b": {},
        "a:1|b:1,c": {},
        "(null)": {"(null)": 1},
    }
    assert {text: dict(held_licenses(text)) for text in lists} == lists


@given(st.dictionaries(texts.map(license_name_of), COUNTS, max_size=8), st.data())
def test_what_slurm_writes_is_read_whole(counts: dict[str, int], data: st.DataObject) -> None:
    written = []
    for name, count in counts.items():
        server = data.draw(st.sampled_from(["", "@slurmdb", "@flex.example"]))
        shows_count = count > 1 or data.draw(st.booleans())
        written.append(f"{name}{server}:{count}" if shows_count else f"{name}{server}")
    separator = data.draw(st.sampled_from([",", ";"]))
    assert held_licenses(separator.join(written)) == counts


@given(st.text())
def test_no_text_is_taken_for_more_than_it_says(text: str) -> None:
    for name, count in held_licenses(text).items():
        assert name in text
        assert count >= 1
        assert not set(name) & set(",;:=@|")
