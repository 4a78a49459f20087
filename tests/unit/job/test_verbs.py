# SPDX-License-Identifier: GPL-3.0-or-later
"""What the worker answers to each verb, with a vendor that does as told."""

import logging
import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from spank_qrmi.clients import CLIENTS
from spank_qrmi.errors import (
    AcquisitionError,
    JournalError,
    LimitError,
    ReleaseError,
    ServiceError,
    UnavailableError,
)
from spank_qrmi.job.environment import RESOURCE_LISTS, TYPE_LISTS
from spank_qrmi.job.release import UNCHANGED_SECONDS
from spank_qrmi.protocol import Verb
from spank_qrmi.redaction import Redactor
from spank_qrmi.state import quota
from spank_qrmi.state.journal import Journal
from spank_qrmi.state.owner import owner_of
from tests.unit.conversation import SeenAnswer
from tests.unit.fake_vendor import LONGEST_TASK_SECONDS, TYPE
from tests.unit.job.job_node import GONE, NOW, SITE_KEY, Node, entry_of
from tests.unit.local_network import LocalNetwork

USER_KEY = "key-of-the-user"
FILE_KEY = "key-in-a-file-of-its-own"
PLAIN_VALUE = "value-in-a-file-of-its-own"
GOES_ON = "; the job goes on without it"
COMMON = [("QRMI_JOB_ID", "7"), ("QRMI_JOB_UID", "1000")]
STRICT = "; --strict-permissions refuses it"
MINE = (("a_QRMI_KEY", USER_KEY), ("a_QRMI_ENDPOINT", "https://mine"))
UNKNOWN_LICENSES = "Slurm does not tell which licences the job holds: submit it again"
NOT_ACCESSIBLE = AcquisitionError("not accessible")
SHARED = (
    *(("QRMI_JOB_QPU_RESOURCES", "y,y,z"), ("SLURM_JOB_QPU_RESOURCES", "y,z")),
    *(("QRMI_JOB_QPU_TYPES", "one,two,\udcff"), ("SLURM_JOB_QPU_TYPES", "one,\udcff")),
)
NOT_HERE = (
    "only the first node of this step acquires it; the tasks on this node go without. What sbatch "
    "or salloc acquires for the whole job is on all of its nodes"
)


def told(result: str, name: str, *, whose: str = "the site's", job_id: int = 7) -> str:
    """Return a line of the log as `happened` gives it."""
    return f"{result} name({name}) for job {job_id} of user 1000 at {whose} endpoint"


def happened(answer: SeenAnswer, level: str = "i") -> list[str]:
    """Return what was logged of acquisitions and releases, without the seconds, sorted."""
    pattern = r"((?:acquired|refused|released|kept) .*) in \d+\.\d s(.*)"
    found = [re.fullmatch(pattern, line) for line in answer.logged(level)]
    return sorted(f"{line[1]}{line[2]}" for line in found if line is not None)


def warnings(answer: SeenAnswer) -> list[str]:
    return [line for line in answer.logged("i") if line.startswith("warning: ")]


def lists(names: str) -> list[tuple[str, str]]:
    types = ",".join(TYPE for name in names.split(",") if name)
    return [(name, names) for name in RESOURCE_LISTS] + [(name, types) for name in TYPE_LISTS]


def of_resource(name: str) -> list[tuple[str, str]]:
    return [
        (f"{name}_QRMI_KEY", SITE_KEY),
        (f"{name}_QRMI_ENDPOINT", "https://site"),
        (f"{name}_QRMI_JOB_ACQUISITION_TOKEN", f"token-{name}"),
        (f"{name}_QRMI_JOB_TIMEOUT_SECONDS", str(LONGEST_TASK_SECONDS)),
    ]


def test_what_a_step_acquires_is_described_and_given_back_at_its_end(node: Node) -> None:
    node.acquire("c", step_id=0)
    answer = node.acquire("b,a")
    assert answer.variables == [*COMMON, *lists("b,a"), *of_resource("b"), *of_resource("a")]
    assert (answer.messages, answer.held, answer.verdict) == ([], 2, "run")
    # A restarted job does not touch its former life.
    node.release(restart_count=1)
    assert (node.vendor.events_of("release"), node.journal_files()) == (set(), 3)
    answer = node.release()
    assert (answer.messages, answer.variables, answer.held, answer.verdict) == ([], [], 0, "run")
    assert node.vendor.events_of("release") == {"token-a", "token-b"}
    assert happened(answer) == [told("released", "a"), told("released", "b")]
    assert (len(answer.logged("i")), node.journal_files()) == (2, 1)


