# SPDX-License-Identifier: GPL-3.0-or-later
"""qrmi_config.json: what is accepted, and the words for what is not."""

import re
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

import orjson
import pytest

from spank_qrmi.clients import CLIENTS
from spank_qrmi.configuration import qrmi_config
from spank_qrmi.configuration.access import EVERYBODY, Access
from spank_qrmi.configuration.qrmi_config import Config, Resource, load_config
from spank_qrmi.errors import ConfigError
from tests.unit.outcomes import WRITABLE, trying

PROJECT = Path(__file__).parents[3]
TYPES = ("direct-access", "pasqal-cloud")
GOOD = {"name": "good", "type": "pasqal-cloud", "environment": {"QRMI_A": "1"}}
OTHER = ["ibm-quantum-system"]
SECRET = "value-that-must-not-be-shown"

NO_RESOURCES = 'must be a JSON object with an array "resources"'
NAME_RULE = '"name" must be a string of 1 to 128 bytes, all printable, without comma, space or ='
TYPE_RULE = '"type" must be one of direct-access, pasqal-cloud'
ENVIRONMENT_RULE = (
    '"environment" must be an object of strings, {} if the users bring their own variables'
)
ALSO_AS_RULE = '"also_as", an array of other names of direct-access,'
LOCKED_RULE = '"locked" must be an array of keys that users may not set, or true for all'
FILE_RULE = 'must be a string in quotes, or {"file": "/path"} with one absolute path, all printable'
OR_LEFT_OUT = "or be left out to let everybody in"
VALUE_RULE = "holds a NUL character or more than 262144 bytes"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "qrmi_config.json"


def load(path: Path, content: bytes, mode: int = 0o600, types: Container[str] = TYPES) -> Config:
    # Nobody but root may write to a file that has mode 400.
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    return load_config(path, types)


def load_entries(path: Path, *entries: object, mode: int = 0o600) -> Config:
    return load(path, orjson.dumps({"resources": entries}), mode)


def problems_of(config: Config) -> list[tuple[str | None, str]]:
    """Return name and text of each problem, without the path of the file."""
    place = "qrmi_config.json: "
    return [(name, str(error).partition(place)[2]) for name, error in config.problems]


def named(**changes: object) -> dict[str, object]:
    return {"name": "bad", "type": "direct-access", "environment": {}, **changes}


def refusal_of(path: Path, content: bytes, mode: int = 0o600) -> str:
    """Return why the file is refused, which shows no secret."""
    with pytest.raises(ConfigError) as caught:
        load(path, content, mode)
    text = str(caught.value)
    assert SECRET not in text
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


def test_file_of_another_shape_is_refused(path: Path) -> None:
    contents = (b"[]", b"null", b"{}", b'{"resources": {}}', b'"resources"')
    expected = dict.fromkeys(contents, NO_RESOURCES)
    assert {content: refusal_of(path, content) for content in contents} == expected
    text = refusal_of(path, b"[" * 1000 + b"]" * 1000)
    # Pythons differ in how many they read.
    assert text in ("has too many objects or arrays in one another", NO_RESOURCES)


def test_text_that_is_not_json_is_located_and_not_shown(path: Path) -> None:
    for content, place in (
        (b"", "line 1 column 1"),
        (b'{\n "resources": [,\n', "line 2 column 16"),
        (b'\xef\xbb\xbf{"a"', "line 1 column 5"),
        (b'{"a": "\xff"}', "line 1 column 8"),
        (b'\xef\xbb\xbf{"a": "\xff"}', "line 1 column 8"),
        (f'{{"a_KEY": "{SECRET}",}}'.encode(), "line 1 column 4[012]"),
    ):
        end = "; nothing in it can be used until that is corrected"
        text = refusal_of(path, content)
        assert re.fullmatch(f"is not JSON: .+ at {place}{end}", text), content


def test_usual_slip_is_named_at_its_own_line(path: Path) -> None:
    """A parser tells of most of them one word later."""
    for content, cause in {
        '{"a": {"X\u201d: \u201cy"}}': 'a curly quote: write " at line 1 column 10',
        '{\n"K": "v\u201d,\n"L": "w"}': 'a curly quote: write " at line 2 column 8',
        '{"a": "it\u2019s"\n\n"b": 1}': "unexpected character, expected ',' or '}' at line 3 ",
        '{\n # mine\n "a": 1}': "JSON has no comments: take it out at line 2 column 2",
        '{"a": "#", // b\n "c": 1}': "JSON has no comments: take it out at line 1 column 12",
        '{"a": "1",\n}': "trailing comma is not allowed at line 1 column 10",
    }.items():
        assert refusal_of(path, content.encode()).startswith(f"is not JSON: {cause}"), content


