# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker's answers to spank_ibm_qrun.so, with the simulated service behind the clean-up."""

import json
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from spank_qrmi.clients import qrun_variables as names
from spank_qrmi.clients import retry
from spank_qrmi.deadline import Deadline
from spank_qrmi.job import qrun as qrun_verbs
from spank_qrmi.protocol import Request, Verb
from spank_qrmi_simulator.faults import parse_fault
from spank_qrmi_simulator.jobs import Job
from spank_qrmi_simulator.site import API_KEY, APP_ID_CLIENT_ID, APP_ID_SECRET, SERVICE_CRN, Site
from tests.unit.conversation import SeenAnswer, ServingWorker
from tests.unit.trust.test_files import NOBODY, give_away, needs_root

S3 = ("key-id-of-the-site", "key-secret-of-the-site", "http://127.0.0.1:9", "test", "us-east-1")


def arguments(base_url: str) -> tuple[str, ...]:
    return (APP_ID_CLIENT_ID, APP_ID_SECRET, f"{base_url}/direct-access", *S3)


def iam_arguments(base_url: str) -> tuple[str, ...]:
    return (
        *("unused", "unused", f"{base_url}/direct-access", *S3),
        *(f"--iam-apikey={API_KEY}", f"--service-crn={SERVICE_CRN}"),
        f"--iam-endpoint={base_url}/iam",
    )


ENVIRONMENT = Request(
    Verb.QRUN_ENVIRONMENT, 7, 0, 0, 1000, 10, arguments=arguments("http://127.0.0.1:9")
)
SITE = dict(zip(names.SITE_VARIABLES, ENVIRONMENT.arguments, strict=True))


def test_variables_of_a_job(serving: ServingWorker) -> None:
    for backend, primitive, minutes, expected in (
        ("", "", 5, {}),
        ("a b=c", "x", 5, {"BACKEND": "a b=c", "PRIMITIVE": "x", "TIMEOUT_SECONDS": "300"}),
        ("ibm_x", "", None, {"BACKEND": "ibm_x", "TIMEOUT_SECONDS": "604800"}),
        ("", "estimator", 10081, {"PRIMITIVE": "estimator", "TIMEOUT_SECONDS": "604800"}),
    ):
        options = {"q_backend": backend or None, "q_primitive": primitive or None}
        answer = serving.ask(replace(ENVIRONMENT, time_limit_minutes=minutes, **options))
        of_job = {f"IBMQRUN_{name}": value for name, value in expected.items()}
        outcome = (dict(answer.variables), answer.messages, answer.held, answer.verdict)
        assert outcome == ({**SITE, **of_job}, [], 0, "run"), (options, minutes)


def without_secrets(answer: SeenAnswer) -> SeenAnswer:
    """Claim that nothing readable in an answer is a secret."""
    secrets = (APP_ID_SECRET, API_KEY, SERVICE_CRN, *S3[:2])
    assert [secret for secret in secrets if secret in answer.everything_readable] == []
    return answer


def environment(serving: ServingWorker, *given: str) -> SeenAnswer:
    return without_secrets(serving.ask(replace(ENVIRONMENT, arguments=given)))


def test_variables_of_iam_and_of_the_administrator(serving: ServingWorker, tmp_path: Path) -> None:
    path = tmp_path / "proxies"
    path.touch(mode=0o600)
    path.write_text("https_proxy=http://proxy:1\n")
    given = (*iam_arguments("http://x"), "--env:A=1", f"--env-file={path}")
    variables = dict(environment(serving, *given).variables)
    assert (variables["https_proxy"], variables["A"]) == ("http://proxy:1", "1")
    assert (variables[names.IAM_APIKEY], variables[names.SERVICE_CRN]) == (API_KEY, SERVICE_CRN)
    assert variables[names.IAM_ENDPOINT] == "http://x/iam"
    assert len(variables) == 13


def credentials_file(folder: Path, base_url: str) -> Path:
    values = dict(zip(names.SITE_VARIABLES, arguments(base_url), strict=True))
    entries = {name.removeprefix("IBMQRUN_"): value for name, value in values.items()}
    path = folder / "credentials.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(entries))
    return path