def test_log_tells_what_was_found_and_hides_secrets(node: Node) -> None:
    answer = node.acquire("a", f"--env:PROXY_PASSWORD={SITE_KEY}")
    assert answer.logged("d") == [
        f"argv[0] = [{node.config_path}]",
        f"argv[1] = [--state-dir={node.state_directory}]",
        "argv[2] = [--env:PROXY_PASSWORD=****]",
        f"name(a), type({list(CLIENTS).index(TYPE)}) found in qrmi_config",
        "name(a), QRMI_KEY=****",
        "name(a), QRMI_ENDPOINT=https://site",
        "name(a): accessible: nothing more is told",
    ]
    [warning] = warnings(answer)
    in_plugstack = "a secret in plugstack.conf, which all users' commands read: "
    assert warning.startswith(f"warning: --env:PROXY_PASSWORD: {in_plugstack}")
    assert happened(answer) == [told("acquired", "a")]
    assert (len(answer.logged("i")), answer.logged("e")) == (2, [])


def test_job_goes_on_with_what_it_got_and_reads_one_reason_of_several_once(node: Node) -> None:
    node.vendor.orders = {"check b": NOT_ACCESSIBLE, "check c": NOT_ACCESSIBLE}
    answer = node.acquire("a,b,c")
    assert answer.messages == ["QPU b, c: not accessible; the job goes on without them"]
    assert answer.variables == [*COMMON, *lists("a"), *of_resource("a")]
    assert (answer.held, answer.verdict) == (1, "run")
    refused = [f"{told('refused', name)}: not accessible" for name in "bc"]
    assert happened(answer) == [told("acquired", "a"), *refused]
    assert len(answer.logged("i")) == 3


def advice(*names: str) -> str:
    return f"; {' '.join(['spank-qrmi check', *names])}, as root on this node, says more"


def test_job_without_any_qpu(node: Node) -> None:
    node.vendor.orders = {"check a": NOT_ACCESSIBLE, "acquire b": ServiceError("no answer")}
    for options, conclusion in (
        ((), "no QPU could be acquired; the job does not start"),
        (("--on-failure=continue",), "no QPU could be acquired; the job goes on without"),
        (("--require=all",), "not every QPU could be acquired; the job does not start"),
    ):
        answer = node.acquire(" a,b,a,", *options)
        assert answer.messages == [
            "QPU a: not accessible",
            "QPU b: no answer",
            f"--qpu=a,b: {conclusion}{advice('a', 'b')}",
        ]
        assert answer.variables == [*COMMON, *lists("")], conclusion
        assert (answer.held, answer.verdict) == (0, "fail"), conclusion


def test_check_is_not_named_where_it_says_no_more(node: Node) -> None:
    for error, variables in (
        (UnavailableError("not accessible: paused"), ()),
        (LimitError("you hold as many as a user may"), ()),
        (ServiceError("no answer"), MINE[:1]),
    ):
        node.vendor.orders = {"acquire a": error}
        *_, conclusion = node.acquire("a,nowhere", variables=variables).messages
        assert conclusion.endswith("the job does not start"), error


def test_all_or_nothing_gives_back_what_it_got(node: Node) -> None:
    node.vendor.brought = {"c"}
    node.vendor.orders = {"acquire b": AcquisitionError("refused")}
    answer = node.acquire("a,b,c", "--require=all")
    conclusion = "--qpu=a,b,c: not every QPU could be acquired; the job does not start"
    assert answer.messages == ["QPU b: refused", f"{conclusion}{advice('b')}"]
    assert (answer.variables, answer.held) == ([*COMMON, *lists("")], 0)
    assert answer.verdict == "fail"
    assert node.vendor.events_of("release") == {"token-a"}
    assert node.ends() == [(name, "released", "acquisition") for name in "ac"]
    node.vendor.events.clear()
    # A name that nobody knows counts too.
    answer = node.acquire("a,x", "--require=all")
    assert (answer.verdict, node.vendor.events_of("release")) == ("fail", {"token-a"})
    # What cannot be given back is released later.
    node.vendor.orders["release token-a"] = ReleaseError("may still be open")
    answer = node.acquire("a,b", "--require=all")
    assert (answer.held, answer.verdict, answer.logged("e")) == (1, "fail", [])
    kept, refused = f"{told('kept', 'a')}: may still be open", f"{told('refused', 'b')}: refused"
    assert happened(answer) == [told("acquired", "a"), kept, refused]
    node.vendor.orders = {}
    assert (node.release().held, node.journal_files()) == (0, 0)


def test_qpu_that_a_job_may_not_use_is_refused_before_anything_is_asked(node: Node) -> None:
    for_group = {"name": "a", "groups": ["5000"], "environment": {"QRMI_KEY": SITE_KEY}}
    node.write_config(for_group, {"name": "b", "accounts": ["physics"]})
    reason = "only for group 5000: ask the administrator"
    answer = node.acquire("a,b", gids=(1000,), account="physics")
    assert answer.messages == [f"QPU a: {reason}{GOES_ON}"]
    assert node.vendor.events_of("check") == node.vendor.events_of("acquire") == {"b"}
    assert ("a_QRMI_KEY", SITE_KEY) not in answer.variables
    [line] = [line for line in answer.logged("i") if line.startswith("refused")]
    assert line == f"refused name(a) for job 7 of user 1000: {reason}"
    assert node.acquire("a", gids=(1000, 5000)).verdict == "run"
    node.vendor.events.clear()
    answer = node.acquire("b", account="chemistry")
    reason, conclusion = answer.messages
    assert reason.startswith("QPU b: only for account physics; this job has account chemistry: ")
    # Of the account, spank-qrmi check says no more.
    assert conclusion.endswith("the job does not start")
    assert node.vendor.events == []