def test_repeated_member_disables_what_it_belongs_to(path: Path) -> None:
    """The last one would count: ten QPUs are lost without a word, or a key is another one."""
    twice = "stands more than once: keep one"
    good = orjson.dumps(GOOD).decode()
    for content, expected in {
        f'{{"resources": [], "resources": [{good}]}}': f"'resources' {twice}",
        '{"resources": [], "a": {"b\\n": {"c": 1, "c": 1}}}': f"a: b\\n: 'c' {twice}",
    }.items():
        assert refusal_of(path, content.encode()) == expected, content
    secrets = f'{{"QRMI_A": "{SECRET}", "QRMI_A": "{SECRET}"}}'
    for members, name, expected in (
        (f'"environment": {secrets}', "bad", "resource bad: environment: 'QRMI_A'"),
        ('"environment": 1, "environment": 2', "bad", "resource bad: 'environment'"),
        ('"name": "other", "environment": {}', None, "resources[1]: 'name'"),
    ):
        entry = f'{{"name": "bad", "type": "pasqal-cloud", {members}}}'
        config = load(path, f'{{"resources": [{good}, {entry}]}}'.encode())
        assert list(config.resources) == ["good"], entry
        assert problems_of(config) == [(name, f"{expected} {twice}")], entry


def test_file_beyond_the_limit_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qrmi_config, "MAX_CONFIG_BYTES", 17)
    assert load(path, b'{"resources": []}').resources == {}
    assert refusal_of(path, b'{"resources": []} ') == "is larger than 17 bytes"


NO_OBJECT = "must be an object with name, type and environment"
NO_NAMES = (7, "", "a b", "a,b", "a=b", "a\n", "a\0b", "a\u202eb", "n" * 129, "ü" * 65)
NO_OTHER_TYPES = ("ibm-quantum-system", None, [{}], ["direct-access"], [*OTHER, "pasqal-cloud"])

NO_PATHS: Sequence[object] = (1, "etc/key", "/etc/key\0", "/etc/a\nkey")
BAD_VARIABLES: Sequence[tuple[str, object, str]] = [
    *(
        (key, SECRET, f": {key!r} cannot be the name of a variable")
        for key in ("", "A=B", "A B", "A\n", "A\0")
    ),
    ("QRMI_A", 1, ".QRMI_A: must be a string in quotes, got a number"),
    ("QRMI_A", None, ".QRMI_A: must be a string in quotes, got null"),
    ("QRMI_A", [SECRET], ".QRMI_A: must be a string in quotes, got an array"),
    # The plugin takes nothing of an answer with such a variable: all QPUs would be lost.
    ("N" * 252, SECRET, f": '{'N' * 20}'… is longer than 255 bytes with the resource's name"),
    ("QRMI_A", {"a": SECRET}, f".QRMI_A: {FILE_RULE}"),
    ("QRMI_A", {"file": "/etc/key", "a": SECRET}, f".QRMI_A: {FILE_RULE}"),
    *(("QRMI_A", {"file": path}, f".QRMI_A: {FILE_RULE}") for path in NO_PATHS),
    ("QRMI_A", f"{SECRET}\0", f".QRMI_A: {VALUE_RULE}"),
    ("QRMI_A", SECRET + "ü" * 131072, f".QRMI_A: {VALUE_RULE}"),
]

