# SPDX-License-Identifier: GPL-3.0-or-later
"""What users may choose, and whose credentials go where."""

from collections.abc import Sequence
from dataclasses import replace

from spank_qrmi.clients import CLIENTS
from spank_qrmi.configuration.qrmi_config import Resource
from spank_qrmi.errors import AcquisitionError
from spank_qrmi.job.environment import ResourceVariables, collect_variables
from spank_qrmi.job.site_choices import (
    check_credentials_stay_home,
    check_names_agree,
    check_nothing_is_raised,
    check_sites_choices,
    check_values_are_text,
    has_sites_login,
)
from tests.unit.job.test_environment import (
    BY_TWO_NAMES,
    JOB_ID,
    QCS,
    QRS,
    SENT_TO,
    SITE,
    variables_of,
)
from tests.unit.outcomes import refusal_of


def clash(
    site: dict[str, str], user: dict[str, str], others_secrets: Sequence[str] = ()
) -> str | None:
    """Return why a job with these variables is refused for whose credentials go where."""
    resource = Resource("a", "any", site)
    exported = [(f"a_{key}", value) for key, value in user.items()]
    variables = collect_variables(resource, JOB_ID, exported, others_secrets)
    return refusal_of(AcquisitionError, check_credentials_stay_home, resource, variables, SENT_TO)


ENDPOINT = {"QRMI_ENDPOINT": "https://mine"}


def test_credentials_of_the_site_stay_at_its_endpoint() -> None:
    for user, site, clashing in (
        ({"QRMI_ENDPOINT": "https://site"}, SITE, ()),
        ({"QRMI_KEY": "mine"}, SITE, ()),
        ({**ENDPOINT, "QRMI_KEY": "mine"}, SITE, ()),
        (ENDPOINT, {"QRMI_KEY": " "}, ()),
        (ENDPOINT, SITE, ("QRMI_ENDPOINT", "QRMI_KEY")),
        ({"QRMI_ENDPOINT": ""}, SITE, ("QRMI_ENDPOINT", "QRMI_KEY")),
        ({"QRMI_IAM": "https://mine"}, SITE, ("QRMI_IAM", "QRMI_KEY")),
        ({**ENDPOINT, "QRMI_KEY": "of the site"}, SITE, ("QRMI_ENDPOINT", "QRMI_KEY")),
        # Every credential of an endpoint is checked.
        (
            {**ENDPOINT, "QRMI_KEY": "mine"},
            {"QRMI_KEY": "k", "QRMI_CRN": "c"},
            ("QRMI_ENDPOINT", "QRMI_CRN"),
        ),
    ):
        expected = None
        if clashing:
            endpoint, credential = clashing
            expected = (
                f"a_{endpoint} is yours but a_{credential} is the site's, which is sent only to "
                "the site's endpoint: set both or neither"
            )
        assert clash(site, user) == expected, (user, site)


def test_credential_of_another_resource_is_the_sites_too() -> None:
    own = {**ENDPOINT, "QRMI_KEY": " key-of-b "}
    assert "a_QRMI_KEY is the site's" in str(clash({}, own, ["key-of-b\n"]))
    assert clash({}, own) is None
    within = str(clash({}, {"QRMI_ENDPOINT": "https://mine/key%2Dof-b"}, ["key-of-b"]))
    assert "is yours but what it holds is the site's" in within


def test_what_would_take_long_to_read_is_not_read() -> None:
    for key, length, is_refused in (
        *(("QRMI_KEY", 16384, False), ("QRMI_KEY", 16385, True)),
        *(("QRMI_ENDPOINT", 16385, True), ("QRMI_NEW", 16385, False)),
    ):
        own = {**ENDPOINT, "QRMI_KEY": "mine", key: "x" * length}
        expected = f"a_{key} is longer than 16384 characters" if is_refused else None
        assert clash(SITE, own) == expected, (key, length)


def test_login_is_noted_as_the_sites_if_no_part_of_it_is_a_users() -> None:
    is_sites = {"QRMI_MODE": True, "QRMI_CRN": False, "QRMI_KEY": False, "QRMI_IAM": False}
    for key, expected in is_sites.items():
        variables = variables_of((f"a_{key}", "mine"))
        assert has_sites_login(variables, SENT_TO) is expected, key
    assert has_sites_login(variables_of(), SENT_TO)