def test_credentials_as_arguments_are_warned_about_or_refused(serving: ServingWorker) -> None:
    text = "plugstack.conf holds credentials, and all users' commands read it: move them to a file"
    [warning] = serving.ask(ENVIRONMENT).logged("i")
    assert warning.startswith(f"warning: {text}")
    answer = environment(serving, *ENVIRONMENT.arguments, "--strict-permissions")
    [message] = answer.messages
    assert message.startswith(f"--q-backend: {text}")
    assert (answer.verdict, answer.variables) == ("fail", [])


@needs_root
def test_credentials_in_a_file_are_as_strict_as_can_be(
    serving: ServingWorker, tmp_path: Path
) -> None:
    path = credentials_file(tmp_path, "http://127.0.0.1:9")
    answer = environment(serving, f"--credentials={path}", "--strict-permissions")
    assert (answer.verdict, answer.logged("i")) == ("run", [])
    assert dict(answer.variables) == SITE
    give_away(tmp_path)
    [message] = environment(serving, f"--credentials={path}", "--strict-permissions").messages
    assert message.startswith(f"--q-backend: {path}: {tmp_path} belongs to user {NOBODY}")


def test_settings_that_cannot_be_used_are_a_refusal(serving: ServingWorker, tmp_path: Path) -> None:
    for given, expected in (
        ((), "8 arguments are needed in this order, got 0"),
        ((f"--credentials={tmp_path}/none",), f"{tmp_path}/none: cannot be read"),
        (
            (*ENVIRONMENT.arguments, "--env:SSL_CERT_FILE=/nowhere"),
            "--env:SSL_CERT_FILE: /nowhere: cannot be read",
        ),
    ):
        answer = environment(serving, *given)
        assert answer.messages[0].startswith(f"--q-backend: {expected}")
        assert answer.messages[0].endswith("; spank-qrmi check, as root on this node, says more")
        assert (answer.variables, answer.verdict, len(answer.messages)) == ([], "fail", 1)


@dataclass(frozen=True)
class Service:
    """The service, what is behind it, and the worker that cleans up there."""

    site: Site
    base_url: str
    serving: ServingWorker

    def clean_up(
        self,
        *job_ids: str,
        given: tuple[str, ...] | None = None,
        killed: Sequence[str] = (),
        seconds: int = 60,
    ) -> SeenAnswer:
        given = arguments(self.base_url) if given is None else given
        request = Request(Verb.QRUN_CLEANUP, 7, 0, 0, 1000, seconds, arguments=given)
        request = replace(request, quantum_jobs=job_ids, killed_quantum_jobs=tuple(killed))
        return without_secrets(self.serving.ask(request))

    def assert_removed(self, answer: SeenAnswer, *job_ids: str) -> None:
        """Claim that these jobs were removed, and nothing else is told or left."""
        assert (answer.messages, answer.held, answer.verdict) == ([], 0, "run")
        assert removed(answer) == list(job_ids)
        assert self.jobs == []

    def submit(self, job_id: str | None = None) -> str:
        """Let the service have a job that keeps running; return its id."""
        job_id = job_id or str(uuid.uuid4())
        order = {"id": job_id, "storage": {}}
        self.site.direct_access_jobs[job_id] = Job(job_id, time.time(), "Running", params=order)
        return job_id

    def order_fault(self, **fault: object) -> None:
        self.site.faults.add(parse_fault({"path": "/direct-access/v1/jobs/", **fault}))

    @property
    def jobs(self) -> list[str]:
        return list(self.site.direct_access_jobs)


@pytest.fixture
def service(
    site: Site, base_url: str, serving: ServingWorker, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Service]:
    monkeypatch.setattr(retry, "DELAYS_SECONDS", (0.02,) * 4)
    site.reset()
    yield Service(site, base_url, serving)
    site.reset()


def new_ids(count: int) -> list[str]:
    return [str(uuid.uuid4()) for _ in range(count)]


def removed(answer: SeenAnswer) -> list[str]:
    """Return the ids of the jobs that the answer says were removed."""
    text = re.compile("quantum job (.*) was left on the service and is removed")
    return [match[1] for line in answer.logged("i") if (match := text.fullmatch(line))]


