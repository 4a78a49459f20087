# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments of plugstack.conf and variables of qrun, whatever they are."""

from hypothesis import assume, given
from hypothesis import strategies as st

from fuzz.targets.claims import result_or_refusal
from fuzz.targets.options import check_arguments
from spank_qrmi.clients import qrun_variables as names
from spank_qrmi.configuration.qrmi_plugstack import parse_arguments
from spank_qrmi.configuration.qrun_plugstack import parse_arguments as parse_qrun_arguments
from spank_qrmi.errors import ArgumentError, VariableError
from spank_qrmi.qrun.settings import read_settings
from spank_qrmi.redaction import MASK, shown_argument, shown_value
from tests.unit.strategies import MARK, secrets, system_texts

OPTIONS = [
    *("--env:", "--env:A=", "--on-failure=", "--require=", "--acquire-timeout="),
    *("--release-timeout=", "--cleanup-timeout=", "--worker-server=", "--state-dir="),
    *("--worker-user=", "--env-file=", "--strict-permissions", "--credentials=", "--iam-apikey="),
    *("--service-crn=", "--iam-endpoint=", "--always", "--", "/", ""),
]
VALUES = st.one_of(
    st.sampled_from(["fail", "continue", "all", "any", "1", "86400", "86401", "-1", "/a", "a", ""]),
    system_texts,
)
ARGUMENTS = st.lists(st.builds(str.__add__, st.sampled_from(OPTIONS), VALUES), max_size=12)
QRUN_NAMES = [*names.SITE_VARIABLES, *names.IAM_VARIABLES, names.BACKEND, names.PRIMITIVE]
QRUN_NAMES += [names.TIMEOUT_SECONDS, names.JOB_ID, "SRUN_DEBUG"]


@given(
    arguments=ARGUMENTS,
    secret=secrets,
    option=st.sampled_from(["--env:A_TOKEN=", "--env:A B=", "--iam-apikey=", "--unknown="]),
    place=st.integers(0, 12),
)
def test_arguments_are_taken_or_refused_in_one_line_without_a_secret(
    arguments: list[str], secret: str, option: str, place: int
) -> None:
    check_arguments(arguments)
    arguments = [*arguments[:place], option + secret, *arguments[place:]]
    for parse in (parse_arguments, parse_qrun_arguments):
        result_or_refusal(lambda parse=parse: parse(arguments), ArgumentError, [MARK])
    assert MARK not in shown_argument(f"--env:A_TOKEN={secret}")


@given(
    values=st.lists(secrets.filter(lambda value: not value.startswith("--")), max_size=10),
    options=ARGUMENTS,
)
def test_arguments_without_a_name_are_never_shown(values: list[str], options: list[str]) -> None:
    arguments = [*values, *(each for each in options if each.startswith("--"))]
    result_or_refusal(lambda: parse_qrun_arguments(arguments), ArgumentError, [MARK])


@given(scheme=st.sampled_from(["", "http://", "socks5://"]), user=secrets, host=system_texts)
def test_user_of_a_proxy_is_never_shown(scheme: str, user: str, host: str) -> None:
    # A user before "://" cannot be told from a scheme.
    assume("@" not in host and (scheme or "://" not in user))
    assert shown_value("https_proxy", f"{scheme}{user}@{host}").endswith(f"{MASK}@{host}")
    assert MARK not in shown_value("https_proxy", f"{scheme}{user}@{host}")


@given(st.dictionaries(st.sampled_from(QRUN_NAMES), secrets))
def test_refused_variables_of_qrun_are_not_shown(environment: dict[str, str]) -> None:
    result_or_refusal(lambda: read_settings(environment), VariableError, [MARK])
