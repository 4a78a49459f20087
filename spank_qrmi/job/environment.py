# SPDX-License-Identifier: GPL-3.0-or-later
"""A job's environment variables about QPUs: which are read, which are set, under what name."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from spank_qrmi.clients import CLIENTS, keys_alike
from spank_qrmi.clients.request import base_url, plain_url
from spank_qrmi.configuration.qrmi_config import Resource

JOB_ID = "QRMI_JOB_ID"
JOB_UID = "QRMI_JOB_UID"
RESOURCE_LISTS = ("QRMI_JOB_QPU_RESOURCES", "SLURM_JOB_QPU_RESOURCES")
TYPE_LISTS = ("QRMI_JOB_QPU_TYPES", "SLURM_JOB_QPU_TYPES")

EXPORT_LIST = "SLURM_EXPORT_ENV"
"""What `sbatch --export` was given, and what srun in the script obeys."""

ACQUISITION_TOKEN = "QRMI_JOB_ACQUISITION_TOKEN"  # noqa: S105 (a variable's name)
TIMEOUT_SECONDS = "QRMI_JOB_TIMEOUT_SECONDS"

MOST_VARIABLES = 256
"""A user's of one resource: root reads them, and clears each line of their secrets."""

_OF_THE_JOB = (ACQUISITION_TOKEN, TIMEOUT_SECONDS)


@dataclass(frozen=True)
class ResourceVariables:
    """A resource's variables, keys without the `<name>_` prefix: the user's win over the site's.

    `user` are those that differ from the site's, `exported` their texts as the job has them.
    `site_secrets` are all that the site has configured, of other resources too. `alike` has the
    keys of the type's other names, each with the key in its place: in `user` it stands only if the
    user gave both, with different values.
    """

    site: Mapping[str, str] = field(repr=False)
    user: Mapping[str, str] = field(repr=False)
    exported: Mapping[str, str] = field(default_factory=dict, repr=False)
    site_secrets: frozenset[str] = field(default=frozenset(), repr=False)
    alike: Mapping[str, str] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, str]:
        """The variables as the resource's client and the job see them."""
        return {**self.site, **self.user}

    @property
    def are_too_many(self) -> bool:
        """Whether the user brought more than MOST_VARIABLES."""
        return len(self.exported) > MOST_VARIABLES

    def names_of(self, key: str) -> list[str]:
        """Return the keys by which a job has a value: the type's own first."""
        return [key, *(other for other, own_key in self.alike.items() if own_key == key)]

    def name_used(self, key: str) -> str:
        """Return the key by which the user exported a value, the type's own if he did not."""
        site = self.site.get(key, "")
        brought = (name for name in self.names_of(key) if name in self.exported)
        return next((each for each in brought if not _is_same(self.exported[each], site)), key)

    def is_users(self, key: str) -> bool:
        """Return whether the user decided the value, differently from the site."""
        return key in self.user and self.user[key] != self.site.get(key, "")

    def is_sites(self, key: str) -> bool:
        """Return whether the value in force is one that the site configured."""
        return bool(self.site.get(key, "").strip()) and not self.is_users(key)


def variables_prefix(resource: Resource) -> str:
    """Return how the names of a resource's variables begin in a job."""
    return f"{resource.name}_QRMI_"