A_LICENSE = "the job does not hold a licence for it: submit it with --licenses=qpu_a, or ask the"


def test_qpu_without_its_licence_is_warned_about_or_refused(node: Node) -> None:
    warn, require = "--license-check=warn", "--license-check=require"
    answer = node.acquire("a,b", warn, licenses="qpu_b:1")
    assert answer.messages == [f"QPU a: warning: {A_LICENSE} administrator"]
    assert warnings(answer) == [f"warning: name(a) for job 7: {A_LICENSE} administrator"]
    assert node.vendor.events_of("acquire") == {"a", "b"}
    assert node.acquire("a", warn, licenses="qpu_a@dbd:2,x").messages == []
    assert node.acquire("a", warn).messages == [f"QPU a: warning: {UNKNOWN_LICENSES}"]
    assert node.acquire("a", licenses="").messages == []
    node.vendor.events.clear()
    answer = node.acquire("a,b,c", require, licenses="qpu_a|qpu_b")
    assert answer.messages[0] == (
        "QPU a, b, c: the job does not hold a licence for each: submit it with "
        "--licenses=qpu_a,qpu_b,qpu_c, or ask the administrator"
    )
    assert answer.verdict == "fail"
    assert node.acquire("a", require).messages[0] == f"QPU a: {UNKNOWN_LICENSES}"
    assert node.vendor.events == []
    answer = node.acquire("a,b", require, licenses="qpu_b,qpu_a:0")
    assert answer.messages == [f"QPU a: {A_LICENSE} administrator{GOES_ON}"]
    assert node.vendor.events_of("acquire") == node.vendor.events_of("check") == {"b"}


def test_many_missing_licences_take_one_line_of_whole_names(node: Node) -> None:
    names = [f"{number:03}{'n' * 125}" for number in range(256)]
    node.write_config(*({"name": name} for name in names))
    answer = node.acquire(",".join(names), "--license-check=require", licenses="")
    [message, _] = answer.messages
    licenses = ",".join(f"qpu_{name}" for name in names[:8])
    assert message.endswith(f"--licenses={licenses} and 248 more, or ask the administrator")


def test_user_gets_no_more_than_the_site_allows(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CLIENTS[TYPE], "lowered_by_users", ("QRMI_MODE",))
    node.write_config({"name": "a", "environment": {"QRMI_MODE": "2"}})
    refusal = "QPU a: a_QRMI_MODE is more than the site allows (2): lower it"
    assert node.acquire("a", variables=(("a_QRMI_MODE", "3"),)).messages[0] == refusal
    assert node.acquire("a", variables=(("a_QRMI_MODE", "1"),)).messages == []


