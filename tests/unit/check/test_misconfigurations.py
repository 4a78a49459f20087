# SPDX-License-Identifier: GPL-3.0-or-later
"""Each slip of an administrator's is found, and told with its place; without one, nothing is."""

import os
import re
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock, patch

import pytest

from spank_qrmi.admin import command
from spank_qrmi.check.all_checks import OF_FILES, OF_NODE
from spank_qrmi.check.slurmd import Slurmd
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi.state.owner import Owner, owner_of
from tests.unit.check.conftest import CheckedNode, Spoil, entry, found


def test_nothing_is_found_where_nothing_is_wrong_and_nothing_is_changed(node: CheckedNode) -> None:
    def files() -> dict[str, tuple[int, int]]:
        paths = (path for path in node.folder.rglob("*") if "cache" not in str(path))
        return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_ino) for path in paths}

    before = files()
    status, findings = node.look()
    assert (status, found(findings)) == (0, [])
    assert {each["check"] for each in findings} == {*OF_NODE, *OF_FILES} - {"lines", "MUNGE"}
    assert files() == before


def test_nothing_is_found_of_what_the_documents_call_right_for_the_established_plugin_too(
    node: CheckedNode,
) -> None:
    text = (Path(__file__).parents[3] / "docs" / "migrating.md").read_text()
    [line] = re.findall(r"(?m)^optional .*$", text)
    [config] = re.findall(r"(?ms)^```json\n(.*?)^```$", text)
    mode, _, _, *arguments = line.split()
    node.write_plugstack(node.line(*arguments, mode=mode))
    node.write_config_text(re.sub(r"<.*?>", "filled in", config))

    _, findings = node.look()

    # Whether a munged runs is the machine's.
    assert found([each for each in findings if each["check"] != "MUNGE"]) == []
    usable = " ".join(each["text"] for each in findings)
    for name in re.findall(r'"name": "(\w+)"', config):
        assert name in usable, name


def plugstack(*lines: str) -> Spoil:
    """Have lines in which LINE, PLUGIN and CONFIG stand for what they are on the node."""

    def spoil(node: CheckedNode) -> None:
        words = {"LINE": node.line(), "PLUGIN": str(node.plugin), "CONFIG": str(node.config)}
        texts = [" ".join(words.get(word, word) for word in line.split()) for line in lines]
        node.write_plugstack(*texts)

    return spoil


def slurm_conf(*lines: str) -> Spoil:
    return lambda node: node.write_slurm_conf(*lines)


def config(*entries: object) -> Spoil:
    return lambda node: node.write_config(*entries)


def with_entry(**environment: object) -> Spoil:
    changes = {f"QRMI_IBM_QRS_{key}": value for key, value in environment.items()}
    return config(entry("ibm_x", environment=changes))


def with_held(**changes: object) -> Spoil:
    """Have an entry in the journal of a step that is gone."""
    gone = replace(owner_of(os.getpid()), pid=1, started_ticks=1)
    held = Entry(*(7, 0, 0, 0, "ibm_x", "qiskit-runtime-service", {}), token="x", owner=gone)

    def spoil(node: CheckedNode) -> None:
        with Journal(node.state).begin(replace(held, **changes)):  # type: ignore[arg-type]
            pass

    return spoil


def without_munge(node: CheckedNode) -> None:
    environment = {"QRMI_WARDEN_URL": "http://127.0.0.1:1"}
    node.write_config({"name": "on_premises", "type": "pasqal-local", "environment": environment})
    node.write_plugstack(node.line("--munge-socket=/nowhere/munge.socket"))


def having(name: str, value: object) -> Spoil:
    return lambda node: setattr(node, name, value)


def with_open_usage_folder(node: CheckedNode) -> None:
    node.usage_log.parent.mkdir()
    node.usage_log.parent.chmod(0o777)


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


NO_VALUES = {"name": "a", "type": "qiskit-runtime-service", "environment": {}}
UNREADABLE = "8-0-0-0123456789abcdef.json"
PROXY = "--env:https_proxy=http://user:api-key-do-not-show@proxy:1"
ELSEWHERE = Owner("another-node", "boot", 1, 2, 3)
OTHER_NAMESPACE = replace(owner_of(os.getpid()), pid_namespace=1)

