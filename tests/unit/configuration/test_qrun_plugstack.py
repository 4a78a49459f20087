# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments of spank_ibm_qrun.so: eight values or a file, options, and words for the rest."""

from collections.abc import Mapping

from spank_qrmi.clients import qrun_variables as names
from spank_qrmi.configuration.qrun_plugstack import QrunArguments, parse_arguments
from spank_qrmi.errors import ArgumentError
from tests.unit.outcomes import refusal_of

EIGHT = ("demo", "secret-1", "http://api", "secret-2", "secret-3", "http://s3", "test", "us-east-1")
SITE = dict(zip(names.SITE_VARIABLES, EIGHT, strict=True))
IAM = ("--iam-apikey=secret-4", "--service-crn=crn:v1=x", "--iam-endpoint=http://iam")
IAM_VALUES = {
    names.IAM_APIKEY: "secret-4",
    names.SERVICE_CRN: "crn:v1=x",
    names.IAM_ENDPOINT: "http://iam",
}
OF_BOTH = ("--strict-permissions", "--worker-user=qpu", "--state-dir=/s", "--worker-server=/s")
WITH_FILE = ("--always", "--credentials=/etc/a", "--env:A=1", "--cleanup-timeout=86400")
REMEDY = "correct the line of spank_ibm_qrun.so in plugstack.conf"
NEEDED = (
    "APPID_CLIENT_ID APPID_SECRET DAAPI_ENDPOINT AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY "
    "S3_ENDPOINT S3_BUCKET S3_REGION; or --credentials=FILE"
)
NOT_EIGHT = "8 arguments are needed in this order, got"
TOGETHER = "--iam-apikey, --service-crn, --iam-endpoint belong together: add "
FILE_IS_ALL = (
    "--credentials names the file that holds all credentials: give no other arguments but "
    "--always, --cleanup-timeout, --state-dir, --worker-server, --strict-permissions, "
    "--worker-user, --env-file, --munge-socket and --env: beside it"
)


UNDERSTOOD: Mapping[tuple[str, ...], QrunArguments] = {
    EIGHT: QrunArguments(SITE),
    (*EIGHT, "--always"): QrunArguments(SITE),
    (*EIGHT, *OF_BOTH): QrunArguments(
        SITE, is_strict=True, worker_user="qpu", state_directory="/s"
    ),
    (*EIGHT, *IAM): QrunArguments({**SITE, **IAM_VALUES}),
    (*IAM, *EIGHT): QrunArguments({**SITE, **IAM_VALUES}),
    (*EIGHT, "--env:A=b=c", "--env:B="): QrunArguments(SITE, node_variables={"A": "b=c", "B": ""}),
    ("--credentials=/etc/a",): QrunArguments({}, "/etc/a"),
    WITH_FILE: QrunArguments({}, "/etc/a", node_variables={"A": "1"}),
    ("--strict-permissions", "--credentials=/etc/a"): QrunArguments({}, "/etc/a", is_strict=True),
}


def test_arguments_are_understood() -> None:
    found = {arguments: parse_arguments(arguments) for arguments in UNDERSTOOD}
    assert found == UNDERSTOOD
    for arguments, expected in UNDERSTOOD.items():
        assert list(found[arguments].values) == list(expected.values), arguments


REFUSALS: Mapping[tuple[str, ...], str] = {
    ("--always",): f"{NOT_EIGHT} 0: {NEEDED}",
    EIGHT[:7]: f"{NOT_EIGHT} 7: {NEEDED}",
    (*EIGHT, "more"): f"{NOT_EIGHT} 9: {NEEDED}",
    (*EIGHT, "--unknown=secret-5"): "argument '--unknown=…' is not known",
    (*EIGHT, IAM[0]): f"{TOGETHER}--service-crn and --iam-endpoint",
    (*EIGHT, *IAM[1:]): f"{TOGETHER}--iam-apikey",
    (*EIGHT, "--iam-apikey=", *IAM[1:]): "--iam-apikey must not be empty",
    (*EIGHT, "--credentials=/etc/a"): FILE_IS_ALL,
    ("--credentials=/etc/a", *IAM): FILE_IS_ALL,
    ("--credentials=etc/a",): "--credentials must be an absolute path, got 'etc/a'",
    (*EIGHT, "--cleanup-timeout=0"): (
        "--cleanup-timeout must be a whole number of seconds from 1 to 86400, got '0'"
    ),
}


def test_error_says_what_is_needed_and_shows_no_value() -> None:
    found = {each: refusal_of(ArgumentError, parse_arguments, each) for each in REFUSALS}
    assert found == {arguments: f"{expected}: {REMEDY}" for arguments, expected in REFUSALS.items()}
    assert "secret" not in str([*found.values()])


def test_secrets_among_the_arguments_are_told_of_and_not_shown() -> None:
    key, with_file = "--env:A_KEY=secret-5", "--credentials=/etc/a"
    of_line = "plugstack.conf holds credentials, and all users' commands read it: "
    of_key = "--env:A_KEY: a secret in plugstack.conf, "
    expected: Mapping[tuple[str, ...], list[str]] = {
        (*EIGHT, *IAM): [of_line],
        (with_file,): [],
        (with_file, "--env:A=1"): [],
        (with_file, key): [of_key],
        (*EIGHT, key): [of_line, of_key],
    }
    for arguments, starts in expected.items():
        parsed = parse_arguments(arguments)
        found = [text[: len(start)] for text, start in zip(parsed.exposures, starts, strict=True)]
        assert found == starts, arguments
        assert "secret-" not in f"{parsed.exposures} {parsed!r}", arguments
