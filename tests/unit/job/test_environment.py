# SPDX-License-Identifier: GPL-3.0-or-later
"""A job's variables: whose value wins, whose credentials go where, what every job is told."""

from collections.abc import Mapping, Sequence

import pytest

from spank_qrmi.configuration.qrmi_config import Resource
from spank_qrmi.errors import AcquisitionError
from spank_qrmi.job.environment import (
    ResourceVariables,
    check_credentials_stay_home,
    check_sites_choices,
    check_values_are_text,
    collect_variables,
    common_variables,
    export_variable,
    has_sites_login,
    job_timeout_seconds,
    list_variables,
    resource_variables,
)
from tests.unit.outcomes import refusal_of

JOB_ID = 7
SITE = {"QRMI_ENDPOINT": "https://site", "QRMI_KEY": "of the site"}
SENT_TO = {"QRMI_ENDPOINT": ("QRMI_KEY", "QRMI_CRN"), "QRMI_IAM": ("QRMI_KEY",)}


def variables_of(*submitted: tuple[str, str], site: Mapping[str, str] = SITE) -> ResourceVariables:
    return collect_variables(Resource("a", "any", site), JOB_ID, submitted)


@pytest.mark.parametrize(
    ("submitted", "expected"),
    [
        ([], {}),
        ([("a_QRMI_KEY", "mine")], {"QRMI_KEY": "mine"}),
        ([("a_QRMI_KEY", "")], {"QRMI_KEY": ""}),
        ([("a_QRMI_NEW", "mine")], {"QRMI_NEW": "mine"}),
        ([("a_OTHER", "x"), ("QRMI_KEY", "x"), ("b_a_QRMI_KEY", "x"), ("b_QRMI_KEY", "x")], {}),
    ],
)
def test_users_variables_win(submitted: list[tuple[str, str]], expected: dict[str, str]) -> None:
    variables = variables_of(*submitted)
    assert variables.user == expected
    assert variables.values == {**SITE, **expected}


def test_token_of_another_job_is_ignored() -> None:
    own = {"QRMI_JOB_ACQUISITION_TOKEN": "t", "QRMI_JOB_TIMEOUT_SECONDS": "9"}
    inherited = [(f"a_{key}", value) for key, value in {**own, "QRMI_KEY": "mine"}.items()]
    is_taken = {None: True, str(JOB_ID): True, "6": False, "": False}
    found = {
        job_id: variables_of(*inherited, *([] if job_id is None else [("QRMI_JOB_ID", job_id)]))
        for job_id in is_taken
    }
    assert {job_id: variables.user for job_id, variables in found.items()} == {
        job_id: {"QRMI_KEY": "mine", **(own if taken else {})} for job_id, taken in is_taken.items()
    }


@pytest.mark.parametrize(
    "jobs",
    [
        [
            ({}, SITE, None),
            ({"QRMI_ENDPOINT": "https://site"}, SITE, None),
            ({"QRMI_KEY": "mine"}, SITE, None),
        ],
        [
            ({"QRMI_ENDPOINT": "https://mine", "QRMI_KEY": "mine"}, SITE, None),
            ({"QRMI_ENDPOINT": "https://mine"}, {"QRMI_KEY": " "}, None),
            ({"QRMI_ENDPOINT": "https://mine"}, {}, None),
        ],
        [
            ({"QRMI_ENDPOINT": "https://mine"}, SITE, "QRMI_ENDPOINT"),
            ({"QRMI_ENDPOINT": ""}, SITE, "QRMI_ENDPOINT"),
            ({"QRMI_IAM": "https://mine"}, SITE, "QRMI_IAM"),
            ({"QRMI_ENDPOINT": "https://mine", "QRMI_KEY": "of the site"}, SITE, "QRMI_ENDPOINT"),
        ],
    ],
    ids=["endpoint of the site", "credential of the user", "clash"],
)
def test_credentials_of_the_site_stay_at_its_endpoint(
    jobs: Sequence[tuple[dict[str, str], dict[str, str], str | None]],
) -> None:
    for user, site, clash in jobs:
        resource = Resource("a", "any", site)
        refusal = None
        try:
            check_credentials_stay_home(resource, ResourceVariables(site, user), SENT_TO)
        except AcquisitionError as error:
            refusal = str(error)
        expected = clash and (
            f"a_{clash} is yours but a_QRMI_KEY is the site's, which is sent only to the site's "
            "endpoint: set both or neither"
        )
        assert refusal == expected, (user, site)


def test_every_credential_of_an_endpoint_is_checked() -> None:
    site = {"QRMI_KEY": "k", "QRMI_CRN": "c"}
    user = {"QRMI_ENDPOINT": "https://mine", "QRMI_KEY": "mine"}
    with pytest.raises(AcquisitionError, match="a_QRMI_CRN is the site's"):
        check_credentials_stay_home(
            Resource("a", "any", site), ResourceVariables(site, user), SENT_TO
        )