# What the node is like then, by verdict and check; and how that is told.
SLIPS: dict[str, list[tuple[Spoil, str]]] = {
    "wrong plugstack.conf": [
        (lambda node: node.plugstack.unlink(), "is not there"),
        (slurm_conf("PlugStackConfig=/nowhere/a.conf"), "/nowhere/a.conf: is not there"),
        (lambda node: node.slurm_conf.unlink(), "slurm.conf"),
        (lambda node: node.plugstack.chmod(0o666), r"may be changed by everybody \(mode 0666\)"),
        (lambda node: node.slurm_conf.chmod(0o666), "slurm.conf may be changed by everybody"),
    ],
    "wrong lines": [
        (plugstack("# LINE"), "no line loads spank_qrmi.so"),
        (elsewhere, "nothing is there of /.*conf"),
        (plugstack("requird PLUGIN CONFIG"), "plugstack.conf:1: begins with requird"),
        (plugstack('LINE "--require=all"'), ":1: has quotes"),
        (plugstack(f"LINE --env:no_proxy={'a,' * 2100}"), "longer than 4095 bytes"),
    ],
    "doubtful lines": [
        (plugstack("LINE", "LINE --require=all"), ":2: loads .* a second time: .*:1 count"),
        (plugstack("optional PLUGIN", "LINE"), ":1: loads .* a second time: .*:2 count"),
    ],
    "wrong arguments": [
        (plugstack("LINE --stat-dir=/x"), "argument '--stat-dir=…' is not known"),
        (plugstack("LINE --worker-user=nobody-of-this-name"), "knows no such user"),
        (plugstack("LINE --env:https_proxy=socks5://a:1"), "https_proxy: write the proxy as"),
        (plugstack("LINE --env:SSL_CERT_FILE=/nowhere.pem"), "/nowhere.pem: cannot be read"),
        (plugstack("LINE --env-file=/nowhere"), "--env-file: /nowhere: cannot be read"),
    ],
    "doubtful arguments": [
        (plugstack("LINE --require=any --require=all"), "--require is given twice"),
        (plugstack(f"LINE {PROXY}"), "--env:https_proxy: a secret in plugstack.conf"),
    ],
    "wrong plugins": [
        (plugstack("optional /no/spank_qrmi.so CONFIG"), ":1: /no/spank_qrmi.so is not there"),
        (lambda node: node.plugin.write_bytes(b"\x7fELF"), "is no plugin of Slurm's"),
        (as_the_other_plugin, "is another plugin"),
        (having("release", "19.05"), "slurmd is 19.05: it is not loaded"),
        (lambda node: node.plugin.chmod(0o777), "by everybody"),
        (lambda node: node.link.unlink(), "is no link to the interp"),
        (link_to("/nowhere/bin/python"), "cannot be run"),
    ],
    "doubtful plugins": [(link_to("/bin/true"), "workers run in /")],
    "wrong time-outs": [
        (plugstack("LINE --release-timeout=100"), "may take 100 s .*UnkillableStepTimeout = 90 s")
    ],
    "doubtful time-outs": [
        (slurm_conf("UnkillableStepTimeout=1", "KillWait=30"), "= 31 s"),
        (slurm_conf("PrologEpilogTimeout=10"), "an epilog may take 10 s"),
        (slurm_conf("ProctrackType=proctrack/linuxproc", "KillWait=15"), "after KillWait = 15 s"),
        (plugstack("LINE --acquire-timeout=900"), "srun gives up a step"),
    ],
    "doubtful slurmd": [
        (having("slurmds", [Slurmd(4711, time.time() - 1000, Path())]), "4711: was started before"),
        (having("slurmds", []), "no slurmd runs"),
    ],
    "wrong slurmd": [(slurm_conf("SlurmdUser=slurm"), "SlurmdUser=slurm: workers need root")],
    "doubtful worker server": [
        (plugstack("LINE --worker-server=/nowhere/socket"), "/nowhere/socket: no worker server")
    ],
    "wrong qrmi_config.json": [
        (lambda node: node.config.unlink(), "cannot be read"),
        (config(entry("a", "qiskit-runtime-servise")), "did you mean qiskit-runtime-service?"),
    ],
    "doubtful qrmi_config.json": [
        (lambda node: node.write_config_text('{"resources": []}'), "has no QPU"),
        (lambda node: node.config.chmod(0o640), "others than its owner can read"),
    ],
    "doubtful entries": [
        (with_entry(SESSION_TTL="60"), r"nothing reads .*_SESSION_TTL \(is it .*_SESSION_MAX_TTL"),
        (config(entry("ibm_x", is_dynamic=True)), "nothing reads is_dynamic"),
        (with_entry(IAM_APIKEY=None), "ibm_x_QRMI_IBM_QRS_IAM_APIKEY is not set"),
        (with_entry(ENDPOINT="https://a.test/v1/"), "slash"),
        (with_entry(ENDPOINT="http://a.test"), "http://"),
        (with_entry(SESSION_MODE="batch "), "SESSION_MODE: blanks"),
        (config(entry("ibm_x", users=["nobody-of-this-name"])), 'all of its "users" and "groups"'),
    ],
    "wrong entries": [
        (
            config({**NO_VALUES, "environment": {"QRMI_IBM_QCS_ENDPOINT": "https://a.test"}}),
            "a_QRMI_IBM_QRS_ENDPOINT is not set",
        ),
        (with_entry(SERVICE_CRN="<the CRN of your service>"), "still holds the placeholder"),
        (config(entry("a", locked=["QRMI_IBM_QRS_ENDPIONT"])), '"locked" locks .*is it .*ENDPOINT'),
        (with_entry(IAM_APIKEY={"file": "/nowhere"}), "IAM_APIKEY: /nowhere: cannot be read"),
    ],
    "doubtful licences": [
        (plugstack("LINE --license-check=require"), "lacks qpu_ibm_x, which --license-check=requ")
    ],
    "wrong MUNGE": [(without_munge, "on_premises: ")],
    "wrong state folder": [
        (lambda node: node.state.chmod(0o777), "must be writable by its owner alone")
    ],
    "doubtful usage log": [
        (plugstack("LINE --usage-file=/nowhere/a/usage.jsonl"), "/nowhere/a/usage.jsonl: cannot"),
        (with_open_usage_folder, "must belong to root .* wait in /"),
    ],
    "wrong journal": [
        (lambda node: (node.state / UNREADABLE).write_text("{"), "is no entry of this journal"),
        (with_held(owner=ELSEWHERE), "ibm_x of job 7: was acquired by node another-node"),
        (with_held(owner=None), "does not say which step"),
        (with_held(resource_type="past"), "no release of its"),
    ],
    "doubtful journal": [
        (with_held(owner=OTHER_NAMESPACE), "lived in another container"),
        (with_held(is_over=True, record="{}"), "1 records of what jobs have used wait to be"),
        (
            with_held(token=None, failure="cut off", ends_at=4_000_000_000),
            "never answered: .* open",
        ),
        (with_held(failure="no answer", failures=3, failed_at=1), "failed 3 times: no answer"),
    ],
}