def test_what_the_site_alone_may_choose_is_refused_to_users() -> None:
    mode, ours = {"QRMI_MODE": "mine"}, {"QRMI_MODE": "ours"}
    for site, user, locked, endpoints, refused in (
        ({}, mode, ("QRMI_KEY",), (), None),
        ({}, mode, ("QRMI_MODE",), (), "QRMI_MODE"),
        ({}, mode, True, (), "QRMI_MODE"),
        (ours, mode, ("QRMI_MODE",), (), "QRMI_MODE"),
        (ours, {"QRMI_MODE": ""}, ("QRMI_MODE",), (), "QRMI_MODE"),
        # What changes nothing may stand there: a nested job inherits it.
        (ours, {"QRMI_MODE": " ours\n"}, ("QRMI_MODE",), (), None),
        (ours, {}, True, (), None),
        ({}, {"QRMI_MODE": " "}, True, (), None),
        # A site may forbid endpoints of users.
        (SITE, {"QRMI_IAM": "https://mine"}, (), SENT_TO, "QRMI_IAM"),
        (SITE, ENDPOINT, (), SENT_TO, "QRMI_ENDPOINT"),
        (SITE, {"QRMI_ENDPOINT": "https://site/"}, (), SENT_TO, None),
        (SITE, {"QRMI_KEY": "mine"}, (), SENT_TO, None),
    ):
        resource = Resource("a", "any", site, locked=locked)
        exported = [(f"a_{key}", text) for key, text in user.items()]
        variables = collect_variables(resource, JOB_ID, exported)
        found = refusal_of(AcquisitionError, check_sites_choices, resource, variables, endpoints)
        expected = refused and f"a_{refused} is set by the site alone: unset it"
        assert found == expected, (site, user, locked)


def test_two_values_of_what_means_the_same_are_refused() -> None:
    exported = [(f"a_{QRS}SESSION_MODE", "batch"), (f"a_{QCS}SESSION_MODE", "dedicated")]
    both = f"a_{QCS}SESSION_MODE and a_{QRS}SESSION_MODE"
    refusal = f"{both} mean the same but differ: unset one of them"
    for each, expected in ((exported, refusal), (exported[::-1], refusal), (exported[:1], None)):
        given = (BY_TWO_NAMES, collect_variables(BY_TWO_NAMES, JOB_ID, each))
        assert refusal_of(AcquisitionError, check_names_agree, *given) == expected, each


def test_what_a_user_gives_by_the_other_name_is_checked_and_called_so() -> None:
    mine = (f"a_{QCS}ENDPOINT", "https://mine")
    # A nested job inherits the other one.
    sites = (f"a_{QRS}ENDPOINT", "https://site/v1")
    variables = collect_variables(BY_TWO_NAMES, JOB_ID, [sites, mine])
    sent_to = CLIENTS[BY_TWO_NAMES.type].sent_to
    assert not has_sites_login(variables, sent_to)
    resource = replace(BY_TWO_NAMES, locked=(f"{QRS}ENDPOINT",))
    for check, arguments, expected in (
        (check_sites_choices, (resource, variables, ()), f"{mine[0]} is set by the site alone"),
        (check_sites_choices, (BY_TWO_NAMES, variables, sent_to), f"{mine[0]} is set by the site"),
        (
            *(check_credentials_stay_home, (BY_TWO_NAMES, variables, sent_to)),
            f"{mine[0]} is yours but a_{QRS}IAM_APIKEY is the site's",
        ),
    ):
        refusal = str(refusal_of(AcquisitionError, check, *arguments))
        assert refusal.startswith(expected), refusal


def test_value_that_is_no_text_is_named() -> None:
    for key, value, shown in (("QRMI_Y", "\udcff", "QRMI_Y"), ("QRMI_\n\udcff", "1", "QRMI_??")):
        variables = ResourceVariables({}, {"QRMI_X": "1", key: value})
        refusal = refusal_of(AcquisitionError, check_values_are_text, BY_TWO_NAMES, variables)
        assert refusal == f"a_{shown} is not UTF-8 text"


def test_user_may_have_less_than_the_site_says_and_not_more() -> None:
    for site, user, problem in (
        ("3", "4", "a_QRMI_N is more than the site allows (3): lower it"),
        ("3", "2147483647", "a_QRMI_N is more than the site allows (3): lower it"),
        ("many", "1", "the site's a_QRMI_N is no whole number: tell the administrator"),
        ("3", "3", None),
        ("3", "2", None),
        (None, "1000", None),
        ("", "1000", None),
        # What is no number is refused by the client, whatever the site says.
        ("3", "-4", None),
        ("3", "4 ", "a_QRMI_N is more than the site allows (3): lower it"),
    ):
        resource = Resource("a", "any", {} if site is None else {"QRMI_N": site})
        variables = collect_variables(resource, JOB_ID, [("a_QRMI_N", user)])
        for keys, expected in ((("QRMI_N",), problem), ((), None)):
            given = (resource, variables, keys)
            found = refusal_of(AcquisitionError, check_nothing_is_raised, *given)
            assert found == expected, (site, user)