BAD_ENTRIES: Mapping[str, Sequence[tuple[object, str]]] = {
    "resources[1]": [
        *(("text", NO_OBJECT), (None, NO_OBJECT), ({}, NAME_RULE)),
        *((named(name=name), NAME_RULE) for name in NO_NAMES),
    ],
    "resource bad": [
        ({"name": "bad", "environment": {}}, f"{TYPE_RULE}; it is missing"),
        (named(type="Pas"), f"{TYPE_RULE}; got 'Pas'"),
        (named(type=None), f"{TYPE_RULE}; got null"),
        ({"name": "bad", "type": "direct-access"}, f"{ENVIRONMENT_RULE}; it is missing"),
        (named(environment=None), f"{ENVIRONMENT_RULE}; got null"),
        (named(environment=SECRET), f"{ENVIRONMENT_RULE}; got a string"),
        (named(locked=None), f"{LOCKED_RULE}; got null"),
        (named(locked=1), f"{LOCKED_RULE}; got a number"),
        (named(locked="QRMI_A"), f"{LOCKED_RULE}; got a string"),
        (named(locked=["QRMI_A", 1]), f"{LOCKED_RULE}; got an array"),
        (named(locked=["A B"]), "locked: 'A B' cannot be the name of a variable"),
        (named(users="alice"), f'"users" must be an array of strings, {OR_LEFT_OUT}; got a string'),
        (
            named(group=["a"]),
            "'group' is not known, and would let everybody in: did you mean \"groups\"?",
        ),
        *(
            (named(also_as=names), f"{ALSO_AS_RULE} may hold ibm-quantum-system")
            for names in NO_OTHER_TYPES
        ),
        (
            named(type="pasqal-cloud", also_as=["direct-access"]),
            f"{ALSO_AS_RULE.replace('direct-access', 'pasqal-cloud')} must be left out",
        ),
        (
            named(
                also_as=OTHER,
                environment={"QRMI_IBM_QS_ENDPOINT": "x", "QRMI_IBM_DA_ENDPOINT": "x"},
            ),
            "environment.QRMI_IBM_DA_ENDPOINT: is there by the type's other name too: keep one",
        ),
        *(
            (named(environment={"QRMI_B": "", key: value}), f"environment{problem}")
            for key, value, problem in BAD_VARIABLES
        ),
    ],
}


@pytest.mark.parametrize("place", BAD_ENTRIES)
def test_bad_entry_is_a_problem_of_its_own(path: Path, place: str) -> None:
    name = "bad" if place == "resource bad" else None
    for entry, problem in BAD_ENTRIES[place]:
        with trying(f"{entry!r:.300}"):
            config = load_entries(path, GOOD, entry)
            assert list(config.resources) == ["good"]
            assert problems_of(config) == [(name, f"{place}: {problem}")]
            assert name is None or config.problem_with(name) is config.problems[0][1]
            assert SECRET not in str(config.problems)


def test_name_that_would_make_variables_of_others_is_refused(path: Path) -> None:
    for name in ("LD", "LD_PRELOAD", "SLURM_JOB", "BASH_", "QRMI_JOB", "SPANK"):
        config = load_entries(path, GOOD, named(name=name))
        assert list(config.resources) == ["good"], name
        begins = f"{name.partition('_')[0]}_"
        told = f"its variables would look like others that begin with {begins}: rename it"
        assert problems_of(config) == [(name, f"resource {name}: {told}")]
    for name in ("LDX", "ld_a", "slurm", "x_LD_PRELOAD", "_LD", "PATH"):
        assert list(load_entries(path, named(name=name)).resources) == [name]


def test_name_defined_twice_stands_for_neither(path: Path) -> None:
    config = load_entries(path, named(), GOOD, named(type="pasqal-cloud"))
    assert list(config.resources) == ["good"]
    text = "resource bad: is defined more than once: keep one entry"
    assert [(name, str(error)) for name, error in config.problems] == [("bad", f"{path}: {text}")]


def test_type_that_looks_like_a_known_one_is_named(path: Path) -> None:
    for text, meant in {
        "IBMQiskitRuntime": "qiskit-runtime-service",
        "QuantumSystem": "ibm-quantum-system",
        "IBMQuantumComputeService": "ibm-quantum-compute-service",
        "direct_access": "direct-access",
        "Pasqal": "pasqal-cloud or pasqal-local",
        "PasqalLocal": "pasqal-local",
        "x" * 10_000: None,
    }.items():
        question = f": did you mean {meant}?" if meant else ""
        document = orjson.dumps({"resources": [named(type=text)]})
        [(_, problem)] = problems_of(load(path, document, types=CLIENTS))
        assert problem.endswith(f"; got {text[:40]!r}{question}")


def test_good_entry_is_taken_as_it_is(path: Path) -> None:
    # As long as a name may be, also with a key, and behind a byte order mark.
    name, long = "N-1." + "ü" * 62, "N" * 126
    environment = {"QRMI_A": " spaces kept ", "QRMI_B": {"file": "/etc/b"}, long: ""}
    access = {"users": ["alice"], "groups": ["5000"], "accounts": ["a"], "partitions": ["p"]}
    entry = named(name=name, environment=environment, **access, comment="does no harm")
    config = load(path, b"\xef\xbb\xbf" + orjson.dumps({"resources": [entry]}))
    resource = Resource(
        *(name, "direct-access", {"QRMI_A": " spaces kept ", long: ""}, {"QRMI_B": "/etc/b"}),
        unread=("comment",),
        access=Access(("alice",), ("5000",), ("a",), ("p",)),
    )
    assert config == Config(path, {name: resource})
    assert (config.problem_with(name), resource.is_secret("QRMI_B")) == (None, True)
    assert "spaces kept" not in repr(config)