def test_what_is_left_is_removed_and_others_stay(service: Service, tmp_path: Path) -> None:
    for login in (
        arguments(service.base_url),
        iam_arguments(service.base_url),
        (f"--credentials={credentials_file(tmp_path, service.base_url)}",),
    ):
        first, of_others, second = (service.submit() for _ in range(3))
        answer = service.clean_up(first, *new_ids(1), second, given=login)
        assert (answer.messages, answer.held, answer.verdict) == ([], 0, "run"), login
        assert (removed(answer), service.jobs) == ([first, second], [of_others]), login
        service.clean_up(of_others)


@pytest.mark.parametrize("gone_count", [0, 8])
def test_job_of_a_killed_task_is_waited_for(
    service: Service, monkeypatch: pytest.MonkeyPatch, gone_count: int
) -> None:
    first, [late] = service.submit(), new_ids(1)

    def arrive(last_arrival: Deadline, seconds: float) -> bool:
        service.submit(late)
        return seconds < last_arrival.remaining_seconds()

    monkeypatch.setattr(qrun_verbs, "LATE_SUBMISSION_SECONDS", 60)
    monkeypatch.setattr(Deadline, "wait", arrive)
    answer = service.clean_up(*new_ids(gone_count), first, killed=[late])
    service.assert_removed(answer, first, late)


def test_many_are_looked_for_in_one_go_or_one_by_one_without_a_list(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qrun_verbs, "LATE_SUBMISSION_SECONDS", 0.2)
    job_ids, gone, killed = [service.submit() for _ in range(5)], new_ids(40), new_ids(30)
    service.assert_removed(service.clean_up(*gone, *job_ids, killed=killed), *job_ids)
    # For those that are gone or never came the service was not asked.
    nowhere = (*gone, *killed)
    assert not any(record.path.endswith(nowhere) for record in service.site.requests)
    service.order_fault(kind="status", status=501, path="/v1/jobs$", method="GET", times=None)
    job_id = service.submit()
    service.assert_removed(service.clean_up(*gone, job_id), job_id)


def test_trouble_that_passes_is_overcome(service: Service) -> None:
    job_id = service.submit()
    for method in ("GET", "POST", "DELETE"):
        service.order_fault(kind="status", status=500, method=method, times=1)
    service.assert_removed(service.clean_up(job_id), job_id)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [({"kind": "status", "status": 500}, "answered 500"), ({"kind": "hang"}, "")],
)
def test_trouble_that_stays_is_told_for_each_job(
    service: Service, fault: dict[str, object], reason: str
) -> None:
    job_ids = [service.submit() for _ in range(2)]
    service.order_fault(times=None, **fault)
    answer = service.clean_up(*job_ids, seconds=3)
    for job_id, message in zip(job_ids, answer.messages, strict=True):
        assert message.startswith(f"quantum job {job_id} may still be on the service: ")
        assert reason in message
    assert (answer.held, answer.verdict, removed(answer)) == (2, "run", [])
    assert service.jobs == job_ids


def test_job_is_named_if_the_settings_cannot_be_used(service: Service) -> None:
    good = arguments(service.base_url)
    for given, reason in (
        ((), "8 arguments are needed"),
        (("--credentials=/does/not/exist",), "/does/not/exist: cannot be read"),
        (arguments("nonsense"), "IBMQRUN_DAAPI_ENDPOINT must be a URL"),
        (("wrong", *good[1:]), ""),
        # The message names the URL.
        (arguments(f"{service.base_url}/{APP_ID_SECRET}"), ""),
        # The administrator's proxy is for the clean-up too.
        ((*good, "--env:http_proxy=http://127.0.0.1:9", "--env:no_proxy="), ""),
    ):
        answer = service.clean_up("an-id", given=given)
        outcome = (len(answer.messages), answer.held, answer.verdict)
        assert outcome == (1, 1, "run"), given
        text = f"quantum job an-id may still be on the service: {reason}"
        assert answer.messages[0].startswith(text), given
