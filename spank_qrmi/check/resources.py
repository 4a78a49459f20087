# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether each entry of qrmi_config.json can be used, and says what was meant."""

from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit

from spank_qrmi.catalog.license_list import held_licenses
from spank_qrmi.catalog.license_names import license_name_of
from spank_qrmi.check.finding import Finding, doubtful, right, wrong
from spank_qrmi.check.node import Node
from spank_qrmi.clients import CLIENTS, unread_text
from spank_qrmi.clients.base import Settings
from spank_qrmi.configuration.access import allowed_ids
from spank_qrmi.configuration.qrmi_config import Config, Resource
from spank_qrmi.configuration.qrmi_plugstack import LicenseCheck, PluginArguments
from spank_qrmi.configuration.secret_files import read_secrets
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import (
    AcquisitionError,
    ConfigError,
    CredentialError,
    NameServiceError,
    QrmiError,
)
from spank_qrmi.job.environment import collect_variables
from spank_qrmi.job.resolution import shown_names
from spank_qrmi.trust.munge import LONGEST_SECONDS, Munge
from spank_qrmi.trust.name_service import LOOK_UP_SECONDS, NameService

# Of the time that is left, one look-up takes half.
_NAMES_SECONDS = 2 * LOOK_UP_SECONDS


class MissingVariableError(AcquisitionError):
    """The site has left a variable to the users."""


class SiteSettings(Settings):
    """A resource's variables as the site has them; one that is missing is known by its error."""

    def require(self, key: str) -> str:
        """Return the stripped value of `key`; raise MissingVariableError if there is none."""
        if self.get(key) is None:
            raise MissingVariableError(f"{self.variable(key)} is not set")
        return super().require(key)


def site_settings(resource: Resource) -> SiteSettings:
    """Return what the client of a resource is given for a job whose user brings nothing."""
    return SiteSettings(resource.name, collect_variables(resource, 0, ()).values)


def chosen_resources(node: Node, config: Config) -> list[Resource]:
    """Return the usable entries that are looked at."""
    names = node.names or tuple(config.resources)
    return [config.resources[name] for name in names if name in config.resources]


def check_config(node: Node) -> Iterator[Finding]:
    """Look whether the file can be used, is root's alone, and has the QPUs that are asked for."""
    config = node.config
    if config is None:
        return
    known = {name for name, _ in config.problems} | set(config.resources)
    for name in (each for each in node.names if each not in known):
        defined = shown_names(list(config.resources)) or "none"
        yield wrong(f"{config.path}: has no entry of the name {name}; it has {defined}")
    for text in config.exposures:
        yield (wrong if node.arguments.is_strict else doubtful)(text)
    for of_name, problem in config.problems:
        if not node.names or of_name is None or of_name in node.names:
            yield wrong(str(problem))
    if not config.resources and not config.problems:
        yield doubtful(f"{config.path}: has no QPU", "copy entries of qrmi_config.json.example")
    elif not config.exposures:
        yield right(f"{config.path}: can be read by root alone, or has no secret")


def check_resources(node: Node) -> Iterator[Finding]:
    """Look whether each entry is of use to jobs, and something reads each of its keys."""
    config = node.config
    for resource in chosen_resources(node, config) if config else ():
        place = f"{config.path}: resource {resource.name}" if config else ""
        findings = list(_findings_of(place, resource, node))
        yield from findings or [right(f"{place}: {resource.type}, with all that it needs")]


def _findings_of(place: str, resource: Resource, node: Node) -> Iterator[Finding]:
    try:
        whole, exposures = read_secrets(resource, node.config.path if node.config else "")
    except ConfigError as error:
        yield wrong(str(error))
        return
    for text in exposures:
        yield (wrong if node.arguments.is_strict else doubtful)(text)
    unread = unread_text(resource.type, whole.environment)
    yield from _unread(place, resource, unread)
    yield from _access(place, resource)
    yield from _spelling(place, whole)
    try:
        CLIENTS[resource.type](site_settings(whole))
    except MissingVariableError as error:
        # A site may leave all to its users; half of an entry is more often a slip.
        if unread:
            yield wrong(f"{place}: {error}", "give the key that was meant its right name")
        elif whole.environment:
            yield doubtful(f"{place}: {error}", "add it, or tell your users to export it")
        else:
            yield right(f"{place}: {resource.type}, whose users bring all variables")
    except QrmiError as error:
        yield wrong(f"{place}: {error}")


