# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments of plugstack.conf, options and variables, whatever they are."""

from hypothesis import assume, given
from hypothesis import strategies as st

from fuzz.targets.claims import result_or_refusal
from fuzz.targets.options import (
    check_arguments,
    check_job_variables,
    check_names,
    check_qrun_variables,
)
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
QRUN_VALUES = st.one_of(
    st.sampled_from(["sampler", "1", "4294967295", "https://h", "https://u:p@h", "..", " "]),
    system_texts,
)
OF_A = ("ENDPOINT", "KEY", "JOB_ACQUISITION_TOKEN", "JOB_TIMEOUT_SECONDS")
KNOWN_NAMES = ["b_QRMI_KEY", "QRMI_JOB_ID", "SLURM_EXPORT_ENV", "PATH", "LD_PRELOAD"]
JOB_NAMES = st.one_of(
    st.sampled_from([*(f"a_QRMI_{name}" for name in OF_A), *KNOWN_NAMES]),
    system_texts.map("a_QRMI_".__add__),
    system_texts,
)
JOB_VALUES = st.one_of(st.sampled_from(["", "7", "8", "https://site.test", "ALL"]), system_texts)


@given(ARGUMENTS)
def test_arguments_are_taken_or_refused_in_one_line(arguments: list[str]) -> None:
    check_arguments(arguments)


@given(
    arguments=ARGUMENTS,
    secret=secrets,
    option=st.sampled_from(["--env:A_TOKEN=", "--env:A B=", "--iam-apikey=", "--unknown="]),
    place=st.integers(0, 12),
)
def test_refused_arguments_show_no_secret(
    arguments: list[str], secret: str, option: str, place: int
) -> None:
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


@given(st.one_of(system_texts, st.lists(system_texts).map(",".join)))
def test_names_of_qpus_are_split_the_same_whatever_stands_around_them(option: str) -> None:
    check_names(option)


@given(st.dictionaries(st.sampled_from(QRUN_NAMES), QRUN_VALUES))
def test_variables_of_qrun_are_taken_or_refused_in_one_line(environment: dict[str, str]) -> None:
    check_qrun_variables(environment)


@given(st.dictionaries(st.sampled_from(QRUN_NAMES), secrets))
def test_refused_variables_of_qrun_are_not_shown(environment: dict[str, str]) -> None:
    result_or_refusal(lambda: read_settings(environment), VariableError, [MARK])


@given(st.lists(st.tuples(JOB_NAMES, JOB_VALUES), max_size=6))
def test_job_gets_variables_of_its_resources_alone(pairs: list[tuple[str, str]]) -> None:
    check_job_variables(pairs)