def test_time_limit_in_seconds() -> None:
    limits = {
        (60, None): 3600,
        (60, 1800): 1800,
        (30, 1800): 1800,
        (29, 1800): 1740,
        (0, None): 0,
        (None, None): 4294967295,
        (None, 1800): 1800,
        (0xFFFFFFF0, None): 4294967295,
    }
    assert {limit: job_timeout_seconds(*limit) for limit in limits} == limits


def test_every_job_learns_its_id_and_user() -> None:
    expected = [("QRMI_JOB_ID", "7"), ("QRMI_JOB_UID", "1000")]
    assert common_variables(JOB_ID, 1000) == expected


def test_lists_come_in_both_spellings() -> None:
    for names, listed_names, listed_types in (
        ("", "", ""),
        ("a", "a", "t-a"),
        ("ab", "a,b", "t-a,t-b"),
    ):
        assert list_variables([Resource(name, f"t-{name}", {}) for name in names]) == [
            ("QRMI_JOB_QPU_RESOURCES", listed_names),
            ("SLURM_JOB_QPU_RESOURCES", listed_names),
            ("QRMI_JOB_QPU_TYPES", listed_types),
            ("SLURM_JOB_QPU_TYPES", listed_types),
        ], names


def test_what_the_user_set_is_left_alone() -> None:
    variables = variables_of(("a_QRMI_KEY", "mine"), ("a_QRMI_NEW", "mine"))
    assert resource_variables(Resource("a", "any", SITE), variables, "token", 60) == [
        ("a_QRMI_ENDPOINT", "https://site"),
        ("a_QRMI_JOB_ACQUISITION_TOKEN", "token"),
        ("a_QRMI_JOB_TIMEOUT_SECONDS", "60"),
    ]


def test_blanks_around_a_value_do_not_count() -> None:
    site = {"QRMI_ENDPOINT": " https://site/a\n", "QRMI_KEY": "of the site\t", "QRMI_X": " "}
    exported = {"QRMI_KEY": " of the site", "QRMI_NEW": "\u00a0mine\r\n", "QRMI_X": "\t"}
    variables = variables_of(*((f"a_{key}", text) for key, text in exported.items()), site=site)
    assert variables.values == {
        "QRMI_ENDPOINT": "https://site/a",
        "QRMI_KEY": "of the site",
        "QRMI_X": "",
        "QRMI_NEW": "mine",
    }
    assert variables.user == {"QRMI_NEW": "mine"}
    # The job's programs read what was compared and used.
    told = dict(resource_variables(Resource("a", "any", site), variables, "token", 60))
    assert {f"a_{key}": text for key, text in variables.values.items()}.items() <= told.items()


def test_of_an_endpoint_in_another_spelling_the_sites_is_taken() -> None:
    for endpoint in ("HTTPS://SITE", "https://site/", "https://site:443//", " https://Site"):
        variables = variables_of(("a_QRMI_ENDPOINT", endpoint))
        assert (variables.user, variables.values) == ({}, SITE), endpoint
    for endpoint in ("http://site", "https://site:8443", "https://site/a", "https://site/%2f"):
        assert variables_of(("a_QRMI_ENDPOINT", endpoint)).is_users("QRMI_ENDPOINT"), endpoint


def test_credential_of_another_resource_is_the_sites_too() -> None:
    resource = Resource("a", "any", {})
    own = [("a_QRMI_ENDPOINT", "https://mine"), ("a_QRMI_KEY", " key-of-b ")]
    variables = collect_variables(resource, JOB_ID, own, ["key-of-b\n"])
    with pytest.raises(AcquisitionError, match="a_QRMI_KEY is the site's"):
        check_credentials_stay_home(resource, variables, SENT_TO)
    check_credentials_stay_home(resource, collect_variables(resource, JOB_ID, own), SENT_TO)
    own = [("a_QRMI_ENDPOINT", "https://mine/key%2Dof-b")]
    variables = collect_variables(resource, JOB_ID, own, ["key-of-b"])
    with pytest.raises(AcquisitionError, match="is yours but what it holds is the site's"):
        check_credentials_stay_home(resource, variables, SENT_TO)


def test_what_would_take_long_to_read_is_not_read() -> None:
    for key, length, is_refused in (
        *(("QRMI_KEY", 16384, False), ("QRMI_KEY", 16385, True)),
        *(("QRMI_ENDPOINT", 16385, True), ("QRMI_NEW", 16385, False)),
    ):
        own = {"QRMI_ENDPOINT": "https://mine", "QRMI_KEY": "mine", key: "x" * length}
        variables = variables_of(*((f"a_{name}", text) for name, text in own.items()))
        found = refusal_of(
            *(AcquisitionError, check_credentials_stay_home, Resource("a", "any", SITE)),
            *(variables, SENT_TO),
        )
        expected = f"a_{key} is longer than 16384 characters" if is_refused else None
        assert found == expected, (key, length)


