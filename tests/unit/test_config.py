# SPDX-License-Identifier: GPL-3.0-or-later
"""qrmi_config.json: what is accepted, and the words for what is not."""

import re
from pathlib import Path

import orjson
import pytest

from spank_qrmi.clients import CLIENTS
from spank_qrmi.configuration import qrmi_config
from spank_qrmi.configuration.qrmi_config import Config, load_config
from spank_qrmi.errors import ConfigError

PROJECT = Path(__file__).parents[2]
TYPES = ("direct-access", "pasqal-cloud")
GOOD = {"name": "good", "type": "pasqal-cloud", "environment": {"QRMI_A": "1"}}
SECRET = "value-that-must-not-be-shown"

NAME_RULE = '"name" must be a string of 1 to 128 bytes, all printable, without comma, space or ='
TYPE_RULE = '"type" must be one of direct-access, pasqal-cloud'
ENVIRONMENT_RULE = (
    '"environment" must be an object of strings, {} if the users bring their own variables'
)
FILE_RULE = 'must be a string in quotes, or {"file": "/path"} with one absolute path, all printable'
VALUE_RULE = "holds a NUL character or more than 262144 bytes"


def load(folder: Path, content: bytes) -> Config:
    path = folder / "qrmi_config.json"
    path.write_bytes(content)
    path.chmod(0o600)
    return load_config(path, TYPES)


def load_entries(folder: Path, *entries: object) -> Config:
    return load(folder, orjson.dumps({"resources": entries}))


def named(**changes: object) -> dict[str, object]:
    return {"name": "bad", "type": "direct-access", "environment": {}, **changes}


def without(key: str) -> dict[str, object]:
    return {name: value for name, value in named().items() if name != key}


@pytest.mark.parametrize("content", [b"[]", b"null", b"{}", b'{"resources": {}}', b'"resources"'])
def test_file_of_another_shape_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, content)
    expected = 'must be a JSON object with an array "resources"'
    assert str(caught.value) == f"{tmp_path}/qrmi_config.json: {expected}"


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"", "line 1 column 1"),
        (b'{\n "resources": [,\n', "line 2 column 16"),
        (b'\xef\xbb\xbf{"a"', "line 1 column 5"),
        (b'{"a": "\xff"}', "line 1 column 8"),
        (f'{{"a_KEY": "{SECRET}",}}'.encode(), "line 1 column 4[012]"),
    ],
)
def test_text_that_is_not_json_is_located_and_not_shown(
    tmp_path: Path, content: bytes, place: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, content)
    beginning = re.escape(f"{tmp_path}/qrmi_config.json: is not JSON: ")
    assert re.fullmatch(f"{beginning}.+ at {place}", str(caught.value))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("missing.json", "cannot be read: No such file or directory"),
        ("file/qrmi_config.json", "cannot be read: Not a directory"),
        (".", "is no regular file"),
    ],
)
def test_unreadable_file_is_named_with_the_reason(tmp_path: Path, name: str, expected: str) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / name
    with pytest.raises(ConfigError) as caught:
        load_config(path, TYPES)
    assert str(caught.value) == f"{path}: {expected}"


def test_file_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qrmi_config, "MAX_CONFIG_BYTES", 17)
    assert load(tmp_path, b'{"resources": []}').resources == {}
    with pytest.raises(ConfigError, match=r"qrmi_config.json: is larger than 17 bytes$"):
        load(tmp_path, b'{"resources": []} ')