def test_locked_keys_are_those_that_users_may_not_set(path: Path) -> None:
    for locked, expected in (
        (True, {"QRMI_A", "QRMI_B"}),
        (False, set()),
        ([], set()),
        (["QRMI_A", "QRMI_A"], {"QRMI_A"}),
    ):
        [resource] = load_entries(path, named(locked=locked)).resources.values()
        found = {key for key in ("QRMI_A", "QRMI_B") if resource.is_locked(key)}
        assert found == expected, locked
    [resource] = load_entries(path, named()).resources.values()
    assert not resource.is_locked("QRMI_A")


def test_keys_of_another_name_are_taken_as_the_types_own(path: Path) -> None:
    other = {
        "QRMI_IBM_QS_ENDPOINT": "https://site",
        "QRMI_IBM_QS_IAM_APIKEY": {"file": "/etc/key"},
        "QRMI_IBM_QS_S3_ENDPOINT_FOR_QSAPI": "https://s3",
        "QRMI_OTHER": "x",
    }
    locked = ["QRMI_IBM_QS_ENDPOINT", "QRMI_OTHER"]
    entry = named(also_as=["ibm-quantum-system"] * 2, environment=other, locked=locked)
    own = {
        "QRMI_IBM_DA_ENDPOINT": "https://site",
        "QRMI_IBM_DA_S3_ENDPOINT_FOR_DAAPI": "https://s3",
        "QRMI_OTHER": "x",
    }
    assert load_entries(path, entry).resources["bad"] == Resource(
        *("bad", "direct-access", own, {"QRMI_IBM_DA_IAM_APIKEY": "/etc/key"}),
        locked=("QRMI_IBM_DA_ENDPOINT", "QRMI_OTHER"),
        also_as=("ibm-quantum-system",),
    )


def test_example_file_loads_without_problems(path: Path) -> None:
    content = (PROJECT / "qrmi_config.json.example").read_bytes()
    config = load(path, content, types=CLIENTS)
    assert config.problems == ()
    assert {resource.type for resource in config.resources.values()} == set(CLIENTS)
    all_access = {name: each.access for name, each in config.resources.items()}
    kept = {name: access for name, access in all_access.items() if access != EVERYBODY}
    assert kept == {"FRESNEL_CAN1": Access(users=("alice",), groups=("qteam",))}


def test_secrets_that_others_can_read_are_told_of(path: Path) -> None:
    text = f"{path}: holds secrets that others than its owner can read: chmod 600 {path}"
    for mode, environment, warns in (
        (0o600, {"A_SECRET": "x"}, False),
        (0o640, {"A_SECRET": "x"}, True),
        (0o644, {"ENDPOINT": "x"}, False),
        (0o644, {"A_SECRET": ""}, False),
        (0o644, {"A_SECRET": {"file": "/etc/secret"}}, False),
    ):
        config = load_entries(path, named(environment=environment), mode=mode)
        assert config.exposures == ((text,) if warns else ()), (mode, environment)


def test_secrets_that_everybody_can_read_are_refused(path: Path) -> None:
    content = orjson.dumps({"resources": [named(environment={"A_SECRET": "x"})]})
    readable = f"holds secrets that everybody can read: chmod 600 {path}"
    found = {mode: refusal_of(path, content, mode) for mode in (0o604, 0o644, 0o444)}
    assert found == dict.fromkeys(found, readable)


def test_file_that_others_can_write_is_refused(path: Path) -> None:
    """They would decide where the site's credentials are sent."""
    content = orjson.dumps({"resources": [named()]})
    found = {mode: refusal_of(path, content, mode) for mode in (0o620, 0o602, 0o666)}
    assert found == dict.fromkeys(found, f"{WRITABLE} {path}")


def test_file_may_be_a_link(path: Path) -> None:
    """Configuration management puts links into /etc."""
    load_entries(path, named())
    link = path.with_name("link.json")
    link.symlink_to(path.name)
    assert list(load_config(link, TYPES).resources) == ["bad"]
