# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments of plugstack.conf, whatever they are."""

from hypothesis import given
from hypothesis import strategies as st

from fuzz.targets.claims import result_or_refusal
from fuzz.targets.options import check_arguments
from spank_qrmi.configuration.qrmi_plugstack import parse_arguments
from spank_qrmi.configuration.qrun_plugstack import parse_arguments as parse_qrun_arguments
from spank_qrmi.errors import ArgumentError
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
NAMED = st.sampled_from(["--env:A_TOKEN=", "--env:A B=", "--iam-apikey=", "--unknown="])


@given(
    arguments=st.lists(st.builds(str.__add__, st.sampled_from(OPTIONS), VALUES), max_size=12),
    secret=st.one_of(
        st.builds(str.__add__, NAMED, secrets), secrets.filter(lambda each: each[:2] != "--")
    ),
    place=st.integers(0, 12),
)
def test_arguments_are_taken_or_refused_in_one_line_without_a_secret(
    arguments: list[str], secret: str, place: int
) -> None:
    check_arguments(arguments)
    arguments = [*arguments[:place], secret, *arguments[place:]]
    result_or_refusal(lambda: parse_qrun_arguments(arguments), ArgumentError, [MARK])
    # The other plugin has nothing but a path without a name.
    if secret.startswith("--"):
        result_or_refusal(lambda: parse_arguments(arguments), ArgumentError, [MARK])
