# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs with any environment and any --qpu: what the worker answers to them."""

import shutil
import socket
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.targets.claims import is_variable_name
from fuzz.targets.scratch import folder_in_memory
from spank_qrmi.job.environment import EXPORT_LIST, JOB_ID, JOB_UID, RESOURCE_LISTS, TYPE_LISTS
from spank_qrmi.worker import process as worker
from tests.unit.conversation import SeenAnswer, ServingWorker, converse
from tests.unit.fake_vendor import FakeVendor
from tests.unit.job.job_node import Node
from tests.unit.local_network import LocalNetwork
from tests.unit.strategies import MARK, system_texts

Acquire = Callable[[str, list[tuple[str, str]]], SeenAnswer]

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


@pytest.fixture(scope="module")
def acquire() -> Iterator[Acquire]:
    folder = folder_in_memory()
    secret, endpoint = SITE_VALUES
    (folder / "key").write_text(secret)

    def serve(channel: socket.socket) -> None:
        worker.serve(channel, LocalNetwork())

    def ask(option: str, variables: list[tuple[str, str]]) -> SeenAnswer:
        shutil.rmtree(node.state_directory, ignore_errors=True)
        return node.acquire(option, step_id=0, variables=tuple(variables))

    with pytest.MonkeyPatch.context() as patch:
        vendor = FakeVendor()
        vendor.serve(patch)
        patch.setattr(worker, "_cancel_when_abandoned", lambda channel, deadline: None)
        patch.setattr(worker, "refuse_untrusted_code", lambda *_: None)
        serving = ServingWorker([], lambda message: converse(message, serve))
        node = Node(folder, serving, vendor)
        keys = {"a": secret, "b": {"file": str(folder / "key")}}
        node.write_config(
            *(
                {"name": name, "environment": {"QRMI_KEY": key, "QRMI_ENDPOINT": endpoint}}
                for name, key in keys.items()
            )
        )
        yield ask


@given(option=OPTIONS, block=st.dictionaries(NAMES, VALUES, max_size=6), secrets=SECRETS)
def test_job_gets_our_variables_alone_and_nobody_sees_a_secret(
    acquire: Acquire, option: str, block: dict[str, str], secrets: dict[str, str]
) -> None:
    users = {**block, **secrets}
    answer = acquire(option, list(users.items()))
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
