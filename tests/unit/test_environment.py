# SPDX-License-Identifier: GPL-3.0-or-later
"""A job's variables: whose value wins, whose credentials go where, what every job is told."""

from collections.abc import Mapping

import pytest

from spank_qrmi.configuration.qrmi_config import Resource
from spank_qrmi.environment import (
    ResourceEnvironment,
    check_credentials_stay_home,
    check_values_are_text,
    common_variables,
    export_variable,
    job_timeout_seconds,
    list_variables,
    resource_environment,
    resource_variables,
)
from spank_qrmi.errors import AcquisitionError

JOB_ID = 7
SITE = {"QRMI_ENDPOINT": "https://site", "QRMI_KEY": "of the site"}
SENT_TO = {"QRMI_ENDPOINT": ("QRMI_KEY", "QRMI_CRN"), "QRMI_IAM": ("QRMI_KEY",)}


def environment_of(
    *job_variables: tuple[str, str], site: Mapping[str, str] = SITE
) -> ResourceEnvironment:
    return resource_environment(Resource("a", "any", site), JOB_ID, job_variables)


@pytest.mark.parametrize(
    ("job_variables", "expected"),
    [
        ([], {}),
        ([("a_QRMI_KEY", "mine")], {"QRMI_KEY": "mine"}),
        ([("a_QRMI_KEY", "")], {"QRMI_KEY": ""}),
        ([("a_QRMI_NEW", "mine")], {"QRMI_NEW": "mine"}),
        ([("a_OTHER", "x"), ("QRMI_KEY", "x"), ("b_a_QRMI_KEY", "x"), ("b_QRMI_KEY", "x")], {}),
    ],
)
def test_users_variables_win(
    job_variables: list[tuple[str, str]], expected: dict[str, str]
) -> None:
    environment = environment_of(*job_variables)
    assert environment.user == expected
    assert environment.values == {**SITE, **expected}


@pytest.mark.parametrize(
    ("job_id", "token_is_taken"), [(None, True), (str(JOB_ID), True), ("6", False), ("", False)]
)
def test_token_of_another_job_is_ignored(job_id: str | None, token_is_taken: bool) -> None:
    own = {"QRMI_JOB_ACQUISITION_TOKEN": "t", "QRMI_JOB_TIMEOUT_SECONDS": "9"}
    inherited = [(f"a_{key}", value) for key, value in {**own, "QRMI_KEY": "mine"}.items()]
    if job_id is not None:
        inherited.append(("QRMI_JOB_ID", job_id))
    expected = {"QRMI_KEY": "mine", **(own if token_is_taken else {})}
    assert environment_of(*inherited).user == expected


@pytest.mark.parametrize(
    ("user", "site", "clash"),
    [
        ({}, SITE, None),
        ({"QRMI_ENDPOINT": "https://mine"}, SITE, "QRMI_ENDPOINT"),
        ({"QRMI_ENDPOINT": ""}, SITE, "QRMI_ENDPOINT"),
        ({"QRMI_IAM": "https://mine"}, SITE, "QRMI_IAM"),
        ({"QRMI_ENDPOINT": "https://site"}, SITE, None),
        ({"QRMI_ENDPOINT": "https://mine", "QRMI_KEY": "mine"}, SITE, None),
        ({"QRMI_ENDPOINT": "https://mine", "QRMI_KEY": "of the site"}, SITE, "QRMI_ENDPOINT"),
        ({"QRMI_KEY": "mine"}, SITE, None),
        ({"QRMI_ENDPOINT": "https://mine"}, {"QRMI_KEY": " "}, None),
        ({"QRMI_ENDPOINT": "https://mine"}, {}, None),
    ],
)
def test_credentials_of_the_site_stay_at_its_endpoint(
    user: dict[str, str], site: dict[str, str], clash: str | None
) -> None:
    resource = Resource("a", "any", site)
    if clash is None:
        check_credentials_stay_home(resource, ResourceEnvironment(site, user), SENT_TO)
        return
    with pytest.raises(AcquisitionError) as caught:
        check_credentials_stay_home(resource, ResourceEnvironment(site, user), SENT_TO)
    assert str(caught.value) == (
        f"a_{clash} is yours but a_QRMI_KEY is the site's, which is sent only to the site's "
        "endpoint: set both or neither"
    )


