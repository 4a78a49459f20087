# SPDX-License-Identifier: GPL-3.0-or-later
"""qrmi_config.json: what is accepted, and the words for what is not."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson
import pytest

from spank_qrmi.clients import CLIENTS
from spank_qrmi.configuration import qrmi_config
from spank_qrmi.configuration.access import EVERYBODY, Access
from spank_qrmi.configuration.qrmi_config import Config, load_config
from spank_qrmi.errors import ConfigError
from tests.unit.outcomes import WRITABLE

PROJECT = Path(__file__).parents[3]
TYPES = ("direct-access", "pasqal-cloud")
GOOD = {"name": "good", "type": "pasqal-cloud", "environment": {"QRMI_A": "1"}}
SECRET = "value-that-must-not-be-shown"

NAME_RULE = '"name" must be a string of 1 to 128 bytes, all printable, without comma, space or ='
TYPE_RULE = '"type" must be one of direct-access, pasqal-cloud'
ENVIRONMENT_RULE = (
    '"environment" must be an object of strings, {} if the users bring their own variables'
)
ALSO_AS_RULE = '"also_as", an array of other names of direct-access,'
LOCKED_RULE = '"locked" must be an array of keys that users may not set, or true for all'
FILE_RULE = 'must be a string in quotes, or {"file": "/path"} with one absolute path, all printable'
VALUE_RULE = "holds a NUL character or more than 262144 bytes"


def load(folder: Path, content: bytes, mode: int = 0o600) -> Config:
    path = folder / "qrmi_config.json"
    # Nobody but root may write to a file that has mode 400.
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    return load_config(path, TYPES)


def load_entries(folder: Path, *entries: object, mode: int = 0o600) -> Config:
    return load(folder, orjson.dumps({"resources": entries}), mode)


def named(**changes: object) -> dict[str, object]:
    return {"name": "bad", "type": "direct-access", "environment": {}, **changes}


def without(key: str) -> dict[str, object]:
    return {name: value for name, value in named().items() if name != key}


def test_file_of_another_shape_is_refused(tmp_path: Path) -> None:
    contents = (b"[]", b"null", b"{}", b'{"resources": {}}', b'"resources"')
    expected = 'must be a JSON object with an array "resources"'
    assert {content: refusal_of(tmp_path, content) for content in contents} == dict.fromkeys(
        contents, f"{tmp_path}/qrmi_config.json: {expected}"
    )


def refusal_of(folder: Path, content: bytes, mode: int = 0o600) -> str | None:
    """Return why the file is refused, None if it is taken."""
    try:
        load(folder, content, mode)
    except ConfigError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"", "line 1 column 1"),
        (b'{\n "resources": [,\n', "line 2 column 16"),
        (b'\xef\xbb\xbf{"a"', "line 1 column 5"),
        (b'{"a": "\xff"}', "line 1 column 8"),
        (b'\xef\xbb\xbf{"a": "\xff"}', "line 1 column 8"),
        (f'{{"a_KEY": "{SECRET}",}}'.encode(), "line 1 column 4[012]"),
    ],
)
def test_text_that_is_not_json_is_located_and_not_shown(
    tmp_path: Path, content: bytes, place: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, content)
    beginning = re.escape(f"{tmp_path}/qrmi_config.json: is not JSON: ")
    end = re.escape("; nothing in it can be used until that is corrected")
    assert re.fullmatch(f"{beginning}.+ at {place}{end}", str(caught.value))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ('{"a": {"X\u201d: \u201cy"}}', 'a curly quote: write " at line 1 column 10'),
        ('{\n"K": "v\u201d,\n"L": "w"}', 'a curly quote: write " at line 2 column 8'),
        ('{"a": "it\u2019s"\n\n"b": 1}', "unexpected character, expected ',' or '}' at line 3 "),
        ('{\n # mine\n "a": 1}', "JSON has no comments: take it out at line 2 column 2"),
        ('{"a": "#", // b\n "c": 1}', "JSON has no comments: take it out at line 1 column 12"),
        ('{"a": "1",\n}', "trailing comma is not allowed at line 1 column 10"),
        ("[1, ]", "trailing comma is not allowed at line 1 column 3"),
    ],
)
def test_usual_slip_is_named_at_its_own_line(tmp_path: Path, content: str, cause: str) -> None:
    """A parser tells of most of them one word later."""
    text = refusal_of(tmp_path, content.encode())
    assert text.startswith(f"{tmp_path}/qrmi_config.json: is not JSON: {cause}")


def test_repeated_member_disables_what_it_belongs_to(tmp_path: Path) -> None:
    """The last one would count: ten QPUs are lost without a word, or a key is another one."""
    place, twice = f"{tmp_path}/qrmi_config.json", "stands more than once: keep one"
    good = orjson.dumps(GOOD).decode()
    for content, expected in {
        f'{{"resources": [], "resources": [{good}]}}': f"'resources' {twice}",
        '{"resources": [], "a": {"b\\n": {"c": 1, "c": 1}}}': f"a: b\\n: 'c' {twice}",
    }.items():
        assert refusal_of(tmp_path, content.encode()) == f"{place}: {expected}", content
    start = '"name": "bad", "type": "pasqal-cloud"'
    for entry, name, expected in (
        (
            f'{start}, "environment": {{"QRMI_A": "{SECRET}", "QRMI_A": "{SECRET}"}}',
            "bad",
            "resource bad: environment: 'QRMI_A'",
        ),
        (f'{start}, "environment": 1, "environment": 2', "bad", "resource bad: 'environment'"),
        (
            f'{start}, "environment": {{"QRMI_A": {{"file": "/a", "file": "/b"}}}}',
            "bad",
            "resource bad: environment: QRMI_A: 'file'",
        ),
        (f'{start}, "name": "other", "environment": {{}}', None, "resources[1]: 'name'"),
    ):
        config = load(tmp_path, f'{{"resources": [{good}, {{{entry}}}]}}'.encode())
        assert list(config.resources) == ["good"], entry
        problems = [(known, str(error)) for known, error in config.problems]
        assert problems == [(name, f"{place}: {expected} {twice}")], entry


def test_arrays_in_one_another_without_end_are_refused(tmp_path: Path) -> None:
    text = refusal_of(tmp_path, b"[" * 1000 + b"]" * 1000)
    # Pythons differ in how many they read.
    assert text in (
        f"{tmp_path}/qrmi_config.json: has too many objects or arrays in one another",
        f'{tmp_path}/qrmi_config.json: must be a JSON object with an array "resources"',
    )


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
    ("entries", "name"),
    [
        (
            [
                ("text", "must be an object with name, type and environment"),
                (None, "must be an object with name, type and environment"),
            ],
            None,
        ),
        (
            [
                ({}, NAME_RULE),
                *(
                    (named(name=name), NAME_RULE)
                    for name in (
                        7,
                        "",
                        "a b",
                        "a,b",
                        "a=b",
                        "a\n",
                        "a\0b",
                        "a\u202eb",
                        "n" * 129,
                        "ü" * 65,
                    )
                ),
            ],
            None,
        ),
        (
            [
                (without("type"), f"{TYPE_RULE}; it is missing"),
                (named(type="Pas"), f"{TYPE_RULE}; got 'Pas'"),
                (named(type=["a"]), f"{TYPE_RULE}; got an array"),
                (named(type=None), f"{TYPE_RULE}; got null"),
                (named(type="x" * 50), f"{TYPE_RULE}; got '{'x' * 40}'"),
            ],
            "bad",
        ),
        (
            [
                (without("environment"), f"{ENVIRONMENT_RULE}; it is missing"),
                (named(environment=None), f"{ENVIRONMENT_RULE}; got null"),
                (named(environment=[]), f"{ENVIRONMENT_RULE}; got an array"),
                (named(environment=SECRET), f"{ENVIRONMENT_RULE}; got a string"),
                (named(environment=4.5), f"{ENVIRONMENT_RULE}; got a number"),
                (named(environment=True), f"{ENVIRONMENT_RULE}; got a boolean"),
            ],
            "bad",
        ),
        (
            [
                (named(locked="QRMI_A"), f"{LOCKED_RULE}; got a string"),
                (named(locked=None), f"{LOCKED_RULE}; got null"),
                (named(locked=1), f"{LOCKED_RULE}; got a number"),
                (named(locked={"QRMI_A": True}), f"{LOCKED_RULE}; got an object"),
                (named(locked=["QRMI_A", 1]), f"{LOCKED_RULE}; got an array"),
                (named(locked=["A B"]), "locked: 'A B' cannot be the name of a variable"),
                (named(locked=[""]), "locked: '' cannot be the name of a variable"),
            ],
            "bad",
        ),
        (
            [
                *(
                    (named(also_as=names), f"{ALSO_AS_RULE} may hold ibm-quantum-system")
                    for names in (
                        *("ibm-quantum-system", None, [{}], ["direct-access"]),
                        ["ibm-quantum-system", "pasqal-cloud"],
                    )
                ),
                (
                    named(type="pasqal-cloud", also_as=["direct-access"]),
                    f"{ALSO_AS_RULE.replace('direct-access', 'pasqal-cloud')} must be left out",
                ),
                (
                    named(
                        also_as=["ibm-quantum-system"],
                        environment={"QRMI_IBM_QS_ENDPOINT": "x", "QRMI_IBM_DA_ENDPOINT": "x"},
                    ),
                    "environment.QRMI_IBM_DA_ENDPOINT: is there by the type's other name too: "
                    "keep one",
                ),
            ],
            "bad",
        ),
    ],
    ids=["entry", "name", "type", "environment", "locked", "also_as"],
)
def test_bad_entry_is_a_problem_of_its_own(
    tmp_path: Path, entries: Sequence[tuple[object, str]], name: str | None
) -> None:
    place = "resources[1]" if name is None else f"resource {name}"
    for entry, problem in entries:
        config = load_entries(tmp_path, GOOD, entry)
        assert list(config.resources) == ["good"], entry
        problems = [(known, str(error)) for known, error in config.problems]
        assert problems == [(name, f"{tmp_path}/qrmi_config.json: {place}: {problem}")], entry


@pytest.mark.parametrize(
    "variables",
    [
        [
            ("", SECRET, "environment: '' cannot be the name of a variable"),
            ("A=B", SECRET, "environment: 'A=B' cannot be the name of a variable"),
            ("A B", SECRET, "environment: 'A B' cannot be the name of a variable"),
            ("A\n", SECRET, "environment: 'A\\n' cannot be the name of a variable"),
            ("A\0", SECRET, "environment: 'A\\x00' cannot be the name of a variable"),
        ],
        [
            ("QRMI_A", 1, "environment.QRMI_A: must be a string in quotes, got a number"),
            ("QRMI_A", None, "environment.QRMI_A: must be a string in quotes, got null"),
            ("QRMI_A", False, "environment.QRMI_A: must be a string in quotes, got a boolean"),
            ("QRMI_A", [SECRET], "environment.QRMI_A: must be a string in quotes, got an array"),
        ],
        [
            ("QRMI_A", value, f"environment.QRMI_A: {FILE_RULE}")
            for value in (
                {"a": SECRET},
                {},
                {"file": 1},
                {"file": "etc/key"},
                {"file": "/etc/key\0"},
                {"file": "/etc/a\nkey"},
                {"file": "/etc/key", "a": SECRET},
            )
        ],
        [
            ("QRMI_A", f"{SECRET}\0", f"environment.QRMI_A: {VALUE_RULE}"),
            ("QRMI_A", SECRET + "ü" * 131072, f"environment.QRMI_A: {VALUE_RULE}"),
        ],
    ],
    ids=["name", "no text", "file", "text"],
)
def test_bad_variable_is_named_without_its_value(
    tmp_path: Path, variables: Sequence[tuple[str, object, str]]
) -> None:
    for key, value, expected in variables:
        what = f"{key!r}: {value!r:.300}"
        config = load_entries(tmp_path, named(environment={"QRMI_B": "", key: value}))
        assert config.resources == {}, what
        problem = str(config.problem_with("bad"))
        assert problem == f"{tmp_path}/qrmi_config.json: resource bad: {expected}", what
        assert SECRET not in problem, what


def test_name_that_would_make_variables_of_others_is_refused(tmp_path: Path) -> None:
    for name in ("LD", "LD_PRELOAD", "SLURM_JOB", "BASH_", "QRMI_JOB", "SPANK"):
        config = load_entries(tmp_path, GOOD, named(name=name))
        assert list(config.resources) == ["good"], name
        place = f"{tmp_path}/qrmi_config.json: resource {name}"
        word = name.partition("_")[0]
        assert str(config.problem_with(name)) == (
            f"{place}: its variables would look like others that begin with {word}_: rename it"
        )


def test_name_that_makes_variables_of_its_own_is_taken(tmp_path: Path) -> None:
    for name in ("LDX", "ld_a", "slurm", "x_LD_PRELOAD", "_LD", "PATH"):
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


def test_type_that_looks_like_a_known_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "qrmi_config.json"
    path.touch(mode=0o600)
    for text, meant in {
        "IBMQiskitRuntime": "qiskit-runtime-service",
        "IBMQiskitRuntimeService": "qiskit-runtime-service",
        "qiskit-runtime": "qiskit-runtime-service",
        "QuantumSystem": "ibm-quantum-system",
        "IBMQuantumComputeService": "ibm-quantum-compute-service",
        "IBMDirectAccess": "direct-access",
        "direct_access": "direct-access",
        "Pasqal": "pasqal-cloud or pasqal-local",
        "PasqalCloud": "pasqal-cloud",
        "PasqalLocal": "pasqal-local",
        "x" * 10_000: None,
    }.items():
        path.write_bytes(orjson.dumps({"resources": [named(type=text)]}))
        question = f": did you mean {meant}?" if meant else ""
        assert str(load_config(path, CLIENTS).problem_with("bad")).endswith(
            f"; got {text[:40]!r}{question}"
        )


def test_good_entry_is_taken_as_it_is(tmp_path: Path) -> None:
    environment = {"QRMI_A": " spaces kept ", "": "x"}
    environment.pop("")
    entry = named(name="N-1.ü", environment=environment, comment="unknown keys do no harm")
    config = load_entries(tmp_path, entry)
    resource = config.resources["N-1.ü"]
    assert (resource.type, resource.environment) == ("direct-access", environment)
    assert (config.problems, config.problem_with("N-1.ü")) == ((), None)
    assert "spaces kept" not in repr(config)


def test_locked_keys_are_those_that_users_may_not_set(tmp_path: Path) -> None:
    for locked, expected in (
        (True, {"QRMI_A", "QRMI_B"}),
        (False, set()),
        ([], set()),
        (["QRMI_A", "QRMI_A"], {"QRMI_A"}),
    ):
        [resource] = load_entries(tmp_path, named(locked=locked)).resources.values()
        found = {key for key in ("QRMI_A", "QRMI_B") if resource.is_locked(key)}
        assert found == expected, locked
    [resource] = load_entries(tmp_path, named()).resources.values()
    assert not resource.is_locked("QRMI_A")


def test_entry_says_who_may_use_it(tmp_path: Path) -> None:
    entry = named(users=["alice"], groups=["5000"], accounts=["a"], partitions=["p"])
    [resource] = load_entries(tmp_path, entry).resources.values()
    assert resource.access == Access(("alice",), ("5000",), ("a",), ("p",))
    assert resource.unread == ()


def test_entry_whose_lock_is_not_understood_stays_closed(tmp_path: Path) -> None:
    for key in ("users", "groups", "accounts", "partitions"):
        config = load_entries(tmp_path, named(**{key: "alice"}))
        assert config.resources == {}, key
        [(name, error)] = config.problems
        assert name == "bad"
        assert f'resource bad: "{key}" must be an array of strings' in str(error)
    config = load_entries(tmp_path, named(group=["qteam"]))
    assert [str(error).rpartition(": ")[2] for _, error in config.problems] == [
        'did you mean "groups"?'
    ]
    assert config.resources == {}


def test_keys_of_another_name_are_taken_as_the_types_own(tmp_path: Path) -> None:
    other = {
        "QRMI_IBM_QS_ENDPOINT": "https://site",
        "QRMI_IBM_QS_IAM_APIKEY": {"file": "/etc/key"},
        "QRMI_IBM_QS_S3_ENDPOINT_FOR_QSAPI": "https://s3",
        "QRMI_OTHER": "x",
    }
    locked = ["QRMI_IBM_QS_ENDPOINT", "QRMI_OTHER"]
    entry = named(also_as=["ibm-quantum-system"] * 2, environment=other, locked=locked)
    [resource] = load_entries(tmp_path, entry).resources.values()
    assert resource.also_as == ("ibm-quantum-system",)
    assert resource.environment == {
        "QRMI_IBM_DA_ENDPOINT": "https://site",
        "QRMI_IBM_DA_S3_ENDPOINT_FOR_DAAPI": "https://s3",
        "QRMI_OTHER": "x",
    }
    assert resource.secret_files == {"QRMI_IBM_DA_IAM_APIKEY": "/etc/key"}
    assert resource.locked == ("QRMI_IBM_DA_ENDPOINT", "QRMI_OTHER")
    assert resource.unread == ()


def test_longest_name_and_byte_order_mark_are_accepted(tmp_path: Path) -> None:
    document = orjson.dumps({"resources": [named(name="n" * 128)]})
    assert list(load(tmp_path, b"\xef\xbb\xbf" + document).resources) == ["n" * 128]


def test_example_file_loads_without_problems(tmp_path: Path) -> None:
    path = tmp_path / "qrmi_config.json"
    path.touch(mode=0o600)
    path.write_bytes((PROJECT / "qrmi_config.json.example").read_bytes())
    config = load_config(path, CLIENTS)
    assert config.problems == ()
    assert {resource.type for resource in config.resources.values()} == set(CLIENTS)
    kept = {
        name: each.access for name, each in config.resources.items() if each.access != EVERYBODY
    }
    assert kept == {"FRESNEL_CAN1": Access(users=("alice",), groups=("qteam",))}


@pytest.mark.parametrize(
    "files",
    [
        [
            ("600", {"A_SECRET": "x"}, False),
            ("400", {"A_SECRET": "x"}, False),
            ("640", {"A_SECRET": "x"}, True),
            ("601", {"A_SECRET": "x"}, True),
        ],
        [
            ("644", {"ENDPOINT": "x"}, False),
            ("644", {"A_SECRET": ""}, False),
            ("644", {}, False),
            ("644", {"A_SECRET": {"file": "/etc/secret"}}, False),
        ],
    ],
    ids=["mode", "no secret"],
)
def test_secrets_that_others_can_read_are_told_of(
    tmp_path: Path, files: Sequence[tuple[str, Mapping[str, object], bool]]
) -> None:
    path = tmp_path / "qrmi_config.json"
    text = f"{path}: holds secrets that others than its owner can read: chmod 600 {path}"
    for mode, environment, warns in files:
        config = load_entries(tmp_path, named(environment=environment), mode=int(mode, 8))
        assert config.exposures == ((text,) if warns else ()), (mode, environment)


def test_secrets_that_everybody_can_read_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "qrmi_config.json"
    content = orjson.dumps({"resources": [named(environment={"A_SECRET": "x"})]})
    text = f"{path}: holds secrets that everybody can read: chmod 600 {path}"
    found = {mode: refusal_of(tmp_path, content, int(mode, 8)) for mode in ("604", "644", "444")}
    assert found == dict.fromkeys(found, text)


def test_file_that_others_can_write_is_refused(tmp_path: Path) -> None:
    """They would decide where the site's credentials are sent."""
    path = tmp_path / "qrmi_config.json"
    content = orjson.dumps({"resources": [named()]})
    modes = ("620", "602", "666")
    found = {mode: refusal_of(tmp_path, content, int(mode, 8)) for mode in modes}
    assert found == dict.fromkeys(modes, f"{path}: {WRITABLE} {path}")


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