@pytest.mark.parametrize(
    ("where", "spoil", "text"), [(where, *slip) for where, slips in SLIPS.items() for slip in slips]
)
def test_slip_is_found(node: CheckedNode, spoil: Spoil, where: str, text: str) -> None:
    spoil(node)
    status, findings = node.look()
    told = found(findings)
    expected = {"wrong": 2, "doubtful": 1}[where.split(maxsplit=1)[0]]
    assert status == expected, told
    assert any(re.match(f"{re.escape(where)}: .*{text}", each) for each in told), told


def test_licence_and_user_that_are_known_are_right(node: CheckedNode) -> None:
    node.write_slurm_conf("Licenses=other,qpu_ibm_x:2")
    node.write_plugstack(node.line("--license-check=require"))
    node.write_config(entry("ibm_x", users=["root"], groups=["0"]))
    assert found(node.look()[1]) == []


def test_slip_is_told_once_and_what_was_meant(node: CheckedNode) -> None:
    node.write_plugstack(node.line("--stat-dir=/x"))
    [finding] = [each for each in node.look()[1] if each["verdict"] == "wrong"]
    assert finding["remedy"] == "is it --state-dir=DIR?"
    node.write_plugstack()
    node.config.unlink()
    assert len(found(node.look()[1])) == 1


def test_strict_permissions_make_wrong_of_what_others_can_read(node: CheckedNode) -> None:
    node.write_plugstack(node.line("--strict-permissions"))
    node.config.chmod(0o640)
    assert node.look()[0] == 2


def test_only_the_qpus_that_were_named_are_looked_at(node: CheckedNode) -> None:
    node.write_config(entry("good"), entry("bad", SESSION_MODE="x", is_dynamic=True))
    assert [node.look(name)[0] for name in ("good", "bad")] == [0, 1]
    status, findings = node.look("gone")
    assert status == 2
    assert found(findings) == [
        f"wrong qrmi_config.json: {node.config}: has no entry of the name gone; it has good, bad"
    ]


def test_other_files_can_be_looked_at(node: CheckedNode, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.touch(mode=0o600)
    other.write_text('{"resources": []}')
    assert node.look(f"--config={other}")[0] == 1
    other.write_text(node.line("--nonsense"))
    assert node.look(f"--plugstack={other}")[0] == 2


def test_full_disk_is_found(node: CheckedNode) -> None:
    with patch("os.write", side_effect=OSError(28, "No space left on device")):
        [told] = found(node.look()[1])
    assert "cannot be written to (No space left on device): no job gets a session" in told


def test_users_may_bring_all(node: CheckedNode) -> None:
    node.write_config(NO_VALUES)
    status, findings = node.look()
    assert status == 0
    assert any("whose users bring all variables" in each["text"] for each in findings)


def test_state_folder_may_be_made_by_the_first_job(node: CheckedNode) -> None:
    node.state.rmdir()
    status, findings = node.look()
    assert status == 0
    assert any(each["text"].endswith("is made by the first job") for each in findings)
    assert not node.state.exists()


def test_bug_of_one_check_leaves_the_others(
    node: CheckedNode, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(OF_NODE, "time-outs", Mock(side_effect=ZeroDivisionError))
    assert command.main(["check", "--offline"]) == 2
    printed = capsys.readouterr().out
    assert "time-outs: could not be looked at: internal error (ZeroDivisionError)" in printed
    assert "right     journal: 0 entries are held" in printed
