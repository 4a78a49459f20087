# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs of a node share access tokens: each with a network process of its own, as its worker has."""

import contextlib
import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from spank_qrmi.clients import qrun_variables as names
from spank_qrmi.clients.base import Settings
from spank_qrmi.clients.tokens import LONGEST_TOKEN
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import AuthenticationError, ServiceError
from spank_qrmi.network import tokens
from spank_qrmi.network.calls import ResourceCalls
from spank_qrmi.network.messages import NONSENSE, Order, Report, encode_frame
from spank_qrmi.protocol import Request, Verb
from spank_qrmi.state.token_cache import TokenCache
from spank_qrmi_simulator.faults import parse_fault
from spank_qrmi_simulator.qrmi_config import site_config, write_config
from spank_qrmi_simulator.site import OPEN_PLAN_API_KEY, OPEN_PLAN_SERVICE_CRN, Site
from tests.unit.conversation import encode_request, read_answer
from tests.unit.job.test_qrun import arguments
from tests.unit.network.test_worker_side import (
    HANGING,
    PATIENCE_SECONDS,
    SILENT,
    answering_calls,
    calls_by,
    opened,
    real,
)
from tests.unit.outcomes import refusal_of
from tests.unit.worker.test_process_alone import WORKER, started

IAM = "/iam/identity/token"
API_KEY = "QRMI_IBM_QRS_IAM_APIKEY"
OPEN_PLAN = {API_KEY: OPEN_PLAN_API_KEY, "QRMI_IBM_QRS_SERVICE_CRN": OPEN_PLAN_SERVICE_CRN}
TYPE = "qiskit-runtime-service"


class Node:
    """A node whose jobs ask a simulated site for one Runtime backend."""

    def __init__(self, folder: Path, site: Site, base_url: str) -> None:
        self.site = site
        self.base_url = base_url
        self.hidden: list[str] = []
        self.tokens = folder / "tokens"
        self.cache = TokenCache(folder, self.hidden.extend)
        resources = site_config(base_url)["resources"]
        [resource] = [each for each in resources if each["name"] == "ibm_sherbrooke"]
        self.values: dict[str, str] = resource["environment"]
        self.is_sites = True

    def settings(self, **changes: str) -> Settings:
        """Return a job's settings, with some of the variables changed by the configuration."""
        return Settings("ibm_sherbrooke", {**self.values, **changes}, 60, self.is_sites)

    def client(
        self, serve: Callable[[socket.socket], object] = real, seconds: float = 60, **changes: str
    ) -> AbstractContextManager[ResourceCalls]:
        settings = self.settings(**changes)
        return calls_by(serve, settings, type_name=TYPE, seconds=seconds, cache=self.cache)

    def check(self, **changes: str) -> None:
        with self.client(**changes) as client:
            client.check_accessible()

    def order_fault(self, **fault: object) -> None:
        self.site.faults.add(parse_fault(fault))

    def logins(self) -> set[str | None]:
        """Return who asked for the backend, by what was sent."""
        asked = [each for each in self.site.requests if "/backends/" in each.path]
        return {each.authorization_sha256 for each in asked}


@pytest.fixture
def node(tmp_path: Path, site: Site, base_url: str) -> Node:
    site.reset()
    return Node(tmp_path, site, base_url)


def test_session_is_opened_and_checked_and_closed_by_another_job_with_one_token(node: Node) -> None:
    with node.client() as client:
        check = threading.Thread(target=client.check_accessible)
        check.start()
        session_id = client.acquire()
        check.join(PATIENCE_SECONDS)
    # It is hidden from all logs once it comes, and looked for by the first call alone.
    [path] = node.tokens.iterdir()
    assert node.hidden == [path.read_text().split("\n")[3]]
    with node.client() as client:
        client.release(session_id)
    assert (node.site.tokens_issued, len(node.logins())) == (1, 1)


def test_jobs_that_start_at_once_ask_for_one_token(node: Node, tmp_path: Path) -> None:
    """Workers as processes: threads of one would wait for each other anyway."""
    node.order_fault(kind="delay", path=IAM, delay_seconds=0.5)
    config = tmp_path / "qrmi_config.json"
    write_config(config, site_config(node.base_url))
    given = (str(config), f"--state-dir={tmp_path}")
    requests = [
        Request(Verb.ACQUIRE, job_id, 0, 0, 1000, 60, qpu_option="ibm_sherbrooke", arguments=given)
        for job_id in range(1, 5)
    ]
    with contextlib.ExitStack() as workers:
        running = [workers.enter_context(started(WORKER)) for _ in requests]
        for each, request in zip(running, requests, strict=True):
            each.channel.sendall(encode_request(request))
        answers = [read_answer(each.channel.recv) for each in running]
    assert [answer.verdict for answer in answers] == ["run"] * len(requests)
    assert (node.site.tokens_issued, len(node.site.sessions())) == (1, len(requests))
    [path] = node.tokens.iterdir()
    token = path.read_text().split("\n")[3]
    assert not any(token in answer.everything_readable for answer in answers)


