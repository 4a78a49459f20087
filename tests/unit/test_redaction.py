# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be seen of names, values, arguments, errors and whole lines."""

import re
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from spank_qrmi.redaction import (
    Redactor,
    error_place,
    is_secret_name,
    shown_argument,
    without,
)
from tests.unit.outcomes import outcome_of


def test_values_of_secret_names_and_users_of_urls_are_not_shown() -> None:
    secret = {
        *("QRMI_IBM_DA_IAM_APIKEY", "QRMI_IBM_DA_AWS_ACCESS_KEY_ID", "a_secret", "Password"),
        *("QRMI_JOB_ACQUISITION_TOKEN", "QRMI_IBM_DA_SERVICE_CRN", "QRMI_IBM_QRS_SESSION_ID"),
    }
    names = (*secret, "QRMI_IBM_DA_ENDPOINT", "")
    assert {each for each in names if is_secret_name(each)} == secret
    shown = {
        "--env:A_KEY=abc=d": "--env:A_KEY=****",
        "A_KEY=": "A_KEY=****",
        "--require=all": "--require=all",
        "/etc/slurm/key.json": "/etc/slurm/key.json",
        "A=https://host/path": "A=https://host/path",
        "A=https://user:word@host:1/path": "A=https://****@host:1/path",
        "A=http://us@er:w@rd@host": "A=http://****@host",
        "A=https://@host": "A=https://****@host",
        "A=user:word@host:1": "A=****@host:1",
        "A=https://user:wo://rd@host": "A=https://****@host",
        "A=user:word@host/?to=https://other": "A=****@host/?to=https://other",
        "A=user:word@host/?to=https://us@other": "A=****@other",
        "A=user:wo://rd@host": "A=****@host",
    }
    assert {each: outcome_of(shown_argument, each) for each in shown} == shown


def test_place_of_an_error_leaves_its_text_out() -> None:
    def fail() -> None:
        raise ValueError("secret text")

    error = outcome_of(fail)
    line = fail.__code__.co_firstlineno + 1
    assert error_place(error) == f"ValueError at {__file__}:{line}"
    assert error_place(KeyError("secret")) == "KeyError at unknown place"


def test_redactor_leaves_one_printable_line_without_secrets() -> None:
    redactor = Redactor()
    redactor.add(["secret-value", "", "short", "6chars"])
    redactor.add_variables([("A_KEY", "secret-value-longer"), ("A", "text with")])
    redactor.add(["secret-one", "one-of-mine", "secret-one-", 'k/y+"of" the\\site'])
    redactor.add(["-----BEGIN\nabcdef\n", "no-text-\udcff\ud800"])
    cleared = {
        "plain text with umlaut ü": "plain text with umlaut ü",
        "the secret-value here": "the **** here",
        "secret-value-longer": "****",
        "secret-valuesecret-value": "********",
        "short 6chars": "short ****",
        "a\nb\tc\0d\x1b[31m\x7f\x9b\u202e\udcff": "a?b?c?d?[31m????",
        "line\nsecret-value": "line?****",
        "those that overlap: a secret-one-of-mine b": "those that overlap: a **** b",
        "several lines: -----BEGIN\nabcdef\nend": "several lines: ****end",
        "without its blanks: -----BEGIN\nabcdef end": "without its blanks: **** end",
        "apikey=no-text-\udcff\ud800": "apikey=****",
        "apikey=no-text-??": "apikey=****",
        "by http://u:word@proxy/ to https://host/a?b=c": "by http://****@proxy/ to https://host/a?****",
        "": "",
        # In another spelling: of JSON, a form, a URL within a URL.
        r'{"apikey":"\u006b\/y+\u0022of\" the\u005Csite"}': '{"apikey":"****"}',
        "a=b&apikey=k%2Fy%2B%22of%22+the%5Csite&c=d": "a=b&apikey=****&c=d",
        "to=%2Fv1%2Fk%252Fy%252B%2522of%2522%2520the%255csite%2Fx": "to=%2Fv1%2F****%2Fx",
    }
    assert {text: outcome_of(redactor.clear, text) for text in cleared} == cleared


def in_url(character: str) -> list[str]:
    """Return the ways to spell a character in a URL; a text may use each of them."""
    escaped = "".join(f"%{byte:02x}" for byte in character.encode())
    ways = [escaped, escaped.upper()]
    return ways if character == "%" else [*ways, character]


def in_form(character: str) -> list[str]:
    ways = [way for way in in_url(character) if way != "+"]
    return [*ways, "+"] if character == " " else ways


def in_json(character: str) -> list[str]:
    units = re.findall("....", character.encode("utf-16-be").hex())
    ways = ["".join(f"\\u{unit}" for unit in each) for each in (units, map(str.upper, units))]
    if character in '"\\/':
        ways.append(f"\\{character}")
    return ways if character in '"\\' else [*ways, character]


def test_redactor_spells_a_secret_once_however_many_lines_there_are() -> None:
    spelled: list[str] = []

    class CountedSecret(str):
        def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
            spelled.append(self)
            return super().encode(encoding, errors)

    redactor = Redactor()
    secret = CountedSecret("secret-value")
    redactor.add([secret])
    for number in range(3):
        redactor.add([f"other-secret-{number}", secret])
        assert redactor.clear(f"secret-value other-secret-{number}") == "**** ****"
    assert spelled == ["secret-value"]


@given(
    start=st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=6),
    ways=st.lists(st.sampled_from([in_url, in_form, in_json]), max_size=2),
    choices=st.data(),
)
def test_secret_is_masked_however_it_is_escaped(
    start: str, ways: list[Callable[[str], list[str]]], choices: st.DataObject
) -> None:
    """A URL, form or JSON may hold one of them, and stand beside what is none."""
    written = secret = f'{start}k/y+"of" the\\site %\u00fc\U0001f511'
    for spell in ways:
        written = "".join(choices.draw(st.sampled_from(spell(character))) for character in written)
    assert without([secret], f"%ff\0{written}\0\\ud83d") == "%ff\0****\0\\ud83d"
