# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated site's state, without HTTP: tokens, sessions, faults, the written config."""

import stat
from pathlib import Path

import orjson
import pytest

from spank_qrmi_simulator import retention
from spank_qrmi_simulator.faults import FaultError, FaultQueue, parse_fault
from spank_qrmi_simulator.qrmi_config import site_config, write_config
from spank_qrmi_simulator.site import API_KEY, SERVICE_CRN, Account, Site


class Clock:
    def __init__(self) -> None:
        self.seconds = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def site(clock: Clock) -> Site:
    return Site(clock)


@pytest.fixture
def account(site: Site) -> Account:
    return site.accounts[0]


def test_token_is_valid_until_it_expires(site: Site, account: Account, clock: Clock) -> None:
    text, token = site.issue_token(account)
    assert token.expires_at == clock.seconds + 3600
    clock.seconds = token.expires_at - 1
    assert site.token(text) is token
    assert token.account is account
    clock.seconds = token.expires_at
    assert site.token(text) is None


def test_expired_tokens_are_forgotten_when_one_is_issued(
    site: Site, account: Account, clock: Clock
) -> None:
    first, token = site.issue_token(account)
    clock.seconds = token.expires_at
    second, token = site.issue_token(account)
    assert (site.token(first), site.token(second)) == (None, token)
    assert site.tokens_issued == 2


def test_reset_keeps_tokens_and_forgets_the_rest(site: Site, account: Account) -> None:
    text, token = site.issue_token(account)
    site.open_session(account, "ibm_brisbane", "batch", 60)
    site.devices["FRESNEL"].status = "DOWN"
    site.faults.add(parse_fault({"kind": "drop", "path": "/"}))
    site.reset()
    assert site.token(text) is token
    assert (site.tokens_issued, site.sessions(), site.faults.documents()) == (0, [], [])
    assert site.devices["FRESNEL"].status == "UP"


def test_session_expires_at_its_max_ttl(site: Site, account: Account, clock: Clock) -> None:
    session = site.open_session(account, "ibm_brisbane", "dedicated", 60)
    job = site.add_job(session, "Queued")
    clock.seconds += 60
    assert site.session(session.session_id) is session
    assert (session.state(), session.closed_how) == ("closed", "expired")
    assert session.closed_at == session.created_at + 60
    assert job.status == "Cancelled"


def test_active_time_runs_from_the_first_running_job_to_the_end(
    site: Site, account: Account, clock: Clock
) -> None:
    session = site.open_session(account, "ibm_brisbane", "dedicated", 600)
    clock.seconds += 100
    assert session.active_ttl_seconds(clock.seconds) == 600
    assert session.used_seconds(clock.seconds) == 0
    site.add_job(session, "Running")
    assert session.state() == "active"
    clock.seconds += 50
    assert session.active_ttl_seconds(clock.seconds) == 550
    session.cancel(clock.seconds)
    clock.seconds += 1000
    assert session.active_ttl_seconds(clock.seconds) == 550
    assert session.used_seconds(clock.seconds) == 50


def test_session_drains_when_its_last_job_completes(site: Site, account: Account) -> None:
    session = site.open_session(account, "ibm_brisbane", "batch", 600)
    job = site.add_job(session, "Queued")
    session.set_accepting_jobs(False, site.now())
    assert (session.state(), session.accepting_jobs) == ("open", False)
    session.complete_jobs(site.now())
    assert (session.closed_how, job.status) == ("drained", "Completed")


def test_completing_jobs_leaves_an_accepting_session_open(site: Site, account: Account) -> None:
    session = site.open_session(account, "ibm_brisbane", "batch", 600)
    session.complete_jobs(site.now())
    assert session.state() == "open"


def test_cancel_lets_a_running_job_finish_and_happens_once(
    site: Site, account: Account, clock: Clock
) -> None:
    session = site.open_session(account, "ibm_brisbane", "batch", 600)
    running, queued = site.add_job(session, "Running"), site.add_job(session, "Queued")
    session.cancel(clock.seconds)
    clock.seconds += 5
    session.cancel(clock.seconds)
    assert session.closed_at == clock.seconds - 5
    assert (running.status, queued.status) == ("Completed", "Cancelled")


def test_oldest_closed_sessions_and_ended_jobs_are_forgotten(
    site: Site, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "REMEMBERED", 2)
    open_one = site.open_session(account, "ibm_sherbrooke", "batch", 600)
    jobs = [site.add_job(open_one, "Queued") for _ in range(3)]
    for job in jobs:
        job.cancel(site.now())
    waiting = site.add_job(open_one, "Queued")
    assert list(site.runtime_jobs.values()) == open_one.jobs == [*jobs[1:], waiting]
    closed = [site.open_session(account, "ibm_sherbrooke", "batch", 600) for _ in range(3)]
    for session in closed:
        session.cancel(site.now())
    newest = site.open_session(account, "ibm_sherbrooke", "batch", 600)
    assert site.sessions() == [open_one, *closed[1:], newest]