def test_failure_is_the_jobs_own_error_and_not_kept(node: Node) -> None:
    node.order_fault(kind="status", path=IAM, status=400, times=1)
    with pytest.raises(AuthenticationError, match=f"{IAM} refused the API key: 400 "):
        node.check()
    assert len([each for each in node.site.requests if each.path == IAM]) == 1
    assert list(node.tokens.iterdir()) == []
    node.check()
    assert node.site.tokens_issued == 1


def test_token_that_was_revoked_is_replaced_for_all_or_dropped(node: Node) -> None:
    node.check()
    node.site.expire_tokens()
    node.check()
    node.check()
    assert node.site.tokens_issued == 2
    node.site.expire_tokens()
    node.order_fault(kind="status", path=IAM, status=400)
    with pytest.raises(AuthenticationError):
        node.check()
    assert list(node.tokens.iterdir()) == []


def test_each_login_has_a_token_of_its_own(node: Node) -> None:
    node.check()
    node.check(**OPEN_PLAN)
    with pytest.raises(AuthenticationError):
        node.check(**{API_KEY: "made up"})
    count = len(list(node.tokens.iterdir()))
    assert (node.site.tokens_issued, len(node.logins()), count) == (2, 2, 2)


def test_login_of_a_user_neither_takes_nor_leaves_a_token(node: Node) -> None:
    node.check()
    [path] = node.tokens.iterdir()
    content = path.read_bytes()
    # He may name the login of a resource of the site's, and an endpoint of his own.
    with opened(real, cache=node.cache) as network:
        services = network.services(Deadline(PATIENCE_SECONDS), {})
        for is_sites in (True, False):
            node.is_sites = is_sites
            services.resource_calls(TYPE, node.settings()).check_accessible()
    assert (node.site.tokens_issued, len(node.logins())) == (2, 2)
    node.check()
    node.check(**OPEN_PLAN)
    # As an endpoint of a user's may on purpose, it refuses the token.
    node.site.expire_tokens()
    node.check()
    assert ([*node.tokens.iterdir()], path.read_bytes()) == ([path], content)


def test_clean_up_of_quantum_jobs_shares_tokens(node: Node) -> None:
    values = dict(zip(names.SITE_VARIABLES, arguments(node.base_url), strict=True))
    for _ in range(2):
        with opened(real, cache=node.cache) as network:
            jobs = network.services(Deadline(PATIENCE_SECONDS), {}).quantum_jobs(values)
            assert (jobs.remove("none"), jobs.job_ids()) == (False, frozenset())
    assert node.site.tokens_issued == 1


def test_process_that_tells_nonsense_puts_no_token_there(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    for told in (
        ("0" * 64, "planted", "100"),
        ("KEY", "a\nb", "100"),
        ("KEY", "x" * (LONGEST_TOKEN + 1), "100"),
        ("KEY", "planted", "-1"),
        ("KEY", "planted", "1e3"),
        ("KEY", "planted"),
    ):
        assert refusal_after(node, told) == NONSENSE, told
        assert list(node.tokens.iterdir()) == [], told
    monkeypatch.setattr(tokens, "_MOST_NEW_TOKENS", 2)
    assert refusal_after(node, *[("KEY", "planted", "100")] * 3) == NONSENSE


def refusal_after(node: Node, *told: tuple[str, ...]) -> str | None:
    """Let a process tell this of a token that it was to fetch; return what becomes of the call."""
    heard: list[list[str]] = []

    def answer(_: list[str]) -> list[bytes]:
        [key] = [frame[3] for frame in heard if frame[0] == Order.LOGIN.value]
        of_login = [[key if field == "KEY" else field for field in each] for each in told]
        return [encode_frame(Report.TOKEN, *fields) for fields in of_login]

    with node.client(answering_calls(answer, heard, ends=True)) as client:
        return refusal_of(ServiceError, client.check_accessible)


def test_process_that_hangs_while_it_fetches_a_token_has_opened_no_session(node: Node) -> None:
    with node.client(HANGING, seconds=0.1) as client, pytest.raises(ServiceError) as caught:
        client.acquire()
    assert (str(caught.value), caught.value.may_have_acted) == (SILENT, False)
    assert list(node.tokens.iterdir()) == []
