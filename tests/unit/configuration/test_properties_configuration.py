# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of an administrator, whatever stands in them."""

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.targets.claims import result_or_refusal
from fuzz.targets.configuration import check_config, check_configuration
from spank_qrmi.clients import CLIENTS
from spank_qrmi.clients import qrun_variables as names
from spank_qrmi.configuration.qrmi_config import Config, load_config
from spank_qrmi.configuration.qrun_credentials import load_credentials
from spank_qrmi.errors import ConfigError
from tests.unit.strategies import MARK, json_values, maybe_wrong, secrets, texts

Write = Callable[[object], Path]

NAMES = st.one_of(st.sampled_from(["a", "b", "ibm_torino", "LD_x", "a,b", " a", "a=b", ""]), texts)
KEYS = st.one_of(st.sampled_from(["QRMI_A", "QRMI_KEY", "A B", "A=B", ""]), texts)
MODES = {"private": 0o600, "exposed": 0o644, "writable": 0o666}
PATHS = [f"$FOLDER/{name}" for name in (*MODES, "missing")]
SECRET_FILES = st.fixed_dictionaries({"file": maybe_wrong(st.sampled_from(PATHS))})
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "name": maybe_wrong(NAMES),
        "type": maybe_wrong(st.sampled_from(list(CLIENTS))),
        "environment": maybe_wrong(
            st.dictionaries(KEYS, maybe_wrong(st.one_of(secrets, SECRET_FILES)), max_size=3)
        ),
        "also_as": maybe_wrong(st.lists(st.sampled_from(list(CLIENTS)), max_size=2)),
        "users": maybe_wrong(st.lists(texts, max_size=2)),
        "partitions": maybe_wrong(st.lists(texts, max_size=2)),
        "locked": maybe_wrong(st.one_of(st.booleans(), st.lists(KEYS, max_size=3))),
    },
)
CREDENTIAL_KEYS = [
    name.removeprefix(names.PREFIX) for name in (*names.SITE_VARIABLES, *names.IAM_VARIABLES)
]


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory) -> Write:
    folder = tmp_path_factory.mktemp("configuration")
    for name, mode in MODES.items():
        (folder / name).write_text(MARK)
        (folder / name).chmod(mode)
    path = folder / "file.json"
    path.touch(mode=0o600)

    def write_document(document: object) -> Path:
        path.write_bytes(orjson.dumps(document).replace(b"$FOLDER", str(folder).encode()))
        return path

    return write_document


@given(st.one_of(st.binary(max_size=200), json_values().map(orjson.dumps)))
def test_any_content_is_read_or_refused_in_one_line(content: bytes) -> None:
    check_configuration(content)


@given(entries=st.lists(st.one_of(ENTRIES, ENTRIES, json_values()), max_size=4))
def test_every_entry_is_a_resource_or_a_problem_that_shows_no_value(
    write: Write, entries: list[object]
) -> None:
    path = write({"resources": entries})
    config = result_or_refusal(lambda: load_config(path, CLIENTS), ConfigError)
    assert isinstance(config, Config)
    # A secret in the place of a type or a name is none that anybody could know.
    check_config(config, [MARK])
    assert MARK not in repr(config)


@given(
    values=st.dictionaries(
        st.one_of(st.sampled_from(CREDENTIAL_KEYS), texts), maybe_wrong(secrets), max_size=4
    ),
    missing=st.sets(st.sampled_from(CREDENTIAL_KEYS), max_size=3),
)
def test_credentials_are_taken_or_refused_without_showing_one(
    write: Write, values: dict[str, object], missing: set[str]
) -> None:
    document = {**dict.fromkeys(set(CREDENTIAL_KEYS) - missing, MARK), **values}
    path = write(document)
    credentials = result_or_refusal(lambda: load_credentials(path), ConfigError, [MARK])
    if isinstance(credentials, dict):
        assert credentials == {f"IBMQRUN_{key}": value for key, value in document.items()}
    else:
        assert str(path) in str(credentials)
