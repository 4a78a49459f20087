# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments of plugstack.conf: every option, and the words for what cannot be one."""

from collections.abc import Mapping

from spank_qrmi.configuration.qrmi_plugstack import LicenseCheck, PluginArguments, parse_arguments
from spank_qrmi.errors import ArgumentError
from tests.unit.outcomes import refusal_of

PATH = "/etc/slurm/qrmi_config.json"
REMEDY = "correct the line of spank_qrmi.so in plugstack.conf"
SECRET = "secret-of-the-site"
WRONG_USER = "--worker-user must be the name or number of a user other than root"
NO_PATH = "the path of qrmi_config.json must be the first argument"
NO_VARIABLE = "must be --env:NAME=VALUE"


def parsed(**values: object) -> PluginArguments:
    return PluginArguments(PATH, **values)  # type: ignore[arg-type]


UNDERSTOOD: Mapping[tuple[str, ...], PluginArguments] = {
    (): parsed(),
    ("--env:A=1",): parsed(node_variables={"A": "1"}),
    ("--env:A=", "--env:B=b=c "): parsed(node_variables={"A": "", "B": "b=c "}),
    ("--env:A=1", "--env:A=2"): parsed(node_variables={"A": "2"}),
    (f"--env:{'N' * 255}=1",): parsed(node_variables={"N" * 255: "1"}),
    ("--env:A-b.ü=1",): parsed(node_variables={"A-b.ü": "1"}),
    ("--on-failure=fail",): parsed(fails_on_failure=True),
    ("--on-failure=continue",): parsed(fails_on_failure=False),
    ("--require=all",): parsed(requires_all=True),
    ("--require=any",): parsed(requires_all=False),
    ("--user-endpoints=deny",): parsed(allows_user_endpoints=False),
    ("--user-endpoints=allow",): parsed(allows_user_endpoints=True),
    ("--license-check=off",): parsed(),
    ("--license-check=warn",): parsed(license_check=LicenseCheck.WARN),
    ("--license-check=require",): parsed(license_check=LicenseCheck.REQUIRE),
    ("--most-held-per-user=1",): parsed(most_held=1),
    ("--acquisitions-per-minute=10000",): parsed(acquisitions_per_minute=10000),
    ("--acquire-timeout=1", "--release-timeout=86400"): parsed(),
    ("--worker-server=/run/x",): parsed(),
    ("--catalog=/shared/qpus",): parsed(catalog_directory="/shared/qpus"),
    ("--strict-permissions",): parsed(is_strict=True),
    ("--state-dir=/var/x",): parsed(state_directory="/var/x"),
    ("--munge-socket=/run/m",): parsed(munge_socket="/run/m"),
    ("--env-file=/a", "--env-file=/b"): parsed(variables_path="/b"),
    ("--worker-user=qpu",): parsed(worker_user="qpu"),
    ("--worker-user=17",): parsed(worker_user="17"),
}


def test_options_are_understood() -> None:
    found = {options: parse_arguments([PATH, *options]) for options in UNDERSTOOD}
    assert found == UNDERSTOOD


def test_defaults() -> None:
    arguments = parse_arguments([PATH])
    assert arguments.config_path == PATH
    assert arguments.node_variables == {}
    assert (arguments.fails_on_failure, arguments.requires_all) == (True, False)
    assert (arguments.is_strict, arguments.exposures) == (False, ())
    assert arguments.allows_user_endpoints
    assert arguments.license_check is LicenseCheck.OFF
    assert (arguments.most_held, arguments.acquisitions_per_minute) == (None, None)
    assert arguments.state_directory == "/var/lib/spank_qrmi"


NO_TIME = "must be a whole number of seconds from 1 to 86400"
MALFORMED: Mapping[str, str] = {
    PATH: f"argument '{PATH}' is not known",
    "--unknown": "argument '--unknown' is not known",
    f"--unknown={SECRET}": "argument '--unknown=…' is not known",
    "--strict-permissions=1": "argument '--strict-permissions=…' is not known",
    "--require": "argument '--require' is not known",
    "--require=some": "--require must be all or any, got 'some'",
    "--user-endpoints=no": "--user-endpoints must be deny or allow, got 'no'",
    "--license-check=on": "--license-check must be off or warn or require, got 'on'",
    "--on-failure=Fail": "--on-failure must be fail or continue, got 'Fail'",
    "--state-dir=var": "--state-dir must be an absolute path, got 'var'",
    "--worker-server=x": "--worker-server must be an absolute path, got 'x'",
    **{
        f"--worker-user={user}": f"{WRONG_USER}, got {user!r}"
        for user in ("0", "root", "", "4294967295", "a b")
    },
    "--env:A": f"argument '--env:A' {NO_VARIABLE}",
    f"--env:={SECRET}": f"argument '--env:=…' {NO_VARIABLE}",
    f"--env:A B={SECRET}": f"argument '--env:A B=…' {NO_VARIABLE}",
    f"--env:{'N' * 256}={SECRET}": f"argument '--env:{'N' * 256}=…' {NO_VARIABLE}",
    f"--env:A\n={SECRET}": f"argument '--env:A\\n=…' {NO_VARIABLE}",
    f"--env:A\udcff={SECRET}": f"argument '--env:A\\udcff=…' {NO_VARIABLE}",
    **{
        f"{option}={text}": f"{option} {NO_TIME}, got {text!r}"
        for option in ("--acquire-timeout", "--release-timeout")
        for text in ("0", "86401", "+1", " 1", "1s")
    },
    **{
        f"{option}={text}": f"{option} must be a whole number from 1 to 10000, got {text!r}"
        for option in ("--most-held-per-user", "--acquisitions-per-minute")
        for text in ("0", "10001", "-1", "none")
    },
}


def test_malformed_argument_is_named_without_its_value() -> None:
    refusals = {
        (): NO_PATH,
        ("--require=all", PATH): NO_PATH,
        ("etc/a.json",): "the first argument must be an absolute path, got 'etc/a.json'",
        ("",): "the first argument must be an absolute path, got ''",
        **{(PATH, argument): expected for argument, expected in MALFORMED.items()},
    }
    found = {each: refusal_of(ArgumentError, parse_arguments, each) for each in refusals}
    assert found == {arguments: f"{expected}: {REMEDY}" for arguments, expected in refusals.items()}
    assert SECRET not in str([*found.values()])


def test_secrets_among_the_arguments_are_told_of() -> None:
    secret = [f"--env:A_KEY={SECRET}", f"--env:https_proxy=http://user:{SECRET}@proxy"]
    open_to_all = ["--env:http_proxy=http://proxy", "--env:B_TOKEN=", "--env:SSL_CERT_FILE=/ca"]
    assert parse_arguments([PATH, *secret, *open_to_all]).exposures == (
        "--env:A_KEY, --env:https_proxy: a secret in plugstack.conf, which all users' commands "
        "read: leave it out there, or move a proxy to a file that --env-file names",
    )
    assert parse_arguments([PATH, *open_to_all]).exposures == ()