def test_login_is_noted_as_the_sites_if_no_part_of_it_is_a_users() -> None:
    is_sites = {"QRMI_MODE": True, "QRMI_CRN": False, "QRMI_KEY": False, "QRMI_IAM": False}
    for key, expected in is_sites.items():
        variables = variables_of((f"a_{key}", "mine"))
        assert has_sites_login(variables, SENT_TO) is expected, key
    assert has_sites_login(variables_of(), SENT_TO)


def test_what_the_site_alone_may_choose_is_refused_to_users() -> None:
    refusal = "a_QRMI_MODE is set by the site alone: unset it"
    mine = {"QRMI_MODE": "mine"}
    for site, user, locked, expected in (
        ({}, mine, (), None),
        ({}, mine, ("QRMI_KEY",), None),
        ({}, mine, ("QRMI_MODE",), refusal),
        ({}, mine, True, refusal),
        ({"QRMI_MODE": "ours"}, mine, ("QRMI_MODE",), refusal),
        ({"QRMI_MODE": "ours"}, {"QRMI_MODE": ""}, ("QRMI_MODE",), refusal),
        # What changes nothing may stand there: a nested job inherits it.
        ({"QRMI_MODE": "ours"}, {"QRMI_MODE": " ours\n"}, ("QRMI_MODE",), None),
        ({"QRMI_MODE": "ours"}, {}, True, None),
        ({}, {"QRMI_MODE": " "}, True, None),
    ):
        resource = Resource("a", "any", site, locked=locked)
        exported = [(f"a_{key}", text) for key, text in user.items()]
        variables = collect_variables(resource, JOB_ID, exported)
        found = refusal_of(AcquisitionError, check_sites_choices, resource, variables, ())
        assert found == expected, (site, user, locked)


def test_site_that_forbids_endpoints_of_users_refuses_them() -> None:
    for exported, expected in {
        "QRMI_IAM": "a_QRMI_IAM is set by the site alone: unset it",
        "QRMI_ENDPOINT": "a_QRMI_ENDPOINT is set by the site alone: unset it",
        "QRMI_KEY": None,
    }.items():
        variables = variables_of((f"a_{exported}", "https://mine"))
        resource = Resource("a", "any", SITE)
        found = refusal_of(AcquisitionError, check_sites_choices, resource, variables, SENT_TO)
        assert found == expected
    same = variables_of(("a_QRMI_ENDPOINT", "https://site/"))
    check_sites_choices(Resource("a", "any", SITE), same, SENT_TO)


def test_values_are_left_out_of_repr() -> None:
    assert "of the site" not in repr(variables_of(("a_QRMI_KEY", "mine")))
    assert "mine" not in repr(variables_of(("a_QRMI_KEY", "mine")))


def test_value_that_is_no_text_is_named() -> None:
    resource = Resource("a", "direct-access", {})
    variables = ResourceVariables({}, {"QRMI_X": "1", "QRMI_Y": "\udcff"})
    with pytest.raises(AcquisitionError, match=r"^a_QRMI_Y is not UTF-8 text$"):
        check_values_are_text(resource, variables)
    variables = ResourceVariables({}, {"QRMI_\n\udcff": "1"})
    with pytest.raises(AcquisitionError, match=r"^a_QRMI_\?\? is not UTF-8 text$"):
        check_values_are_text(resource, variables)


def test_limit_that_the_user_set_is_left_alone() -> None:
    user = {"QRMI_KEY": "mine", "QRMI_JOB_TIMEOUT_SECONDS": "60"}
    variables = ResourceVariables(SITE, user)
    names = [
        name for name, _ in resource_variables(Resource("a", "any", SITE), variables, "t", 300)
    ]
    assert "a_QRMI_JOB_ACQUISITION_TOKEN" in names
    assert not {f"a_{key}" for key in user} & set(names)


def test_export_list_has_the_jobs_variables_too() -> None:
    lists = {
        None: None,
        "ALL": None,
        "all": None,
        "X=y,ALL": None,
        "NONE": "A,B",
        "none": "A,B",
        "NIL": "A,B",
        "": "A,B",
        "HOME": "HOME,A,B",
        "HOME,X=ALL": "HOME,X=ALL,A,B",
    }
    found = {chosen: export_variable(set_to(chosen), ["A", "B"]) for chosen in lists}
    assert found == {chosen: set_to(expected) for chosen, expected in lists.items()}


def set_to(export_list: str | None) -> list[tuple[str, str]]:
    return [] if export_list is None else [("SLURM_EXPORT_ENV", export_list)]
