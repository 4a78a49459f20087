# SPDX-License-Identifier: GPL-3.0-or-later
"""Each slip of an administrator's is found, and told with its place; without one, nothing is."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from spank_qrmi.admin import command
from spank_qrmi.check.all_checks import OF_FILES, OF_NODE
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi.state.owner import Owner, owner_of
from tests.unit.check.checked_node import CheckedNode, Spoil, entry, found, is_root, look

pytestmark = pytest.mark.skipif(not is_root(), reason="only root sees what jobs will meet")


def test_nothing_is_found_where_nothing_is_wrong(
    node: CheckedNode, capsys: pytest.CaptureFixture[str]
) -> None:
    status, findings = look(capsys)
    assert (status, found(findings)) == (0, [])
    assert {each["check"] for each in findings} == {*OF_NODE, *OF_FILES} - {"lines", "MUNGE"}


def with_plugstack(*lines: str) -> Spoil:
    """Have lines in which PLUGIN, CONFIG, STATE and LINE stand for what they are on the node."""

    def spoil(node: CheckedNode) -> None:
        words = {"PLUGIN": node.plugin, "CONFIG": node.config, "STATE": node.state}
        texts = [line.replace("LINE", node.line()) for line in lines]
        for word, path in words.items():
            texts = [text.replace(word, str(path)) for text in texts]
        node.write_plugstack(*texts)

    return spoil


def with_slurm_conf(*lines: str) -> Spoil:
    return lambda node: node.write_slurm_conf(*lines)


def with_config(*entries: object) -> Spoil:
    return lambda node: node.write_config(*entries)


def with_entry(**environment: str | None) -> Spoil:
    changes = {f"QRMI_IBM_QRS_{key}": value for key, value in environment.items()}
    return with_config(entry("ibm_x", environment=changes))


def with_text(text: str) -> Spoil:
    return lambda node: node.write_config_text(text)


def with_held(**changes: object) -> Spoil:
    """Have an entry in the journal of a step that is gone."""
    gone = replace(owner_of(os.getpid()), pid=1, started_ticks=1)
    held = Entry(
        *(7, 0, 0, 0, "ibm_x", "qiskit-runtime-service", {}),
        token="token-do-not-show",
        acquired_at=1_700_000_000,
        owner=gone,
    )

    def spoil(node: CheckedNode) -> None:
        with Journal(node.state).begin(replace(held, **changes)):  # type: ignore[arg-type]
            pass

    return spoil


def with_munge_at(socket: str) -> Spoil:
    environment = {"QRMI_WARDEN_URL": "http://127.0.0.1:1"}

    def spoil(node: CheckedNode) -> None:
        node.write_config(
            {"name": "on_premises", "type": "pasqal-local", "environment": environment}
        )
        node.write_plugstack(node.line(f"--munge-socket={socket}"))

    return spoil


def without_file(name: str) -> Spoil:
    return lambda node: getattr(node, name).unlink()


def with_mode(name: str, mode: int) -> Spoil:
    return lambda node: getattr(node, name).chmod(mode)


def with_attribute(name: str, value: object) -> Spoil:
    return lambda node: setattr(node, name, value)


def replace_plugin_with(content: bytes) -> Spoil:
    return lambda node: node.plugin.write_bytes(content)


def link_to(path: str) -> Spoil:
    def spoil(node: CheckedNode) -> None:
        node.link.unlink()
        node.link.symlink_to(path)

    return spoil


def as_the_other_plugin(node: CheckedNode) -> None:
    other = node.plugin.with_name("spank_ibm_qrun.so")
    node.plugin.rename(other)
    node.write_plugstack(node.line(), f"optional {other} --credentials={node.config}")
    other.replace(node.plugin)
    other.write_bytes(node.plugin.read_bytes())


def elsewhere(node: CheckedNode) -> None:
    folder = node.folder / "plugstack.conf.d"
    folder.mkdir()
    (folder / "spank_qrmi.conf.example").write_text(node.line())
    node.write_plugstack(f"include {folder}/*.conf")


ELSEWHERE = Owner("another-node", "boot", 1, 2, 3)
OTHER_NAMESPACE = replace(owner_of(os.getpid()), pid_namespace=1)

# What is wrong, the check that finds it, and how that is told.
OF_SLURM: Sequence[tuple[str, Spoil, str, str]] = [
    ("no plugstack.conf", without_file("plugstack"), "wrong plugstack.conf", "is not there"),
    (
        "PlugStackConfig names another file",
        with_slurm_conf("PlugStackConfig=/nowhere/plugstack.conf"),
        "wrong plugstack.conf",
        "/nowhere/plugstack.conf: is not there",
    ),
    ("slurm.conf is not there", without_file("slurm_conf"), "wrong plugstack.conf", "slurm.conf"),
    (
        "everybody may write plugstack.conf",
        with_mode("plugstack", 0o666),
        "wrong plugstack.conf",
        r"may be changed by everybody \(mode 0666\)",
    ),
    (
        "everybody may write slurm.conf",
        with_mode("slurm_conf", 0o666),
        "wrong plugstack.conf",
        "slurm.conf may be changed by everybody",
    ),
    ("no line", with_plugstack("# LINE"), "wrong lines", "no line loads spank_qrmi.so"),
    ("an example is not included", elsewhere, "wrong lines", "nothing is there of /.*conf"),
    (
        "a first word that is none",
        with_plugstack("requird PLUGIN CONFIG"),
        "wrong lines",
        "plugstack.conf:1: begins with requird",
    ),
    ("quotes", with_plugstack('LINE "--require=all"'), "wrong lines", ":1: has quotes"),
    (
        "listed twice",
        with_plugstack("LINE", "LINE --require=all"),
        "doubtful lines",
        r"plugstack.conf:2: loads spank_qrmi.so a second time: .*plugstack.conf:1 count",
    ),
    (
        "listed twice, first without its arguments",
        with_plugstack("optional PLUGIN", "LINE"),
        "doubtful lines",
        r"plugstack.conf:1: loads spank_qrmi.so a second time: .*plugstack.conf:2 count",
    ),
    (
        "a line that is cut",
        with_plugstack(f"LINE --env:no_proxy={'a,' * 2100}"),
        "wrong lines",
        "longer than 4095 bytes",
    ),
    (
        "an unknown argument",
        with_plugstack("LINE --stat-dir=/x"),
        "wrong arguments",
        r"argument '--stat-dir=…' is not known.*",
    ),
    (
        "options before the configuration",
        with_plugstack("optional PLUGIN --require=all CONFIG --state-dir=STATE"),
        "wrong arguments",
        "the path of qrmi_config.json must be the first argument",
    ),
    (
        "arguments that clash",
        with_plugstack("LINE --require=any --require=all"),
        "doubtful arguments",
        "--require is given twice",
    ),
    (
        "an unknown user",
        with_plugstack("LINE --worker-user=nobody-of-this-name"),
        "wrong arguments",
        "knows no such user",
    ),
    (
        "a proxy that is no URL",
        with_plugstack("LINE --env:https_proxy=socks5://127.0.0.1:1"),
        "wrong arguments",
        "https_proxy: write the proxy as",
    ),
    (
        "certificates that are not there",
        with_plugstack("LINE --env:SSL_CERT_FILE=/nowhere.pem"),
        "wrong arguments",
        "/nowhere.pem: cannot be read",
    ),
    (
        "a secret that everybody reads",
        with_plugstack("LINE --env:https_proxy=http://user:api-key-do-not-show@proxy:1"),
        "doubtful arguments",
        "--env:https_proxy: a secret in plugstack.conf",
    ),
    (
        "no --env-file",
        with_plugstack("LINE --env-file=/nowhere"),
        "wrong arguments",
        "--env-file: /nowhere: cannot be read",
    ),
    (
        "a path that is not there",
        with_plugstack("optional /nowhere/spank_qrmi.so CONFIG"),
        "wrong plugins",
        "plugstack.conf:1: /nowhere/spank_qrmi.so is not there",
    ),
    ("no library", replace_plugin_with(b"\x7fELF"), "wrong plugins", "is no plugin of Slurm's"),
    ("the other plugin's file", as_the_other_plugin, "wrong plugins", "is another plugin"),
    (
        "another release of Slurm",
        with_attribute("release", "19.05"),
        "wrong plugins",
        "slurmd is 19.05: it is not loaded",
    ),
    ("a plugin that all may write", with_mode("plugin", 0o777), "wrong plugins", "by everybody"),
    ("no interpreter link", without_file("link"), "wrong plugins", "is no link to the interp"),
    ("no interpreter", link_to("/nowhere/bin/python"), "wrong plugins", "cannot be run"),
    ("an interpreter elsewhere", link_to("/bin/true"), "doubtful plugins", "workers run in /"),
    (
        "a release that outlasts Slurm's patience",
        with_plugstack("LINE --release-timeout=100"),
        "wrong time-outs",
        "may take 100 s .*UnkillableStepTimeout = 90 s",
    ),
    (
        "an UnkillableStepTimeout that is just too short",
        with_slurm_conf("UnkillableStepTimeout=1", "KillWait=30"),
        "doubtful time-outs",
        "= 31 s",
    ),
    (
        "an epilog that ends before a release",
        with_slurm_conf("PrologEpilogTimeout=10"),
        "doubtful time-outs",
        "an epilog may take 10 s",
    ),
    (
        "workers that Slurm ends too early",
        with_slurm_conf("ProctrackType=proctrack/linuxproc", "KillWait=15"),
        "doubtful time-outs",
        "ends a worker after KillWait = 15 s",
    ),
    (
        "a step that srun gives up",
        with_plugstack("LINE --acquire-timeout=900"),
        "doubtful time-outs",
        "srun gives up a step",
    ),
    (
        "a slurmd that knows no epilog",
        with_attribute("slurmd_age_seconds", 1000.0),
        "doubtful slurmd",
        "slurmd 4711: was started before plugstack.conf was changed",
    ),
    ("no slurmd", with_attribute("slurmd_age_seconds", 1e9), "doubtful slurmd", "no slurmd runs"),
    (
        "a slurmd that is not root's",
        with_slurm_conf("SlurmdUser=slurm"),
        "wrong slurmd",
        "SlurmdUser=slurm: workers need root",
    ),
    (
        "a worker server that nobody serves",
        with_plugstack("LINE --worker-server=/nowhere/socket"),
        "doubtful worker server",
        "/nowhere/socket: no worker server",
    ),
]

OF_QPUS: Sequence[tuple[str, Spoil, str, str]] = [
    ("no qrmi_config.json", without_file("config"), "wrong qrmi_config.json", "cannot be read"),
    ("a comma too many", with_text('{"resources": [],}'), "wrong qrmi_config.json", "line 1"),
    (
        "a curly quote",
        with_text('{"resources":[{"name":"a","type":"pasqal-cloud","environment":{"X”: “y"}}]}'),
        "wrong qrmi_config.json",
        'a curly quote: write "',
    ),
    (
        "resources twice",
        with_text('{"resources": [], "resources": []}'),
        "wrong qrmi_config.json",
        "resources",
    ),
    ("no QPU", with_text('{"resources": []}'), "doubtful qrmi_config.json", "has no QPU"),
    (
        "secrets that everybody reads",
        with_mode("config", 0o644),
        "wrong qrmi_config.json",
        "everybody can read: chmod 600",
    ),
    (
        "secrets that a group reads",
        with_mode("config", 0o640),
        "doubtful qrmi_config.json",
        "others than its owner can read",
    ),
    (
        "an unknown type",
        with_config(entry("a", "qiskit-runtime-servise")),
        "wrong qrmi_config.json",
        "did you mean qiskit-runtime-service?",
    ),
    (
        "a name twice",
        with_config(entry("a"), entry("a")),
        "wrong qrmi_config.json",
        "resource a: is defined more than once",
    ),
    (
        "a number for a text",
        with_entry(SESSION_MAX_TTL=60),  # type: ignore[arg-type]
        "wrong qrmi_config.json",
        "must be a string in quotes",
    ),
    (
        "a key that nothing reads",
        with_entry(SESSION_TTL="60"),
        "doubtful entries",
        r"nothing reads QRMI_IBM_QRS_SESSION_TTL \(is it QRMI_IBM_QRS_SESSION_MAX_TTL\?\)",
    ),
    (
        "a property that nothing reads",
        with_config(entry("ibm_x", is_dynamic=True)),
        "doubtful entries",
        "nothing reads is_dynamic",
    ),
    (
        "keys of another type",
        with_config(
            {
                "name": "a",
                "type": "qiskit-runtime-service",
                "environment": {"QRMI_IBM_QCS_ENDPOINT": "https://a.test"},
            }
        ),
        "wrong entries",
        "a_QRMI_IBM_QRS_ENDPOINT is not set",
    ),
    (
        "a key that is missing",
        with_entry(IAM_APIKEY=None),
        "doubtful entries",
        "ibm_x_QRMI_IBM_QRS_IAM_APIKEY is not set",
    ),
    (
        "a placeholder of the example",
        with_entry(SERVICE_CRN="<the CRN of your service instance>"),
        "wrong entries",
        "still holds the placeholder",
    ),
    (
        "an endpoint without its scheme",
        with_entry(ENDPOINT="api.test/v1"),
        "wrong entries",
        "must be a URL",
    ),
    ("a slash too many", with_entry(ENDPOINT="https://a.test/v1/"), "doubtful entries", "slash"),
    ("credentials over http", with_entry(ENDPOINT="http://a.test"), "doubtful entries", "http://"),
    ("a blank", with_entry(SESSION_MODE="batch "), "doubtful entries", "SESSION_MODE: blanks"),
    ("a mode that is none", with_entry(SESSION_MODE="bath"), "wrong entries", "SESSION_MODE"),
    (
        "a lock on nothing",
        with_config(entry("ibm_x", locked=["QRMI_IBM_QRS_ENDPIONT"])),
        "wrong entries",
        r'"locked" locks nothing: .*\(is it QRMI_IBM_QRS_ENDPOINT\?\)',
    ),
    (
        "a file of a key that is not there",
        with_config(entry("ibm_x", environment={"QRMI_IBM_QRS_IAM_APIKEY": {"file": "/nowhere"}})),
        "wrong entries",
        "IAM_APIKEY: /nowhere: cannot be read",
    ),
    (
        "a user whom nobody knows",
        with_config(entry("ibm_x", users=["nobody-of-this-name"])),
        "doubtful entries",
        'does not know all of its "users" and "groups"',
    ),
    (
        "a licence that slurm.conf lacks",
        with_plugstack("LINE --license-check=require"),
        "doubtful licences",
        "Licenses lacks qpu_ibm_x, which --license-check=require asks jobs for",
    ),
    (
        "a munged that does not answer",
        with_munge_at("/nowhere/munge.socket"),
        "wrong MUNGE",
        "on_premises: ",
    ),
    (
        "a state folder that all may write",
        with_mode("state", 0o777),
        "wrong state folder",
        "must be writable by its owner alone",
    ),
    (
        "what is no entry",
        lambda node: (node.state / "8-0-0-0123456789abcdef.json").write_text("{"),
        "wrong journal",
        "is no entry of this journal",
    ),
    (
        "an entry of another node",
        with_held(owner=ELSEWHERE),
        "wrong journal",
        "ibm_x of job 7: was acquired by node another-node",
    ),
    ("an entry of nobody", with_held(owner=None), "wrong journal", "does not say which step"),
    (
        "an entry of another container",
        with_held(owner=OTHER_NAMESPACE),
        "doubtful journal",
        "lived in another container",
    ),
    (
        "a usage log that takes nothing",
        with_held(is_over=True, record="{}"),
        "doubtful journal",
        "1 records of what jobs have used wait to be written",
    ),
    ("a type of the past", with_held(resource_type="past"), "wrong journal", "no release of its"),
    (
        "a request that was never answered",
        with_held(token=None, failure="cut off", ends_at=4_000_000_000),
        "doubtful journal",
        "was never answered: something may be open until",
    ),
    (
        "a release that fails",
        with_held(failure="no answer", failures=3, failed_at=1_700_000_000),
        "doubtful journal",
        "has failed 3 times: no answer",
    ),
]

CASES = [*OF_SLURM, *OF_QPUS]


@pytest.mark.parametrize(
    ("spoil", "where", "text"), [each[1:] for each in CASES], ids=[each[0] for each in CASES]
)
def test_slip_is_found(
    node: CheckedNode, capsys: pytest.CaptureFixture[str], spoil: Spoil, where: str, text: str
) -> None:
    spoil(node)
    status, findings = look(capsys)
    told = found(findings)
    expected = {"wrong": 2, "doubtful": 1}[where.split(maxsplit=1)[0]]
    assert status == expected, told
    assert any(re.match(f"{re.escape(where)}: .*{text}", each) for each in told), told


def test_licence_and_user_that_are_known_are_right(
    node: CheckedNode, capsys: pytest.CaptureFixture[str]
) -> None:
    node.write_slurm_conf("Licenses=other,qpu_ibm_x:2")
    node.write_plugstack(node.line("--license-check=require"))
    node.write_config(entry("ibm_x", users=["root"], groups=["0"]))
    assert found(look(capsys)[1]) == []


def test_slip_is_told_once(node: CheckedNode, capsys: pytest.CaptureFixture[str]) -> None:
    node.config.unlink()
    assert len(found(look(capsys)[1])) == 1


def test_what_was_meant_is_told(node: CheckedNode, capsys: pytest.CaptureFixture[str]) -> None:
    node.write_plugstack(node.line("--stat-dir=/x"))
    [finding] = [each for each in look(capsys)[1] if each["verdict"] == "wrong"]
    assert finding["remedy"] == "is it --state-dir=DIR?"


def test_strict_permissions_make_wrong_of_what_others_can_read(
    node: CheckedNode, capsys: pytest.CaptureFixture[str]
) -> None:
    node.write_plugstack(node.line("--strict-permissions"))
    node.config.chmod(0o640)
    assert look(capsys)[0] == 2


def test_only_the_qpus_that_were_named_are_looked_at(
    node: CheckedNode, capsys: pytest.CaptureFixture[str]
) -> None:
    node.write_config(entry("good"), entry("bad", SESSION_MODE="x", is_dynamic=True))
    assert [look(capsys, name)[0] for name in ("good", "bad")] == [0, 1]
    status, findings = look(capsys, "gone")
    assert status == 2
    assert found(findings) == [
        f"wrong qrmi_config.json: {node.config}: has no entry of the name gone; it has good, bad"
    ]


def test_users_may_bring_all(node: CheckedNode, capsys: pytest.CaptureFixture[str]) -> None:
    node.write_config({"name": "a", "type": "qiskit-runtime-service", "environment": {}})
    status, findings = look(capsys)
    assert status == 0
    assert any("whose users bring all variables" in each["text"] for each in findings)


def test_other_files_can_be_looked_at(
    node: CheckedNode, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = tmp_path / "other.json"
    other.touch(mode=0o600)
    other.write_text('{"resources": []}')
    assert look(capsys, f"--config={other}")[0] == 1
    other.write_text(node.line("--nonsense"))
    assert look(capsys, f"--plugstack={other}")[0] == 2


@pytest.fixture
def full_disk() -> Iterator[None]:
    with patch("os.write", side_effect=OSError(28, "No space left on device")):
        yield


@pytest.mark.usefixtures("full_disk")
def test_full_disk_is_found(node: CheckedNode, capsys: pytest.CaptureFixture[str]) -> None:
    [told] = found(look(capsys)[1])
    assert "cannot be written to (No space left on device): no job gets a session" in told


def test_state_folder_may_be_made_by_the_first_job(
    node: CheckedNode, capsys: pytest.CaptureFixture[str]
) -> None:
    node.state.rmdir()
    status, findings = look(capsys)
    assert status == 0
    assert any(each["text"].endswith("is made by the first job") for each in findings)
    assert not node.state.exists()


def test_nothing_is_changed(node: CheckedNode, capsys: pytest.CaptureFixture[str]) -> None:
    def files() -> dict[str, tuple[int, int]]:
        paths = (path for path in node.folder.rglob("*") if "cache" not in str(path))
        return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_ino) for path in paths}

    before = files()
    look(capsys)
    assert files() == before


def test_bug_of_one_check_leaves_the_others(
    node: CheckedNode, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setitem(OF_NODE, "time-outs", fail)  # type: ignore[arg-type]
    assert command.main(["check", "--offline"]) == 2
    printed = capsys.readouterr().out
    assert "time-outs: could not be looked at: internal error (ZeroDivisionError)" in printed
    assert "right     journal: 0 entries are held" in printed