def test_faults_strike_in_order_and_as_often_as_ordered() -> None:
    queue = FaultQueue()
    queue.add(parse_fault({"kind": "status", "status": 503, "path": "^/a", "times": 2}))
    queue.add(parse_fault({"kind": "drop", "path": "/a", "method": "GET", "times": None}))
    struck = [queue.take("GET", "/a/b") for _ in range(4)]
    assert [fault.kind for fault in struck if fault] == ["status", "status", "drop", "drop"]
    assert queue.take("POST", "/a/b") is None
    assert queue.take("GET", "/b") is None
    queue.clear()
    assert queue.documents() == []


NONSENSE_ORDERS: list[tuple[dict[str, object], str]] = [
    ({}, "kind must be one of"),
    ({"kind": ["drop"], "path": "/"}, "kind must be one of"),
    ({"kind": "drop"}, "path must be"),
    ({"kind": "drop", "path": 5}, "path must be"),
    ({"kind": "drop", "path": "("}, "no regular expression"),
    ({"kind": "drop", "path": "/", "status": 500}, "status means nothing to drop"),
    ({"kind": "drop", "path": "/", "method": "get"}, "method must be one of"),
    ({"kind": "drop", "path": "/", "times": 0}, "times must be"),
    ({"kind": "drop", "path": "/", "times": True}, "times must be"),
    ({"kind": "drop", "path": "/", "when": "during"}, "when must be one of"),
    ({"kind": "status", "path": "/"}, "status is missing"),
    ({"kind": "status", "path": "/", "status": 199}, "status must be"),
    ({"kind": "status", "path": "/", "status": 302}, "kind redirect"),
    ({"kind": "status", "path": "/", "status": 429, "retry_after": []}, "retry_after"),
    ({"kind": "status", "path": "/", "status": 429, "retry_after": "1\r\n"}, "retry_after"),
    ({"kind": "delay", "path": "/"}, "delay_seconds is missing"),
    ({"kind": "delay", "path": "/", "delay_seconds": "1"}, "delay_seconds must be a number"),
    ({"kind": "delay", "path": "/", "delay_seconds": -1}, "between 0 and 3600"),
    ({"kind": "redirect", "path": "/"}, "location is missing"),
    ({"kind": "redirect", "path": "/", "location": "\n"}, "location must be printable"),
    ({"kind": "redirect", "path": "/", "location": "/", "status": 304}, "of a redirect"),
    ({"kind": "oversized", "path": "/", "size_bytes": 0}, "size_bytes must be"),
]


def complaint_about(order: dict[str, object]) -> str:
    """Return why an order is refused, nothing if it is not."""
    try:
        parse_fault(order)
    except FaultError as error:
        return str(error)
    return ""


def test_nonsense_orders_are_refused() -> None:
    for order, complaint in NONSENSE_ORDERS:
        assert complaint in complaint_about(order), order


def test_null_in_optional_keys_means_absent() -> None:
    order = {"kind": "status", "path": "/", "status": 503, "method": None, "retry_after": None}
    fault = parse_fault(order)
    assert (fault.method, fault.retry_after, fault.times) == (None, None, 1)


def test_config_names_everything_the_site_offers() -> None:
    resources = site_config("http://127.0.0.1:1")["resources"]
    assert isinstance(resources, list)
    names: dict[str, list[str]] = {}
    for each in resources:
        names.setdefault(each["type"], []).append(each["name"])
    assert names == {
        "direct-access": [
            "ibm_torino",
            "ibm_quebec",
            "ibm_paused",
            "ibm_offline",
            "test_heron",
        ],
        "qiskit-runtime-service": ["ibm_sherbrooke", "ibm_brisbane", "ibm_maintenance"],
        "pasqal-cloud": ["FRESNEL", "EMU_FREE", "FRESNEL_CAN1"],
        "ibm-quantum-system": ["ibm_kingston", "test_eagle"],
        "ibm-quantum-compute-service": ["ibm_marrakesh"],
        "iqm-server": ["garnet_mock", "emerald"],
        "alice-bob-felis": ["ab_emu_40q_physical_cats", "ab_qpu_1q_off"],
        "oqtopus": ["anemone", "urchin"],
        "pasqal-local": ["ORION", "VEGA"],
    }
    assert len({each["name"] for each in resources}) == len(resources)
    runtime = next(one for one in resources if one["name"] == "ibm_brisbane")
    assert runtime["environment"] == {
        "QRMI_IBM_QRS_ENDPOINT": "http://127.0.0.1:1/runtime/api/v1",
        "QRMI_IBM_QRS_IAM_ENDPOINT": "http://127.0.0.1:1/iam",
        "QRMI_IBM_QRS_IAM_APIKEY": API_KEY,
        "QRMI_IBM_QRS_SERVICE_CRN": SERVICE_CRN,
    }


def test_config_replaces_a_file_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "qrmi_config.json"
    path.write_text("old")
    path.chmod(0o644)
    write_config(path, {"resources": []})
    assert orjson.loads(path.read_bytes()) == {"resources": []}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_config_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to("target.json")
    write_config(tmp_path / "link.json", {"resources": []})
    assert (tmp_path / "link.json").is_symlink()
    assert "resources" in (tmp_path / "target.json").read_text()


def test_config_that_cannot_be_put_in_place_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="No space left"):
        write_config(tmp_path / "c.json", {"resources": []})
    assert list(tmp_path.iterdir()) == []