@pytest.mark.parametrize(
    ("entry", "name", "expected"),
    [
        ("text", None, "resources[1]: must be an object with name, type and environment"),
        (None, None, "resources[1]: must be an object with name, type and environment"),
        ({}, None, f"resources[1]: {NAME_RULE}"),
        (named(name=7), None, f"resources[1]: {NAME_RULE}"),
        (named(name=""), None, f"resources[1]: {NAME_RULE}"),
        (named(name="a b"), None, f"resources[1]: {NAME_RULE}"),
        (named(name="a,b"), None, f"resources[1]: {NAME_RULE}"),
        (named(name="a=b"), None, f"resources[1]: {NAME_RULE}"),
        (named(name="a\n"), None, f"resources[1]: {NAME_RULE}"),
        (named(name="a\0b"), None, f"resources[1]: {NAME_RULE}"),
        (named(name="a\u202eb"), None, f"resources[1]: {NAME_RULE}"),
        (named(name="n" * 129), None, f"resources[1]: {NAME_RULE}"),
        (named(name="ü" * 65), None, f"resources[1]: {NAME_RULE}"),
        (without("type"), "bad", f"resource bad: {TYPE_RULE}; it is missing"),
        (named(type="Pasqal"), "bad", f"resource bad: {TYPE_RULE}; got 'Pasqal'"),
        (named(type=["a"]), "bad", f"resource bad: {TYPE_RULE}; got an array"),
        (named(type=None), "bad", f"resource bad: {TYPE_RULE}; got null"),
        (named(type="x" * 50), "bad", f"resource bad: {TYPE_RULE}; got '{'x' * 40}'"),
        (without("environment"), "bad", f"resource bad: {ENVIRONMENT_RULE}; it is missing"),
        (named(environment=None), "bad", f"resource bad: {ENVIRONMENT_RULE}; got null"),
        (named(environment=[]), "bad", f"resource bad: {ENVIRONMENT_RULE}; got an array"),
        (named(environment=SECRET), "bad", f"resource bad: {ENVIRONMENT_RULE}; got a string"),
        (named(environment=4.5), "bad", f"resource bad: {ENVIRONMENT_RULE}; got a number"),
        (named(environment=True), "bad", f"resource bad: {ENVIRONMENT_RULE}; got a boolean"),
    ],
)
def test_bad_entry_is_a_problem_of_its_own(
    tmp_path: Path, entry: object, name: str | None, expected: str
) -> None:
    config = load_entries(tmp_path, GOOD, entry)
    assert list(config.resources) == ["good"]
    problems = [(known, str(error)) for known, error in config.problems]
    assert problems == [(name, f"{tmp_path}/qrmi_config.json: {expected}")]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("", SECRET, "environment: '' cannot be the name of a variable"),
        ("A=B", SECRET, "environment: 'A=B' cannot be the name of a variable"),
        ("A B", SECRET, "environment: 'A B' cannot be the name of a variable"),
        ("A\n", SECRET, "environment: 'A\\n' cannot be the name of a variable"),
        ("A\0", SECRET, "environment: 'A\\x00' cannot be the name of a variable"),
        ("QRMI_A", 1, "environment.QRMI_A: must be a string in quotes, got a number"),
        ("QRMI_A", None, "environment.QRMI_A: must be a string in quotes, got null"),
        ("QRMI_A", False, "environment.QRMI_A: must be a string in quotes, got a boolean"),
        ("QRMI_A", [SECRET], "environment.QRMI_A: must be a string in quotes, got an array"),
        ("QRMI_A", {"a": SECRET}, f"environment.QRMI_A: {FILE_RULE}"),
        ("QRMI_A", {}, f"environment.QRMI_A: {FILE_RULE}"),
        ("QRMI_A", {"file": 1}, f"environment.QRMI_A: {FILE_RULE}"),
        ("QRMI_A", {"file": "etc/key"}, f"environment.QRMI_A: {FILE_RULE}"),
        ("QRMI_A", {"file": "/etc/key\0"}, f"environment.QRMI_A: {FILE_RULE}"),
        ("QRMI_A", {"file": "/etc/a\nkey"}, f"environment.QRMI_A: {FILE_RULE}"),
        ("QRMI_A", {"file": "/etc/key", "a": SECRET}, f"environment.QRMI_A: {FILE_RULE}"),
        ("QRMI_A", f"{SECRET}\0", f"environment.QRMI_A: {VALUE_RULE}"),
        ("QRMI_A", SECRET + "ü" * 131072, f"environment.QRMI_A: {VALUE_RULE}"),
    ],
)
def test_bad_variable_is_named_without_its_value(
    tmp_path: Path, key: str, value: object, expected: str
) -> None:
    config = load_entries(tmp_path, named(environment={"QRMI_B": "", key: value}))
    assert config.resources == {}
    problem = config.problem_with("bad")
    assert str(problem) == f"{tmp_path}/qrmi_config.json: resource bad: {expected}"
    assert SECRET not in str(problem)


@pytest.mark.parametrize("name", ["LD", "LD_PRELOAD", "SLURM_JOB", "BASH_", "QRMI_JOB", "SPANK"])
def test_name_that_would_make_variables_of_others_is_refused(tmp_path: Path, name: str) -> None:
    config = load_entries(tmp_path, GOOD, named(name=name))
    assert list(config.resources) == ["good"]
    place = f"{tmp_path}/qrmi_config.json: resource {name}"
    word = name.partition("_")[0]
    assert str(config.problem_with(name)) == (
        f"{place}: its variables would look like others that begin with {word}_: rename it"
    )


