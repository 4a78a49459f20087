# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON is read as orjson reads it, which is strict, and no deeper than the stack bears."""

import subprocess
import sys

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spank_qrmi import strict_json
from tests.unit.strategies import json_values

DEEPEST = strict_json.MOST_DEPTH

TOKENS = [
    *('{"a":', "}", "[", "]", ",", ":", '"', '"a"'),
    *("\\", "\\u", "d800", "dc00", '"\\ud83d\\ude00"'),
    *("1", "-", "0", ".5", "e9", "true", "null", "NaN", "-Infinity", " ", "\n", "\x00", "é"),
    *("18446744073709551615", "18446744073709551616", "-9223372036854775809"),
]


def read_by_orjson(content: bytes) -> object:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        return error


@given(
    st.one_of(
        st.binary(max_size=40), st.lists(st.sampled_from(TOKENS)).map("".join).map(str.encode)
    )
)
@example(b"\xef\xbb\xbf{}")
@example("{}".encode("utf-16"))
@example(b'"\\ud800"')
@example(b'"\\ud83d\\ude00"')
@example(b'"\\\\ud800"')
@example(b"[1e999]")
@example(b"9" * 5000)
@example(b'{"a": 1, "a": 2}')
def test_any_bytes_are_taken_or_refused_as_orjson_does(content: bytes) -> None:
    expected = read_by_orjson(content)
    if isinstance(expected, orjson.JSONDecodeError):
        with pytest.raises(strict_json.JSONDecodeError) as caught:
            strict_json.loads(content)
        assert caught.value.lineno >= 1
    else:
        value = strict_json.loads(content)
        assert (value, type(value)) == (expected, type(expected))


@given(json_values())
def test_what_is_written_is_read_again(value: object) -> None:
    content = strict_json.dumps(value)
    assert (orjson.loads(content), strict_json.loads(content)) == (value, value)


@pytest.mark.parametrize("value", [float("nan"), "\udc80", {"a": float("inf")}])
def test_what_json_cannot_say_is_not_written(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (its kinds have texts of their own)
        strict_json.dumps(value)


@pytest.mark.parametrize("brackets", ["[]", '{"a":}'])
def test_depth_has_a_limit(brackets: str) -> None:
    def nested(depth: int) -> bytes:
        return f"{brackets[:-1] * depth}0{brackets[-1] * depth}".encode()

    strict_json.loads(nested(DEEPEST))
    for depth in (DEEPEST + 1, 100_000):
        with pytest.raises(strict_json.JSONDecodeError, match="nested too deeply"):
            strict_json.loads(nested(depth))


def test_brackets_beside_each_other_or_in_texts_are_no_depth() -> None:
    wide = [[] for _ in range(2 * DEEPEST)]
    text = '\\"[{' * DEEPEST
    assert strict_json.loads(strict_json.dumps([wide, text])) == [wide, text]


def test_string_that_does_not_end_takes_no_longer_than_another() -> None:
    """A service may send one of a mebibyte: searched from each of its quotes, it takes an hour."""
    program = (
        "import resource\n"
        "from spank_qrmi import strict_json\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (10, 10))\n"
        "content = b'[' + b'[],' * 501 + b'\"' + rb'\\\"' * 500_000\n"
        "try:\n"
        "    strict_json.loads(content)\n"
        "except strict_json.JSONDecodeError as error:\n"
        "    print(error.msg)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "Unterminated string starting at\n"