def collect_variables(
    resource: Resource,
    job_id: int,
    submitted_variables: Sequence[tuple[str, str]],
    site_secrets: Iterable[str] = (),
) -> ResourceVariables:
    """Return the site's and the user's variables of a resource, as they are compared and used.

    Blanks around a value do not count, nor slashes at the end of an endpoint, with which vendors'
    clients would ask; another spelling of the site's value is the site's, and a key of the type's
    other name is its own. A job submitted from within another QPU job inherits that one's
    environment: its acquisition token and time limit are not the user's wish for this job.
    """
    endpoints = CLIENTS[resource.type].sent_to if resource.type in CLIENTS else ()
    prefix = variables_prefix(resource)
    exported = {
        name.removeprefix(f"{resource.name}_"): value
        for name, value in submitted_variables
        if name.startswith(prefix)
    }
    if dict(submitted_variables).get(JOB_ID, str(job_id)) != str(job_id):
        exported = {key: value for key, value in exported.items() if key not in _OF_THE_JOB}
    alike = keys_alike(resource.type, resource.also_as)
    site, brought = (
        {
            key: _as_used(value, is_endpoint=alike.get(key, key) in endpoints)
            for key, value in values.items()
        }
        for values in (resource.environment, exported)
    )
    user: dict[str, str] = {}
    # What the type's own keys say comes first; another one that differs is left for the check.
    for key in sorted(brought, key=alike.__contains__):
        value, own_key = brought[key], alike.get(key, key)
        if not _is_same(value, site.get(own_key, "")) and user.setdefault(own_key, value) != value:
            user[key] = value
    secrets = frozenset(each.strip() for each in (*site_secrets, *resource.secrets())) - {""}
    return ResourceVariables(site, user, exported, secrets, alike)


def _as_used(value: str, *, is_endpoint: bool) -> str:
    plain = value.strip()
    return (base_url(plain) if is_endpoint else None) or plain


def _is_same(value: str, site_value: str) -> bool:
    """Return whether a value of the user's is the site's, or another spelling of its URL."""
    url = plain_url(site_value)
    return value == site_value or (url is not None and plain_url(value) == url)


def common_variables(job_id: int, uid: int) -> list[tuple[str, str]]:
    """Return what every job with `--qpu` gets, whatever was acquired."""
    return [(JOB_ID, str(job_id)), (JOB_UID, str(uid))]


def shares_qpus(submitted_variables: Sequence[tuple[str, str]]) -> bool:
    """Return whether a step has QPUs of its job's already: then its request has their lists."""
    return any(name in RESOURCE_LISTS and value for name, value in submitted_variables)


def list_variables(
    resources: Sequence[Resource], submitted_variables: Sequence[tuple[str, str]] = ()
) -> list[tuple[str, str]]:
    """Return the lists of acquired resources, in both spellings that QRMI's releases read.

    They stand behind those that the step shares with its job.

    Releases that read the first one skip a type that they do not know, so it has a resource once
    for each name of its type; those that read the second alone may fail on such a type.
    """
    by_all_names = [(each.name, name) for each in resources for name in (each.type, *each.also_as)]
    by_type = [(each.name, each.type) for each in resources]
    shared = dict(submitted_variables)
    return [
        (variable, ",".join(filter(None, [shared.get(variable), *(pair[place] for pair in pairs)])))
        for place, variables in enumerate((RESOURCE_LISTS, TYPE_LISTS))
        for variable, pairs in zip(variables, (by_all_names, by_type), strict=True)
    ]


def resource_variables(
    resource: Resource, variables: ResourceVariables, token: str, timeout_seconds: int
) -> list[tuple[str, str]]:
    """Return what a job gets for one acquired resource.

    What the user set himself is left alone, but for blanks around it that did not count.
    """
    of_the_job = {ACQUISITION_TOKEN: token, TIMEOUT_SECONDS: str(timeout_seconds)}
    in_force = {**variables.site, **of_the_job, **variables.user}
    return [
        (f"{resource.name}_{name}", value)
        for key, value in in_force.items()
        for name in variables.names_of(key)
        if key not in variables.user or variables.exported.get(name) != value
    ]


def export_variable(
    submitted_variables: Sequence[tuple[str, str]], names: Iterable[str]
) -> list[tuple[str, str]]:
    """Return the export list with the job's own variables in it, so that steps have them too.

    Nothing if srun exports all. Without this `sbatch --export=NONE` keeps from the steps what the
    script has (srun(1), --export).
    """
    chosen = dict(submitted_variables).get(EXPORT_LIST)
    if chosen is None or "ALL" in chosen.upper().split(","):
        return []
    kept = [chosen] if chosen.upper() not in ("", "NONE", "NIL") else []
    return [(EXPORT_LIST, ",".join([*kept, *names]))]