def _unread(place: str, resource: Resource, unread: str) -> Iterator[Finding]:
    if unread:
        yield doubtful(f"{place}: environment: {unread}", "correct the name, or take it out")
    if resource.unread:
        beside = ", ".join(resource.unread)
        yield doubtful(f'{place}: beside "environment" nothing reads {beside}', "take it out")
    if not isinstance(resource.locked, bool):
        unlocking = unread_text(resource.type, resource.locked)
        if unlocking:
            yield wrong(f'{place}: "locked" locks nothing: {unlocking}', "correct the name")


def _access(place: str, resource: Resource) -> Iterator[Finding]:
    """Look whether this node knows the users and groups whom an entry lets in."""
    try:
        allowed = allowed_ids(resource.access, NameService(Deadline(_NAMES_SECONDS)))
    except NameServiceError as error:
        yield doubtful(f"{place}: {error}: nobody is let in until then", "getent passwd NAME")
        return
    if allowed is not None and not allowed.is_complete:
        yield doubtful(
            f'{place}: this node does not know all of its "users" and "groups"',
            "correct the names, or let the node's name services know them",
        )


def check_licenses(node: Node) -> Iterator[Finding]:
    """Look whether jobs can hold the licences that they are to hold."""
    config, arguments = node.config, node.arguments
    if config is None or not isinstance(arguments, PluginArguments):
        return
    if arguments.license_check is LicenseCheck.OFF:
        yield right("jobs need none: --license-check=off")
        return
    known = held_licenses(node.slurm_values.get("licenses", ""))
    names = [license_name_of(each.name) for each in chosen_resources(node, config)]
    missing = [name for name in dict.fromkeys(names) if not known.get(name)]
    if missing:
        more = ",".join(f"{name}:1" for name in missing)
        yield doubtful(
            f"{node.slurm_conf}: Licenses lacks {shown_names(missing)}, which "
            f"--license-check={arguments.license_check.value} asks jobs for: one of "
            "slurmdbd's may stand for it",
            f"Licenses=…,{more}",
        )
    else:
        yield right(f"{node.slurm_conf}: has a licence for each QPU")


def check_munge(node: Node) -> Iterator[Finding]:
    """Look whether root gets the MUNGE credentials by which some services know this node."""
    config = node.config
    chosen = chosen_resources(node, config) if config else []
    names = [each.name for each in chosen if CLIENTS[each.type].munge_credentials]
    if not names:
        return
    munge = Munge(node.arguments.munge_socket)
    try:
        munge.make(1, Deadline(LONGEST_SECONDS))
    except CredentialError as error:
        yield wrong(f"{shown_names(names)}: {error}", "systemctl start munge")
    else:
        yield right(f"{shown_names(names)}: munged gives credentials")


def _spelling(place: str, whole: Resource) -> Iterator[Finding]:
    """Find what jobs get corrected; another reader of the file may take it as it stands."""
    blank = [key for key, value in whole.environment.items() if value != value.strip()]
    if blank:
        yield doubtful(
            f"{place}: {', '.join(blank)}: blanks or line ends around the value", "take them out"
        )
    for key in CLIENTS[whole.type].sent_to:
        url = whole.environment.get(key, "").strip()
        if url.endswith("/"):
            yield doubtful(
                f"{place}: {key}: ends with a slash, with which some clients ask for another page",
                f'"{key}": without the slash',
            )
        if url.lower().startswith("http://") and not _is_loopback(url):
            yield doubtful(
                f"{place}: {key}: credentials go over http://, which everybody on the way can read",
                f'"{key}": "https://…"',
            )


def _is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
