# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments of spank_ibm_qrun.so: eight values or a file, options, and words for the rest."""

from collections.abc import Mapping

import pytest

from spank_qrmi.clients import qrun_variables as names
from spank_qrmi.configuration.qrun_plugstack import QrunArguments, parse_arguments
from spank_qrmi.errors import ArgumentError
from tests.unit.outcomes import refusal_of

EIGHT = ("demo", "secret-1", "http://api", "secret-2", "secret-3", "http://s3", "test", "us-east-1")
SITE = {
    "IBMQRUN_APPID_CLIENT_ID": "demo",
    "IBMQRUN_APPID_SECRET": "secret-1",
    "IBMQRUN_DAAPI_ENDPOINT": "http://api",
    "IBMQRUN_AWS_ACCESS_KEY_ID": "secret-2",
    "IBMQRUN_AWS_SECRET_ACCESS_KEY": "secret-3",
    "IBMQRUN_S3_ENDPOINT": "http://s3",
    "IBMQRUN_S3_BUCKET": "test",
    "IBMQRUN_S3_REGION": "us-east-1",
}
IAM = ("--iam-apikey=secret-4", "--service-crn=crn:v1=x", "--iam-endpoint=http://iam")
IAM_VALUES = {
    names.IAM_APIKEY: "secret-4",
    names.SERVICE_CRN: "crn:v1=x",
    names.IAM_ENDPOINT: "http://iam",
}
WITH_FILE = ("--always", "--credentials=/etc/a", "--env:A=1", "--cleanup-timeout=86400")
REMEDY = "correct the line of spank_ibm_qrun.so in plugstack.conf"
NEEDED = (
    "APPID_CLIENT_ID APPID_SECRET DAAPI_ENDPOINT AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY "
    "S3_ENDPOINT S3_BUCKET S3_REGION; or --credentials=FILE"
)
TOGETHER = "--iam-apikey, --service-crn, --iam-endpoint belong together: add "
FILE_IS_ALL = (
    "--credentials names the file that holds all credentials: give no other arguments but "
    "--always, --cleanup-timeout, --state-dir, --worker-server, --strict-permissions, "
    "--worker-user, --env-file, --munge-socket and --env: beside it"
)


@pytest.mark.parametrize(
    "understood",
    [
        {EIGHT: QrunArguments(SITE)},
        {
            (*EIGHT, "--always"): QrunArguments(SITE),
            (*EIGHT, "--cleanup-timeout=5"): QrunArguments(SITE),
            (*EIGHT, "--worker-server=/s"): QrunArguments(SITE),
        },
        {(*EIGHT, "--strict-permissions"): QrunArguments(SITE, is_strict=True)},
        {(*EIGHT, "--worker-user=qpu"): QrunArguments(SITE, worker_user="qpu")},
        {(*EIGHT, "--state-dir=/s"): QrunArguments(SITE, state_directory="/s")},
        {
            (*EIGHT, *IAM): QrunArguments({**SITE, **IAM_VALUES}),
            (*IAM, *EIGHT): QrunArguments({**SITE, **IAM_VALUES}),
        },
        {
            (*EIGHT, "--env:A=b=c", "--env:B="): QrunArguments(
                SITE, node_variables={"A": "b=c", "B": ""}
            )
        },
        {
            ("--credentials=/etc/a",): QrunArguments({}, "/etc/a"),
            WITH_FILE: QrunArguments({}, "/etc/a", node_variables={"A": "1"}),
            ("--strict-permissions", "--credentials=/etc/a"): QrunArguments(
                {}, "/etc/a", is_strict=True
            ),
        },
    ],
)
def test_arguments_are_understood(understood: Mapping[tuple[str, ...], QrunArguments]) -> None:
    found = {arguments: parse_arguments(arguments) for arguments in understood}
    assert found == understood
    for arguments, expected in understood.items():
        assert list(found[arguments].values) == list(expected.values), arguments


@pytest.mark.parametrize(
    "refusals",
    [
        {
            (): f"8 arguments are needed in this order, got 0: {NEEDED}",
            ("--always",): f"8 arguments are needed in this order, got 0: {NEEDED}",
            EIGHT[:7]: f"8 arguments are needed in this order, got 7: {NEEDED}",
            (*EIGHT, "more"): f"8 arguments are needed in this order, got 9: {NEEDED}",
        },
        {
            (*EIGHT, "--unknown=secret-5"): "argument '--unknown=…' is not known",
            (*EIGHT, "--strict-permissions=1"): "argument '--strict-permissions=…' is not known",
            (*EIGHT, "--always=1"): "argument '--always=…' is not known",
            (*EIGHT, "--"): "argument '--' is not known",
        },
        {(*EIGHT, "--env:A"): "argument '--env:A' must be --env:NAME=VALUE"},
        {
            (*EIGHT, IAM[0]): f"{TOGETHER}--service-crn and --iam-endpoint",
            (*EIGHT, *IAM[1:]): f"{TOGETHER}--iam-apikey",
        },
        {(*EIGHT, "--iam-apikey=", *IAM[1:]): "--iam-apikey must not be empty"},
        {
            (*EIGHT, "--credentials=/etc/a"): FILE_IS_ALL,
            ("--credentials=/etc/a", *IAM): FILE_IS_ALL,
        },
        {
            ("--credentials=etc/a",): "--credentials must be an absolute path, got 'etc/a'",
            (*EIGHT, "--worker-server="): "--worker-server must be an absolute path, got ''",
            (*EIGHT, "--state-dir=s"): "--state-dir must be an absolute path, got 's'",
            ("--credentials=",): "--credentials must be an absolute path, got ''",
        },
        {
            (*EIGHT, "--cleanup-timeout=0"): (
                "--cleanup-timeout must be a whole number of seconds from 1 to 86400, got '0'"
            ),
        },
    ],
)
def test_error_says_what_is_needed_and_shows_no_value(
    refusals: Mapping[tuple[str, ...], str],
) -> None:
    found = {
        arguments: refusal_of(ArgumentError, parse_arguments, arguments) for arguments in refusals
    }
    assert found == {arguments: f"{expected}: {REMEDY}" for arguments, expected in refusals.items()}
    assert "secret" not in str([*found.values()])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (EIGHT, ["plugstack.conf holds credentials, and all users' commands read it: "]),
        (("--credentials=/etc/a",), []),
        (("--credentials=/etc/a", "--env:A=1"), []),
        (("--credentials=/etc/a", "--env:A_KEY=secret-5"), ["--env:A_KEY: a secret in plugstack."]),
        (
            (*EIGHT, "--env:A_KEY=secret-5"),
            ["plugstack.conf holds credentials, and", "--env:A_KEY: a secret in plugstack.conf, "],
        ),
    ],
)
def test_secrets_among_the_arguments_are_told_of(
    arguments: tuple[str, ...], expected: list[str]
) -> None:
    exposures = parse_arguments(arguments).exposures
    assert [text[: len(start)] for text, start in zip(exposures, expected, strict=True)] == expected
    assert "secret-" not in "".join(exposures)


def test_values_are_left_out_of_repr() -> None:
    assert "secret" not in repr(parse_arguments([*EIGHT, *IAM, "--env:A_KEY=secret"]))