@pytest.mark.parametrize("name", ["LDX", "ld_a", "slurm", "x_LD_PRELOAD", "_LD", "PATH"])
def test_name_that_makes_variables_of_its_own_is_taken(tmp_path: Path, name: str) -> None:
    assert list(load_entries(tmp_path, named(name=name)).resources) == [name]


@pytest.mark.parametrize(("length", "is_usable"), [(251, True), (252, False)])
def test_variable_whose_full_name_is_too_long_is_refused(
    tmp_path: Path, length: int, is_usable: bool
) -> None:
    """The plugin takes nothing of an answer with such a variable: all QPUs would be lost."""
    config = load_entries(tmp_path, named(environment={"N" * length: "1"}))
    assert ("bad" in config.resources) is is_usable
    expected = "'NNNNNNNNNNNNNNNNNNNN'… is longer than 255 bytes with the resource's name"
    assert [str(error) for _, error in config.problems] == (
        [] if is_usable else [f"{tmp_path}/qrmi_config.json: resource bad: environment: {expected}"]
    )


def test_name_defined_twice_stands_for_neither(tmp_path: Path) -> None:
    config = load_entries(tmp_path, named(), GOOD, named(type="pasqal-cloud"))
    assert list(config.resources) == ["good"]
    text = f"{tmp_path}/qrmi_config.json: resource bad: is defined more than once: keep one entry"
    assert [(name, str(error)) for name, error in config.problems] == [("bad", text)]


def test_good_entry_is_taken_as_it_is(tmp_path: Path) -> None:
    environment = {"QRMI_A": " spaces kept ", "": "x"}
    environment.pop("")
    entry = named(name="N-1.ü", environment=environment, comment="unknown keys do no harm")
    config = load_entries(tmp_path, entry)
    resource = config.resources["N-1.ü"]
    assert (resource.type, resource.environment) == ("direct-access", environment)
    assert (config.problems, config.problem_with("N-1.ü")) == ((), None)
    assert "spaces kept" not in repr(config)


def test_longest_name_and_byte_order_mark_are_accepted(tmp_path: Path) -> None:
    document = orjson.dumps({"resources": [named(name="n" * 128)]})
    assert list(load(tmp_path, b"\xef\xbb\xbf" + document).resources) == ["n" * 128]


def test_example_file_loads_without_problems(tmp_path: Path) -> None:
    path = tmp_path / "qrmi_config.json"
    path.write_bytes((PROJECT / "qrmi_config.json.example").read_bytes())
    config = load_config(path, CLIENTS)
    assert config.problems == ()
    assert {resource.type for resource in config.resources.values()} == set(CLIENTS)


@pytest.mark.parametrize(
    ("mode", "environment", "warns"),
    [
        (0o600, {"A_SECRET": "x"}, False),
        (0o400, {"A_SECRET": "x"}, False),
        (0o640, {"A_SECRET": "x"}, True),
        (0o604, {"A_SECRET": "x"}, True),
        (0o644, {"ENDPOINT": "x"}, False),
        (0o644, {"A_SECRET": ""}, False),
        (0o644, {}, False),
        (0o644, {"A_SECRET": {"file": "/etc/secret"}}, False),
    ],
)
def test_secrets_that_others_can_read_are_told_of(
    tmp_path: Path, mode: int, environment: dict[str, object], warns: bool
) -> None:
    load_entries(tmp_path, named(environment=environment))
    path = tmp_path / "qrmi_config.json"
    path.chmod(mode)
    text = f"{path}: holds secrets that others than its owner can read: chmod 600 {path}"
    assert load_config(path, TYPES).exposures == ((text,) if warns else ())


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_file_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    """They would decide where the site's credentials are sent."""
    path = tmp_path / "qrmi_config.json"
    load_entries(tmp_path, named())
    path.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        load_config(path, TYPES)
    assert str(caught.value) == f"{path}: must be writable by its owner alone: chmod go-w {path}"


def test_file_may_be_a_link(tmp_path: Path) -> None:
    """Configuration management puts links into /etc."""
    load_entries(tmp_path, named())
    link = tmp_path / "link.json"
    link.symlink_to("qrmi_config.json")
    assert list(load_config(link, TYPES).resources) == ["bad"]


def test_value_in_a_file_of_its_own_is_kept_as_its_path(tmp_path: Path) -> None:
    environment = {"QRMI_ENDPOINT": "https://site", "QRMI_ANY": {"file": "/etc/any"}}
    config = load_entries(tmp_path, named(environment=environment))
    resource = config.resources["bad"]
    assert resource.environment == {"QRMI_ENDPOINT": "https://site"}
    assert resource.secret_files == {"QRMI_ANY": "/etc/any"}
    assert resource.is_secret("QRMI_ANY")
