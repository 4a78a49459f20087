# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs with any environment and any --qpu: what the worker answers to them."""

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.targets.claims import is_variable_name
from spank_qrmi.job.environment import EXPORT_LIST, JOB_ID, JOB_UID, RESOURCE_LISTS, TYPE_LISTS
from tests.unit.job.job_node import Node
from tests.unit.strategies import MARK, system_texts

OF_EVERY_JOB = {JOB_ID, JOB_UID, EXPORT_LIST, *RESOURCE_LISTS, *TYPE_LISTS}
SITE_VALUES = (f"{MARK}-of-the-site", "https://site")
PREFIXES = ("a_QRMI_", "b_QRMI_")
NAMES = st.one_of(
    st.sampled_from([JOB_ID, EXPORT_LIST, "PATH", "LD_PRELOAD", "a_PATH", "c_QRMI_KEY"]),
    st.builds(
        str.__add__,
        st.sampled_from(PREFIXES),
        st.one_of(
            st.sampled_from(["KEY", "ENDPOINT", "JOB_ACQUISITION_TOKEN", "JOB_TIMEOUT_SECONDS"]),
            system_texts.filter(lambda key: "=" not in key),
        ),
    ),
)
VALUES = st.one_of(st.sampled_from(["", "7", "8", "ALL", "NONE", "https://mine"]), system_texts)
SECRETS = st.dictionaries(
    st.sampled_from(["a_QRMI_KEY", "b_QRMI_KEY", "a_QRMI_X_TOKEN"]),
    system_texts.map(MARK.__add__),
)
OPTIONS = st.one_of(
    st.lists(st.sampled_from(["a", "b", "c", " a ", "PATH"]), max_size=4).map(",".join),
    system_texts,
)


@pytest.fixture
def node(node: Node, tmp_path: Path) -> Node:
    """A node with two resources, of which one has its key in a file."""
    secret, endpoint = SITE_VALUES
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_text(secret)
    site = {"QRMI_KEY": secret, "QRMI_ENDPOINT": endpoint}
    of_file = {**site, "QRMI_KEY": {"file": str(path)}}
    node.write_config({"name": "a", "environment": site}, {"name": "b", "environment": of_file})
    return node


@settings(
    suppress_health_check=[*settings().suppress_health_check, HealthCheck.function_scoped_fixture]
)
@given(option=OPTIONS, block=st.dictionaries(NAMES, VALUES, max_size=6), secrets=SECRETS)
def test_job_gets_our_variables_alone_and_nobody_sees_a_secret(
    node: Node, option: str, block: dict[str, str], secrets: dict[str, str]
) -> None:
    shutil.rmtree(node.state_directory, ignore_errors=True)
    users = {**block, **secrets}
    answer = node.acquire(option, step_id=0, variables=tuple(users.items()))
    assert answer.verdict in {"run", "fail"}
    names = [name for name, _ in answer.variables]
    for name in names:
        assert is_variable_name(name)
        assert name in OF_EVERY_JOB or name.startswith(PREFIXES)
    ours = set(names) - OF_EVERY_JOB
    others_token_and_limit = {name for name in users if "_QRMI_JOB_" in name}
    # Of what the user has exported, only blanks around it were taken away.
    told = dict(answer.variables)
    for name in ours & (set(users) - others_token_and_limit):
        assert told[name] in {users[name].strip(), *SITE_VALUES}
    for line in [*(text for _, text in answer.logs), *answer.messages]:
        assert line.isprintable()
        assert MARK not in line