def test_site_may_forbid_endpoints_of_users(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = "QPU a: a_QRMI_ENDPOINT is set by the site alone: unset it"
    allow, deny = "--user-endpoints=allow", "--user-endpoints=deny"
    assert node.acquire("a", allow, variables=MINE).messages == []
    assert node.acquire("a", deny, variables=MINE[:1]).messages == []
    node.vendor.events.clear()
    assert node.acquire("a", deny, variables=MINE).messages[0] == refusal
    # Root's credential goes to the site's alone.
    monkeypatch.setattr(CLIENTS[TYPE], "munge_credentials", {"acquire": 1})
    assert node.acquire("a", allow, variables=MINE).messages[0] == refusal
    assert node.vendor.events == []


def test_user_holds_and_acquires_no_more_than_the_site_allows(node: Node) -> None:
    limit = "--most-held-per-user=2"
    answer = node.acquire("a,b,c", limit)
    [message] = answer.messages
    assert re.match("QPU [abc]: you hold as many sessions on this node as a user may", message)
    assert (answer.held, answer.verdict) == (2, "run")
    assert len(node.vendor.events_of("acquire")) == len(node.vendor.events_of("check")) == 2
    assert node.acquire("a", limit, job_id=8).verdict == "fail"
    # Of what the user brought, the service holds nothing.
    node.vendor.brought = {"b"}
    assert node.acquire("b", limit, job_id=8).verdict == "run"
    node.vendor.events.clear()
    limit = "--acquisitions-per-minute=1"
    assert node.acquire("b", limit, uid=1001).verdict == "run"
    [message, _] = node.acquire("a", limit, uid=1001).messages
    assert message.startswith("QPU a: you have acquired as many QPUs on this node within a minute ")
    assert node.vendor.events_of("check") == {"b"}
    assert node.acquire("a", limit, uid=1002).verdict == "run"


@pytest.mark.parametrize("shared", [(), SHARED])
def test_what_was_ended_meanwhile_keeps_nothing(
    node: Node, shared: tuple[tuple[str, str], ...]
) -> None:
    """A step does not go on with what it shares either."""
    node.vendor.orders = {"acquire a": node.end_job}
    answer = node.acquire("a,b", "--on-failure=continue", variables=shared)
    assert "the job was ended while its QPUs were acquired" in answer.messages
    assert answer.variables == [*COMMON, *(shared or lists(""))]
    assert (answer.held, answer.verdict) == (0, "fail")
    acquired = node.vendor.events_of("acquire")
    assert node.vendor.events_of("release") == {f"token-{name}" for name in acquired}


def test_bad_entry_is_logged_and_the_good_ones_are_used(node: Node) -> None:
    node.write_config({"name": "a"}, {"name": "b", "type": "unheard of"})
    [logged] = node.acquire("a").logged("e")
    assert logged.startswith(f'{node.config_path}: resource b: "type" must be one of ')
    answer = node.acquire("a,b")
    assert answer.messages == [f"QPU b: its definition cannot be used: {logged}{GOES_ON}"]
    assert (answer.logged("e"), answer.verdict) == ([], "run")


def test_many_names_that_nobody_knows_open_nothing_and_take_few_short_lines(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    for asking in ("open", "services"):
        monkeypatch.setattr(LocalNetwork, asking, None)
    names = [f"{number:03}{'x' * 245}" for number in range(256)]
    answer = node.acquire(",".join(names))
    first = [f"{number:03}{'x' * 36}…" for number in range(8)]
    reason = f"not defined in {node.config_path} on this node; defined there: a, b, c"
    shown = f"{', '.join(first)} and 248 more"
    conclusion = "no QPU could be acquired; the job does not start"
    assert answer.messages == [
        f"QPU {shown}: {reason}",
        f"--qpu={','.join(first)} and 248 more: {conclusion}",
    ]
    assert [line for line in answer.logged("i") if "refused" in line] == [
        f"refused name({shown}) for job 7 of user 1000: {reason}"
    ]
    assert answer.verdict == "fail"
    node.write_config()
    assert node.acquire("x").messages[0].endswith("; defined there: none")


def test_what_nothing_reads_is_named(node: Node) -> None:
    node.write_config({"name": "a", "is_dynamic": True, "environment": {"QRMI_KEYS": "x"}})
    assert warnings(node.acquire("a")) == [
        "warning: name(a): nothing reads QRMI_KEYS (is it QRMI_KEY?)",
        'warning: name(a): beside "environment" nothing reads is_dynamic',
    ]
    node.vendor.orders = {"make a": AcquisitionError("a_QRMI_KEY is not set: add it")}
    [reason, _] = node.acquire("a").messages
    text = "a_QRMI_KEY is not set: add it; nothing reads QRMI_KEYS (is it QRMI_KEY?)"
    assert reason == f"QPU a: {text}"


def test_secrets_that_others_can_read(node: Node) -> None:
    node.config_path.chmod(0o640)
    exposure = f"{node.config_path}: holds secrets that others than its owner can read: "
    exposure += f"chmod 600 {node.config_path}"
    answer = node.acquire("a")
    assert (answer.verdict, answer.messages) == ("run", [])
    assert warnings(answer) == [f"warning: {exposure}"]
    answer = node.acquire("a", "--strict-permissions")
    conclusion = f"--qpu=a: no QPU could be acquired; the job does not start{advice()}"
    assert answer.messages == [f"{exposure}{STRICT}", conclusion]
    assert (answer.verdict, answer.logged("i")) == ("fail", [])


def test_sites_variables_are_the_jobs_and_the_releases(node: Node, tmp_path: Path) -> None:
    """What was acquired by them is released by them, whatever becomes of their file."""
    path, before = tmp_path / "proxies", dict(os.environ)
    path.touch(mode=0o600)
    path.write_text("https_proxy=http://user:secret@proxy:1\n")
    argument = f"--env-file={path}"
    answer = node.acquire("a", "--env:EMPTY=", argument, "--strict-permissions")
    assert (answer.verdict, warnings(answer)) == ("run", [])
    sites = {"https_proxy": "http://user:secret@proxy:1", "EMPTY": ""}
    assert answer.variables[:2] == list(sites.items())
    assert node.entry().node_variables == sites
    assert dict(os.environ) == before
    path.unlink()
    assert (node.release(argument).messages, node.entries()) == ([], [])
    text = f"--env-file: {path}: cannot be read: No such file or directory"
    answer = node.acquire("a", argument)
    assert (answer.verdict, answer.messages) == ("fail", [f"--qpu: {text}{advice()}"])


@pytest.fixture
def key_path(node: Node, tmp_path: Path) -> Path:
    """Where the key of `a` is; an ordinary value of it is in a file of its own too."""
    texts = {"KEY": f"{FILE_KEY}\n", "PLAIN": PLAIN_VALUE}
    for name, text in texts.items():
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text(text)
    environment = {f"QRMI_{name}": {"file": str(tmp_path / name)} for name in texts}
    node.write_config({"name": "a", "environment": environment}, {"name": "b"})
    return tmp_path / "KEY"


def test_value_in_a_file_of_its_own_reaches_vendor_and_job_but_no_log_and_no_release_reads_it(
    node: Node, key_path: Path
) -> None:
    node.vendor.orders = {"acquire b": AcquisitionError(f"echoes {FILE_KEY} and {PLAIN_VALUE}")}
    answer = node.acquire("a,b")
    variables = dict(answer.variables)
    assert (variables["a_QRMI_KEY"], variables["a_QRMI_PLAIN"]) == (FILE_KEY, PLAIN_VALUE)
    assert "name(a), QRMI_PLAIN=****" in answer.logged("d")
    assert [each for each in (FILE_KEY, PLAIN_VALUE) if each in answer.everything_readable] == []
    assert "echoes **** and ****" in answer.everything_readable
    # Its release needs no file.
    key_path.unlink()

    def complain() -> None:
        logging.getLogger("spank_qrmi.clients").debug("asked with %s", PLAIN_VALUE)
        raise ReleaseError(f"unknown {PLAIN_VALUE}")

    node.vendor.orders = {"release token-a": complain}
    answer = node.release()
    assert answer.messages == ["QPU a: unknown ****"]
    assert "asked with ****" in answer.logged("d")
    assert PLAIN_VALUE not in repr(answer)
    assert node.entry().failure == "unknown ****"
    node.vendor.orders = {}
    assert (node.release().held, node.journal_files()) == (0, 0)


def test_secret_file_that_cannot_be_used_fails_its_own_qpu_alone(
    node: Node, key_path: Path
) -> None:
    place = f"{node.config_path}: resource a: environment.QRMI_KEY: {key_path}"
    refused = f"QPU a: its definition cannot be used: {place}"
    key_path.chmod(0o640)
    readable = f"holds secrets that others than its owner can read: chmod 600 {key_path}"
    answer = node.acquire("a")
    assert (answer.verdict, warnings(answer)) == ("run", [f"warning: {place}: {readable}"])
    answer = node.acquire("a,b", "--strict-permissions")
    assert answer.messages == [f"{refused}: {readable}{STRICT}{GOES_ON}"]
    key_path.unlink()
    assert node.acquire("b").messages == []
    answer = node.acquire("a,b")
    assert answer.messages == [f"{refused}: cannot be read: No such file or directory{GOES_ON}"]


def test_bad_argument_is_named(node: Node) -> None:
    correct = "correct the line of spank_qrmi.so in plugstack.conf"
    no_file = "/nowhere: cannot be read: No such file or directory"
    for option, problem in (
        ("--no", f"argument '--no' is not known: {correct}"),
        ("--env:SSL_CERT_FILE=/nowhere", f"--env:SSL_CERT_FILE: {no_file}"),
    ):
        for verb, expected in ((Verb.ACQUIRE, [*COMMON, *lists("")]), (Verb.RELEASE, [])):
            answer = node.ask(verb, option)
            outcome = (answer.messages, answer.logged("e"), answer.variables, answer.verdict)
            message = f"--qpu: {problem}{advice()}"
            assert outcome == ([message], [], expected, "fail"), (verb, option)


def test_variables_without_end_are_refused_and_those_of_other_qpus_are_not(node: Node) -> None:
    many = tuple((f"a_QRMI_KEY{number}", "mine") for number in range(257))
    answer = node.acquire("a,b", variables=(*many[:-1], ("b_QRMI_KEY", USER_KEY)))
    assert (answer.messages, answer.verdict) == ([], "run")
    answer = node.acquire("a,b", variables=(*many, ("b_QRMI_KEY", USER_KEY)))
    assert answer.messages == [
        "QPU a: 257 variables a_QRMI_* are exported, more than 256: unset those that it does not "
        f"need{GOES_ON}"
    ]
    assert dict(answer.variables)["QRMI_JOB_QPU_RESOURCES"] == "b"
    assert node.vendor.settings["b"].values["QRMI_KEY"] == USER_KEY


def test_lines_are_cleared_of_what_is_used_alone(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How long that takes, as root, must not be for a user to choose."""
    added: set[str] = set()
    add = Redactor.add

    def add_and_note(redactor: Redactor, values: Iterable[str]) -> None:
        values = tuple(values)
        added.update(values)
        add(redactor, values)

    monkeypatch.setattr(Redactor, "add", add_and_note)
    variables = {f"a_QRMI_KEY{number}": f"too-many-{number}" for number in range(257)}
    variables |= {"nowhere_QRMI_KEY": "of-nobody", "c_QRMI_KEY": "not-asked-for"}
    variables |= {"b_QRMI_KEY": USER_KEY, "b_QRMI_MODE": "plain-value"}
    # It is not used, but its session is another job's.
    variables |= {"QRMI_JOB_ID": "6", "b_QRMI_JOB_ACQUISITION_TOKEN": "token-of-job-6"}
    twice = ("b_QRMI_KEY", "of-two-the-one-that-loses")
    node.acquire("a,b,nowhere", variables=(twice, *variables.items()))
    assert added == {SITE_KEY, USER_KEY, "token-of-job-6"}


def test_journal_has_what_a_release_needs_and_the_job_all(node: Node) -> None:
    """A user may bring 8 MiB of variables, with each of thousands of jobs."""
    large = {f"a_QRMI_{number}": "x" * 20_000 for number in range(4)}
    variables = {**large, "a_QRMI_KEY": USER_KEY, "a_QRMI_MODE": "any"}
    node.acquire("a", variables=tuple(variables.items()))
    used = {"QRMI_3": "x" * 20_000, "QRMI_MODE": "any"}
    assert node.vendor.settings["a"].values.items() >= used.items()
    assert node.entry().values == {"QRMI_KEY": USER_KEY, "QRMI_ENDPOINT": "https://site"}


def test_journal_and_log_say_whose_the_endpoint_is(node: Node) -> None:
    for endpoint, whose in (("https://mine", "the user's"), ("https://site", "the site's")):
        answer = node.acquire("a", variables=(*MINE[:1], ("a_QRMI_ENDPOINT", endpoint)))
        assert node.entry().has_users_endpoint == (whose == "the user's"), whose
        assert happened(answer) == [told("acquired", "a", whose=whose)]
        assert happened(node.release()) == [told("released", "a", whose=whose)]


def test_user_with_too_many_entries_gets_no_other(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """464 jobs with an endpoint that refuses each release left as many entries for ever."""
    monkeypatch.setattr(quota, "MOST_OF_USER", 2)
    for name in "bc":
        node.leave(entry_of(name, has_users_endpoint=True))
    [reason, _] = node.acquire("a", variables=MINE).messages
    assert reason.startswith("QPU a: this node holds 2 acquisitions of yours at endpoints of your")
    assert (node.journal_files(), node.vendor.events_of("acquire")) == (2, set())
    assert node.acquire("a", variables=MINE, uid=1001).verdict == "run"


def test_no_secret_in_anything_readable(node: Node) -> None:
    secrets = f"{SITE_KEY} {USER_KEY} key-of-the-proxy"
    node.vendor.orders = {
        "check a": AcquisitionError(secrets),
        "acquire b": ServiceError(secrets, may_have_acted=True),
        "acquire c": ValueError(f"{secrets} and what nobody knows to be one"),
    }
    of_proxy = "--env:PROXY_KEY=key-of-the-proxy"
    answer = node.acquire("a,b,c", of_proxy, variables=(("b_QRMI_KEY", USER_KEY),))
    assert answer.messages[0] == "QPU a: **** **** ****"
    shown = answer.everything_readable
    assert [secret for secret in secrets.split() if secret in shown] == []
    [internal] = answer.logged("e")
    assert internal.startswith("internal error: ValueError at ")
    assert "what nobody knows" not in shown


@pytest.mark.usefixtures("clock")
def test_time_limit_reaches_client_and_job(node: Node) -> None:
    for minutes, start_time, remaining, timeout in (
        (10, NOW - 60, 540, 600),
        (10, NOW - 660, 0, 600),
        (10, NOW + 60, 600, 600),
        (60, NOW - 60, 3540, LONGEST_TASK_SECONDS),
        (None, NOW - 60, None, LONGEST_TASK_SECONDS),
        (10, None, 600, 600),
    ):
        answer = node.acquire("a", time_limit_minutes=minutes, start_time=start_time)
        given = (node.vendor.settings["a"].remaining_seconds, answer.variables[-1])
        expected = (remaining, ("a_QRMI_JOB_TIMEOUT_SECONDS", str(timeout)))
        assert given == expected, (minutes, start_time)


def test_job_is_told_no_longer_time_than_its_session_lives(node: Node) -> None:
    """What the user brought is his to know."""
    node.vendor.hold_seconds, node.vendor.brought = 296, {"b"}
    variables = dict(node.acquire("a,b", time_limit_minutes=5).variables)
    timeouts = [variables[f"{name}_QRMI_JOB_TIMEOUT_SECONDS"] for name in "ab"]
    assert timeouts == ["296", "300"]


def test_failed_releases_are_told_without_secrets_in_one_line_and_can_be_repeated(
    node: Node,
) -> None:
    node.acquire("a,b,c")
    node.vendor.orders = {
        f"release token-{name}": ReleaseError(f"{SITE_KEY} token-{name} may be open")
        for name in "ab"
    }
    answer = node.release()
    [message] = answer.messages
    assert re.fullmatch(r"QPU [ab], [ab]: \*{4} \*{4} may be open", message)
    assert (answer.held, answer.verdict) == (2, "run")
    node.vendor.orders = {}
    assert (node.release().messages, node.journal_files()) == ([], 0)


def test_session_of_the_user_is_noted_without_what_would_release_it(node: Node) -> None:
    node.vendor.brought = {"a"}
    answer = node.acquire("a")
    # Its end is to be recorded, and nothing else.
    assert (answer.held, answer.verdict, node.journal_files()) == (1, "run", 1)
    assert ("a_QRMI_JOB_ACQUISITION_TOKEN", "token-a") in answer.variables
    note = node.entry()
    assert (note.token, note.values, note.holds_nothing) == (None, {}, True)
    assert (note.owner, note.ends_at) == (owner_of(os.getppid()), note.acquired_at)
    assert 0 <= note.granted_at - note.acquired_at < 600


def test_journal_that_cannot_be_read_is_logged_once(node: Node) -> None:
    """What the service does not hold needs no record."""
    node.state_directory.touch()
    trouble = f"{node.state_directory}: Not a directory"
    not_noted = (
        f"what the job uses of a is not recorded: cannot record the acquisition in {trouble}"
    )
    for brought, verdict, warned in (("", "fail", []), ("a", "run", [f"warning: {not_noted}"])):
        node.vendor.brought = set(brought)
        answer = node.acquire("a", "--require=all")
        assert (answer.held, answer.verdict, warnings(answer)) == (0, verdict, warned)
        assert answer.logged("e") == [f"cannot read {trouble}"]


def test_other_nodes_of_a_step_have_what_the_service_does_not_hold(node: Node) -> None:
    node.vendor.brought = {"b"}
    answer = node.acquire("a,b,c", "--require=all", step_id=0, node_index=1)
    assert answer.variables == [*COMMON, *lists("b"), *of_resource("b")]
    assert (answer.messages, answer.verdict) == ([f"QPU a, c: {NOT_HERE}"], "run")
    assert node.vendor.events_of("acquire") == {"b"}
    assert happened(answer) == [told("acquired", "b")]
    node.release(step_id=0)
    assert (node.vendor.events_of("release"), node.journal_files()) == (set(), 0)


def test_other_nodes_of_a_step_go_on_and_fail_as_the_first_does(node: Node) -> None:
    node.vendor.brought, node.vendor.orders = {"b"}, {"check b": NOT_ACCESSIBLE}
    answer = node.acquire("a,b", step_id=0, node_index=1)
    reason = "not accessible; the step goes on without it"
    assert answer.messages == [f"QPU b: {reason}", f"QPU a: {NOT_HERE}"]
    assert (answer.variables, answer.verdict) == ([*COMMON, *lists("")], "run")
    for names, options, conclusion in (
        ("b", (), "no QPU could be acquired"),
        ("a,b", ("--require=all",), "not every QPU could be acquired"),
    ):
        answer = node.acquire(names, *options, step_id=0, node_index=1)
        ended = f"--qpu={names}: {conclusion}; the step does not start{advice('b')}"
        assert (answer.messages, answer.verdict) == (["QPU b: not accessible", ended], "fail")


def test_step_has_what_it_acquires_behind_what_it_shares(node: Node) -> None:
    answer = node.acquire("a", step_id=0, variables=SHARED)
    named = {"RESOURCES": "a", "TYPES": TYPE}
    lists_of_both = [(name, f"{value},{named[name.rpartition('_')[2]]}") for name, value in SHARED]
    assert answer.variables == [*COMMON, *lists_of_both, *of_resource("a")]
    assert (answer.messages, answer.held, answer.verdict) == ([], 1, "run")
    empty = tuple((name, "") for name, _ in SHARED)
    answer = node.acquire("a", step_id=1, variables=empty)
    assert answer.variables == [*COMMON, *lists("a"), *of_resource("a")]
    node.vendor.orders = {"check a": NOT_ACCESSIBLE}
    answer = node.acquire("a", step_id=2, variables=empty)
    conclusion = "--qpu=a: no QPU could be acquired; the step does not start"
    assert (answer.messages[1], answer.verdict) == (f"{conclusion}{advice('a')}", "fail")


@pytest.mark.parametrize("is_broken", [False, True])
def test_step_goes_on_with_what_it_shares_unless_it_needs_all(node: Node, is_broken: bool) -> None:
    if is_broken:
        node.config_path.write_text("{")
    node.vendor.orders = {"check a": NOT_ACCESSIBLE}
    answer = node.acquire("a", step_id=0, variables=SHARED)
    [message] = answer.messages
    goes_on = "with the QPUs of its job" if is_broken else "without it"
    assert message.endswith(f"; the step goes on {goes_on}")
    assert (answer.variables, answer.verdict) == ([*COMMON, *SHARED], "run")
    answer = node.acquire("a", "--require=all", step_id=0, variables=SHARED)
    conclusion = "--qpu=a: not every QPU could be acquired; the step does not start"
    says_more = advice() if is_broken else advice("a")
    assert (answer.messages[1], answer.verdict) == (f"{conclusion}{says_more}", "fail")


@pytest.mark.usefixtures("clock")
def test_session_that_may_be_open_is_told_once(node: Node) -> None:
    node.vendor.orders = {"acquire a": ServiceError("cut off", may_have_acted=True)}
    answer = node.acquire("a,b")
    reason = "cut off; a hold on a may be open until 2023-11-14 22:46:41 UTC at the latest"
    assert answer.messages == [f"QPU a: {reason}{GOES_ON}"]
    assert happened(answer) == [told("acquired", "b"), f"{told('refused', 'a')}: {reason}"]
    assert answer.held == 1
    # Of this one its worker died too early to tell.
    node.leave(entry_of("c", token=None))
    [message] = node.release().messages
    assert message.endswith("a session may be open until 2096-10-02 07:06:40 UTC at the latest")
    released = node.release()
    assert (released.messages, released.held, node.journal_files()) == ([], 0, 2)
    assert node.ends() == [("b", "released", "exit")]


def test_end_of_the_job_releases_what_any_step_has_left_here(node: Node) -> None:
    node.acquire("a")
    node.acquire("b", step_id=3, restart_count=2)
    # A job that gives a node away goes on, and the nodes may share their folder.
    alone = [
        entry_of("c", owner=replace(GONE, host="another")),
        entry_of("of another job", job_id=77),
        entry_of("being acquired", token=None, owner=owner_of(os.getpid())),
        # It was told when it failed, and its end is waited for.
        entry_of("may be open", token=None).with_failure("cut off", NOW),
    ]
    for entry in alone:
        node.leave(entry)
    answer = node.release_job()
    assert (answer.messages, answer.held, answer.verdict) == ([], 0, "run")
    assert node.vendor.events_of("release") == {"token-a", "token-b"}
    assert {repr(each) for each in node.entries()} == {repr(each) for each in alone}


def test_end_of_the_job_tells_what_it_could_not_release(node: Node) -> None:
    node.acquire("a,b")
    node.vendor.orders = {"release token-a": ReleaseError("down")}
    broken = node.state_directory / "7-0-0-0123456789abcdef.json"
    broken.write_text("{")
    answer = node.release_job()
    assert (answer.messages, answer.held) == (["QPU a of job 7: down"], 1)
    assert len(answer.logged("e")) == 1
    assert answer.logged("e")[0].startswith(f"{broken}: is no entry of this journal")
    assert node.journal_files() == 2


def test_journal_that_was_spoilt_meanwhile_is_told_with_what_it_costs(node: Node) -> None:
    node.acquire("a")
    node.state_directory.chmod(0o777)
    problem = f"{node.state_directory}: must be writable by its owner alone"
    answer = node.acquire("b")
    assert answer.messages[0].startswith(f"QPU b: {problem}")
    assert (answer.held, answer.verdict, answer.logged("e")) == (0, "fail", [])
    assert node.vendor.events_of("acquire") == {"a"}
    for answer in (node.release(), node.release_job()):
        [message] = answer.messages
        assert message.startswith(f"--qpu: what job 7 may hold is not released: {problem}")
        assert answer.held == 1
    node.state_directory.chmod(0o700)
    assert (node.release().messages, node.journal_files()) == ([], 0)


def test_end_of_the_job_keeps_within_the_time_of_an_epilog(
    node: Node, tmp_path: Path, deadlines: list[float]
) -> None:
    path = tmp_path / "slurm.conf"
    for text, most_seconds in (
        (None, 60),
        ("ClusterName=a", 60),
        ("PrologEpilogTimeout=15", 10),
        ("EpilogTimeout=4", 2),
    ):
        if text is not None:
            path.write_text(text)
        node.leave(entry_of("a"))
        assert node.release_job(str(path)).messages == [], text
        [left] = deadlines
        assert most_seconds / 2 < left <= most_seconds, text
        deadlines.clear()


def test_end_of_a_step_tries_again_what_others_left_some_time_ago(node: Node) -> None:
    node.leave(entry_of("b", job_id=5))
    node.leave(entry_of("c", job_id=5))
    node.leave(entry_of("lately", job_id=5), ago_seconds=UNCHANGED_SECONDS / 2)
    node.leave(entry_of("of a living step", job_id=5, owner=owner_of(os.getpid())))
    node.vendor.orders = {"release token-c": ReleaseError("still down")}
    # They have what time is left.
    assert node.release(timeout_seconds=0).verdict == "run"
    assert node.vendor.events == []
    node.acquire("a")
    answer = node.release()
    assert node.vendor.events_of("release") == {"token-a", "token-b", "token-c"}
    assert (answer.messages, answer.held, answer.logged("e")) == ([], 0, [])
    assert happened(answer) == [told("released", "a")]
    assert happened(answer, "d") == [
        f"{told('kept', 'c', job_id=5)}: still down",
        told("released", "b", job_id=5),
    ]
    node.vendor.events.clear()
    node.release()
    assert (node.vendor.events, node.journal_files()) == ([], 3)


def test_own_entries_are_released_before_others_are_looked_at(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(journal: Journal, unix_seconds: float) -> None:
        assert node.vendor.events_of("release") == {"token-a"}
        raise JournalError("the disk broke")

    node.acquire("a")
    monkeypatch.setattr(Journal, "entries_before", break_down)
    answer = node.release()
    assert (answer.messages, answer.held, answer.verdict) == ([], 0, "run")
    assert "what other jobs have left is not released: the disk broke" in answer.logged("d")
    assert node.journal_files() == 0


def test_what_was_left_with_other_variables_is_another_ones_to_release(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalNetwork, "has_variables", lambda _, variables: not variables)
    node.leave(entry_of("b", job_id=5, node_variables={"https_proxy": "http://proxy"}))
    node.acquire("a")
    node.release()
    assert node.vendor.events_of("release") == {"token-a"}
    node.release()
    assert node.vendor.events_of("release") == {"token-a", "token-b"}
