# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user may choose for a resource, and where the site's credentials may go then."""

from collections.abc import Iterable, Mapping

from spank_qrmi.configuration.qrmi_config import Resource
from spank_qrmi.errors import AcquisitionError
from spank_qrmi.job.environment import MOST_VARIABLES, ResourceVariables, variables_prefix
from spank_qrmi.numbers_in_text import parse_number
from spank_qrmi.redaction import is_told_by, printable

LARGEST_LOWERED = 2**31 - 1
"""No client takes a larger number that a user may lower."""

LONGEST_TO_OWN_ENDPOINT = 16 * 1024
"""Characters of each value that goes to an endpoint of a user's: root reads all their spellings."""


def has_sites_login(variables: ResourceVariables, sent_to: Mapping[str, Iterable[str]]) -> bool:
    """Return whether endpoints and credentials, see `Client.sent_to`, are all the site's."""
    keys = (key for endpoint, credentials in sent_to.items() for key in (endpoint, *credentials))
    return not any(map(variables.is_users, keys))


def check_variables_are_few(resource: Resource, variables: ResourceVariables) -> None:
    """Raise AcquisitionError if the user brought more variables than a resource may have."""
    if variables.are_too_many:
        raise AcquisitionError(
            f"{len(variables.exported)} variables {variables_prefix(resource)}* are exported, more "
            f"than {MOST_VARIABLES}: unset those that it does not need"
        )


def check_values_are_text(resource: Resource, variables: ResourceVariables) -> None:
    """Raise AcquisitionError for a variable of the user's that is not UTF-8, name and value."""
    for key, value in variables.user.items():
        if any("\udc80" <= character <= "\udcff" for character in key + value):
            raise AcquisitionError(f"{resource.name}_{printable(key)} is not UTF-8 text")


def check_names_agree(resource: Resource, variables: ResourceVariables) -> None:
    """Raise AcquisitionError if the user gave different values by two names of a type."""
    for key in filter(variables.alike.__contains__, variables.user):
        raise AcquisitionError(
            f"{resource.name}_{key} and {resource.name}_{variables.alike[key]} mean the same but "
            "differ: unset one of them"
        )


def check_sites_choices(
    resource: Resource, variables: ResourceVariables, own_endpoints: Iterable[str]
) -> None:
    """Raise AcquisitionError for a value of the user's where the site alone may choose.

    That is in `own_endpoints` and in what the resource locks.
    """
    for key in filter(variables.is_users, (*own_endpoints, *variables.user)):
        if resource.is_locked(key) or key in own_endpoints:
            name = f"{resource.name}_{printable(variables.name_used(key))}"
            raise AcquisitionError(f"{name} is set by the site alone: unset it")


def check_nothing_is_raised(
    resource: Resource, variables: ResourceVariables, keys: Iterable[str]
) -> None:
    """Raise AcquisitionError for a number of the user's that is larger than the site's.

    What is no number of the user's is the client's to refuse.
    """
    for key in filter(variables.is_users, keys):
        if not variables.site.get(key, ""):
            continue
        name = f"{resource.name}_{key}"
        most = parse_number(variables.site[key], LARGEST_LOWERED)
        if most is None:
            raise AcquisitionError(f"the site's {name} is no whole number: tell the administrator")
        if (parse_number(variables.user[key], LARGEST_LOWERED) or 0) > most:
            raise AcquisitionError(f"{name} is more than the site allows ({most}): lower it")


def check_credentials_stay_home(
    resource: Resource, variables: ResourceVariables, sent_to: Mapping[str, Iterable[str]]
) -> None:
    """Raise AcquisitionError if a credential of the site's would go to an endpoint of the user's.

    What goes where is said by `sent_to`, see `Client`. A user's value that holds one, in whatever
    spelling, is the site's.
    """
    for endpoint, credentials in sent_to.items():
        if not variables.is_users(endpoint):
            continue
        for key in (*credentials, endpoint):
            value = variables.user.get(key, "")
            name = f"{resource.name}_{variables.name_used(key)}"
            if len(value) > LONGEST_TO_OWN_ENDPOINT:
                raise AcquisitionError(
                    f"{name} is longer than {LONGEST_TO_OWN_ENDPOINT} characters"
                )
            if variables.is_sites(key) or is_told_by(value, variables.site_secrets):
                other = "what it holds" if key == endpoint else name
                used = f"{resource.name}_{variables.name_used(endpoint)}"
                raise AcquisitionError(
                    f"{used} is yours but {other} is the site's, which is sent "
                    "only to the site's endpoint: set both or neither"
                )