def test_every_credential_of_an_endpoint_is_checked() -> None:
    site = {"QRMI_KEY": "k", "QRMI_CRN": "c"}
    user = {"QRMI_ENDPOINT": "https://mine", "QRMI_KEY": "mine"}
    with pytest.raises(AcquisitionError, match="a_QRMI_CRN is the site's"):
        check_credentials_stay_home(
            Resource("a", "any", site), ResourceEnvironment(site, user), SENT_TO
        )


@pytest.mark.parametrize(
    ("minutes", "longest_seconds", "expected"),
    [
        (60, None, 3600),
        (60, 1800, 1800),
        (30, 1800, 1800),
        (29, 1800, 1740),
        (0, None, 0),
        (None, None, 4294967295),
        (None, 1800, 1800),
        (0xFFFFFFF0, None, 4294967295),
    ],
)
def test_time_limit_in_seconds(
    minutes: int | None, longest_seconds: int | None, expected: int
) -> None:
    assert job_timeout_seconds(minutes, longest_seconds) == expected


def test_every_job_learns_its_id_and_user() -> None:
    expected = [("QRMI_JOB_ID", "7"), ("QRMI_JOB_UID", "1000")]
    assert common_variables(JOB_ID, 1000) == expected


@pytest.mark.parametrize(
    ("names", "listed_names", "listed_types"),
    [("", "", ""), ("a", "a", "t-a"), ("ab", "a,b", "t-a,t-b")],
)
def test_lists_come_in_both_spellings(names: str, listed_names: str, listed_types: str) -> None:
    assert list_variables([Resource(name, f"t-{name}", {}) for name in names]) == [
        ("QRMI_JOB_QPU_RESOURCES", listed_names),
        ("SLURM_JOB_QPU_RESOURCES", listed_names),
        ("QRMI_JOB_QPU_TYPES", listed_types),
        ("SLURM_JOB_QPU_TYPES", listed_types),
    ]


def test_what_the_user_set_is_left_alone() -> None:
    environment = environment_of(("a_QRMI_KEY", "mine"), ("a_QRMI_NEW", "mine"))
    assert resource_variables(Resource("a", "any", SITE), environment, "token", 60) == [
        ("a_QRMI_ENDPOINT", "https://site"),
        ("a_QRMI_JOB_ACQUISITION_TOKEN", "token"),
        ("a_QRMI_JOB_TIMEOUT_SECONDS", "60"),
    ]


def test_values_are_left_out_of_repr() -> None:
    assert "of the site" not in repr(environment_of(("a_QRMI_KEY", "mine")))
    assert "mine" not in repr(environment_of(("a_QRMI_KEY", "mine")))


def test_value_that_is_no_text_is_named() -> None:
    resource = Resource("a", "direct-access", {})
    environment = ResourceEnvironment({}, {"QRMI_X": "1", "QRMI_Y": "\udcff"})
    with pytest.raises(AcquisitionError, match=r"^a_QRMI_Y is not UTF-8 text$"):
        check_values_are_text(resource, environment)
    environment = ResourceEnvironment({}, {"QRMI_\n\udcff": "1"})
    with pytest.raises(AcquisitionError, match=r"^a_QRMI_\?\? is not UTF-8 text$"):
        check_values_are_text(resource, environment)


def test_limit_that_the_user_set_is_left_alone() -> None:
    user = {"QRMI_KEY": "mine", "QRMI_JOB_TIMEOUT_SECONDS": "60"}
    environment = ResourceEnvironment(SITE, user)
    names = [
        name for name, _ in resource_variables(Resource("a", "any", SITE), environment, "t", 300)
    ]
    assert "a_QRMI_JOB_ACQUISITION_TOKEN" in names
    assert not {f"a_{key}" for key in user} & set(names)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (None, None),
        ("ALL", None),
        ("all", None),
        ("X=y,ALL", None),
        ("NONE", "A,B"),
        ("none", "A,B"),
        ("NIL", "A,B"),
        ("", "A,B"),
        ("HOME", "HOME,A,B"),
        ("HOME,X=ALL", "HOME,X=ALL,A,B"),
    ],
)
def test_export_list_has_the_jobs_variables_too(chosen: str | None, expected: str | None) -> None:
    job_variables = [] if chosen is None else [("SLURM_EXPORT_ENV", chosen)]
    result = [] if expected is None else [("SLURM_EXPORT_ENV", expected)]
    assert export_variable(job_variables, ["A", "B"]) == result
