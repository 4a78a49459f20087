# SPDX-License-Identifier: GPL-3.0-or-later
"""A job's variables: whose value wins, what every job is told."""

from collections.abc import Mapping

from spank_qrmi.configuration.qrmi_config import Resource
from spank_qrmi.job.environment import (
    ResourceVariables,
    collect_variables,
    export_variable,
    list_variables,
    resource_variables,
)

JOB_ID = 7
SITE = {"QRMI_ENDPOINT": "https://site", "QRMI_KEY": "of the site"}
SENT_TO = {"QRMI_ENDPOINT": ("QRMI_KEY", "QRMI_CRN"), "QRMI_IAM": ("QRMI_KEY",)}


def variables_of(*submitted: tuple[str, str], site: Mapping[str, str] = SITE) -> ResourceVariables:
    return collect_variables(Resource("a", "any", site), JOB_ID, submitted)


def test_users_variables_win_and_no_value_is_in_repr() -> None:
    for submitted, expected in (
        ([], {}),
        ([("a_QRMI_KEY", "mine")], {"QRMI_KEY": "mine"}),
        ([("a_QRMI_KEY", "")], {"QRMI_KEY": ""}),
        ([("a_QRMI_NEW", "mine")], {"QRMI_NEW": "mine"}),
        ([("a_OTHER", "x"), ("QRMI_KEY", "x"), ("b_a_QRMI_KEY", "x"), ("b_QRMI_KEY", "x")], {}),
    ):
        variables = variables_of(*submitted)
        assert variables.user == expected, submitted
        assert variables.values == {**SITE, **expected}, submitted
        shown = repr(variables)
        assert ("of the site" in shown, "mine" in shown) == (False, False), submitted


def test_token_of_another_job_is_ignored() -> None:
    own = {"QRMI_JOB_ACQUISITION_TOKEN": "t", "QRMI_JOB_TIMEOUT_SECONDS": "9"}
    inherited = [(f"a_{key}", value) for key, value in {**own, "QRMI_KEY": "mine"}.items()]
    for job_id, taken in {None: own, str(JOB_ID): own, "6": {}, "": {}}.items():
        of_job = [] if job_id is None else [("QRMI_JOB_ID", job_id)]
        assert variables_of(*inherited, *of_job).user == {"QRMI_KEY": "mine", **taken}, job_id


def test_lists_come_in_both_spellings() -> None:
    """For newer clients, a QPU is there by each name of its type."""
    resources = [Resource("a", "old", {}, also_as=("new",)), Resource("b", "t-b", {})]
    assert list_variables(resources) == [
        ("QRMI_JOB_QPU_RESOURCES", "a,a,b"),
        ("SLURM_JOB_QPU_RESOURCES", "a,b"),
        ("QRMI_JOB_QPU_TYPES", "old,new,t-b"),
        ("SLURM_JOB_QPU_TYPES", "old,t-b"),
    ]


QRS, QCS = "QRMI_IBM_QRS_", "QRMI_IBM_QCS_"
# With a slash at its endpoint's end, clients of the vendor would ask for /v1//backends.
BY_TWO_NAMES = Resource(
    "a",
    "qiskit-runtime-service",
    {f"{QRS}ENDPOINT": "https://site/v1/ ", f"{QRS}IAM_APIKEY": "key/"},
    also_as=("ibm-quantum-compute-service",),
)


def test_job_has_each_value_by_both_names() -> None:
    for by_qrs, by_qcs, endpoint in (
        (None, None, "https://site/v1"),
        (None, "https://mine/ ", "https://mine"),
        ("https://mine", None, "https://mine"),
        ("https://mine", "https://mine/", "https://mine"),
        # A nested job inherits the site's by both names.
        ("https://site/v1", "https://mine", "https://mine"),
        ("https://mine", "HTTPS://site/v1/", "https://mine"),
        (None, "https://SITE/v1/", "https://site/v1"),
    ):
        exported = {f"a_{QRS}ENDPOINT": by_qrs, f"a_{QCS}ENDPOINT": by_qcs}
        submitted = [(name, value) for name, value in exported.items() if value is not None]
        variables = collect_variables(BY_TWO_NAMES, JOB_ID, submitted)
        site_and_user = {f"{QRS}ENDPOINT": endpoint, f"{QRS}IAM_APIKEY": "key/"}
        assert variables.values == site_and_user, submitted
        assert variables.is_users(f"{QRS}ENDPOINT") is (endpoint == "https://mine"), submitted
        told = dict(resource_variables(BY_TWO_NAMES, variables, "token", 60))
        assert {**dict(submitted), **told} == {
            **{f"a_{key}": value for key, value in site_and_user.items()},
            f"a_{QCS}ENDPOINT": endpoint,
            f"a_{QCS}IAM_APIKEY": "key/",
            "a_QRMI_JOB_ACQUISITION_TOKEN": "token",
            "a_QRMI_JOB_TIMEOUT_SECONDS": "60",
        }, submitted


def test_what_the_user_set_is_left_alone() -> None:
    set_by_user = ("QRMI_KEY", "QRMI_NEW", "QRMI_JOB_TIMEOUT_SECONDS")
    variables = variables_of(*((f"a_{key}", "9") for key in set_by_user))
    assert resource_variables(Resource("a", "any", SITE), variables, "token", 60) == [
        ("a_QRMI_ENDPOINT", "https://site"),
        ("a_QRMI_JOB_ACQUISITION_TOKEN", "token"),
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


def test_export_list_has_the_jobs_variables_too() -> None:
    assert export_variable([], ["A", "B"]) == []
    for chosen in ("ALL", "all", "X=y,ALL"):
        assert export_variable([("SLURM_EXPORT_ENV", chosen)], ["A", "B"]) == [], chosen
    lists = dict.fromkeys(("NONE", "none", "NIL", ""), "A,B")
    lists |= {"HOME": "HOME,A,B", "HOME,X=ALL": "HOME,X=ALL,A,B"}
    for chosen, expected in lists.items():
        found = export_variable([("SLURM_EXPORT_ENV", chosen)], ["A", "B"])
        assert found == [("SLURM_EXPORT_ENV", expected)], chosen
