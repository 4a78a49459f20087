# SPDX-License-Identifier: GPL-3.0-or-later
"""`spank-qrmi tokens`: which QPUs a token is of, how old it is, and that it can be forgotten."""

import json
import os
from pathlib import Path

import pytest

from spank_qrmi.clients.ibm import AppIdLogin, IamLogin
from spank_qrmi.clients.tokens import Login
from spank_qrmi.deadline import Deadline
from spank_qrmi.state import token_cache
from spank_qrmi.state.token_cache import TokenCache
from tests.unit.admin.conftest import SECRET, HeldNode, Run
from tests.unit.check.conftest import entry

API_KEY = f"api-key-{SECRET}"
IAM = "https://iam.test"
SHARED = IamLogin(IAM, API_KEY)
REVOKED = IamLogin(IAM, f"another-key-{SECRET}")
QRUN = AppIdLogin("https://da.test", "client", SECRET)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may see tokens")


class Node(HeldNode):
    """One whose plugstack.conf, configuration and tokens lie in one folder."""

    def __init__(self, folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder / "state", run)
        self.plugstack = folder / "plugstack.conf"
        self._now = token_cache._now()
        # No token ages meanwhile.
        monkeypatch.setattr(token_cache, "_now", lambda: self._now)
        # Another spelling of the same login.
        values = {"IAM_ENDPOINT": f"{IAM}/", "IAM_APIKEY": f" {API_KEY}"}
        environment = {f"QRMI_IBM_QRS_{key}": value for key, value in values.items()}
        resources = [
            *(entry(name, environment=environment) for name in ("ibm_a", "ibm_b")),
            {"name": "ibm_users", "type": "qiskit-runtime-service", "environment": {}},
            {"name": "aspen", "type": "oqtopus", "environment": {}},
        ]
        config, credentials = folder / "qrmi_config.json", folder / "qrun.json"
        for path, document in ((config, {"resources": resources}), (credentials, QRUN_CREDENTIALS)):
            path.touch(mode=0o600)
            path.write_text(json.dumps(document))
        self.plugstack.write_text(
            f"optional spank_qrmi.so {config} --state-dir={self.folder}\n"
            f"optional spank_ibm_qrun.so --credentials={credentials}\n"
        )

    def keep(self, login: Login, age_seconds: int = 0) -> None:
        self._now -= age_seconds
        TokenCache(self.folder).store(TokenCache.key_of(login), f"token-{SECRET}", 3600)
        self._now += age_seconds

    def keeps(self, login: Login) -> bool:
        """Return whether a job would not ask anew."""
        with TokenCache(self.folder).turn(TokenCache.key_of(login), Deadline(0)) as token:
            return token is not None

    def tokens(self, *arguments: str) -> tuple[int, list[str]]:
        return self.run_as_said("tokens", f"--plugstack={self.plugstack}", *arguments)


QRUN_CREDENTIALS = {"APPID_CLIENT_ID": QRUN.client_id, "APPID_SECRET": QRUN.secret}
QRUN_CREDENTIALS |= {"DAAPI_ENDPOINT": QRUN.service_url, "S3_ENDPOINT": "https://s3.test"}
QRUN_CREDENTIALS |= {"S3_BUCKET": "bucket", "S3_REGION": "region"}
QRUN_CREDENTIALS |= {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"}


@pytest.fixture
def node(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Node:
    monkeypatch.setenv("SLURM_CONF", os.devnull)
    return Node(tmp_path, run, monkeypatch)


def test_age_and_qpus_are_shown_youngest_first(node: Node) -> None:
    assert node.tokens() == (0, ["no access token is kept on this node"])
    assert node.tokens("--all") == (0, ["dropped 0: the next jobs ask anew"])
    assert node.tokens("--drop=ibm_a") == (0, ["ibm_a: no access token is kept"])
    node.keep(REVOKED, 1800)
    node.keep(SHARED, 60)
    node.keep(QRUN)
    status, [headings, *rows] = node.tokens()
    assert (status, headings) == (0, "AGE       USED FOR  QPUS")
    assert [row.split(maxsplit=4)[:3:2] for row in rows[1:]] == [["1", "59"], ["30", "30"]]
    assert [row.split("  ")[-1].strip() for row in rows] == [
        "the command qrun",
        "ibm_a, ibm_b",
        "none that is configured now",
    ]


def test_dropped_token_is_asked_for_anew(node: Node) -> None:
    node.keep(SHARED)
    node.keep(REVOKED)
    reason = "no QPU of this name has a login whose tokens are kept"
    those = "those that have: ibm_a, ibm_b, the command qrun"
    for name in ("ibm_users", "aspen", "nobody"):
        assert node.tokens(f"--drop={name}") == (1, [f"spank-qrmi: {name}: {reason}; {those}"])
    dropped = (0, ["dropped: the next job asks anew for ibm_a, ibm_b"])
    assert node.tokens("--drop=ibm_b") == dropped
    assert [node.keeps(SHARED), node.keeps(REVOKED)] == [False, True]
    node.keep(SHARED)
    assert node.tokens("--all") == (0, ["dropped 2: the next jobs ask anew"])
    assert [node.keeps(SHARED), node.keeps(REVOKED)] == [False, False]


def test_all_are_dropped_although_nothing_can_be_read_of_the_qpus(
    node: Node, tmp_path: Path
) -> None:
    node.keep(SHARED)
    (tmp_path / "qrmi_config.json").write_text("{")
    assert node.tokens()[0] == 1
    assert node.tokens("--all") == (0, ["dropped 1: the next jobs ask anew"])


def test_folder_that_others_can_write_is_not_believed(node: Node, tmp_path: Path) -> None:
    node.keep(SHARED)
    (tmp_path / "state" / "tokens").chmod(0o777)
    for arguments in ([], ["--all"], ["--drop=ibm_a"]):
        status, [line] = node.tokens(*arguments)
        assert status == 1
        assert "must be writable by its owner alone" in line
