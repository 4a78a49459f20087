# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the QPUs that a job asks for it may use, as the site's entries say.

Account, partition and groups are what Slurm says of the job, never what its environment says. What
cannot be found out lets nobody in.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from spank_qrmi.configuration.access import Access, allowed_ids
from spank_qrmi.configuration.qrmi_config import Resource
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import NameServiceError, NotPermittedError
from spank_qrmi.job.resolution import Resolution, shown_names
from spank_qrmi.protocol import Request
from spank_qrmi.trust.name_service import NameService

log = logging.getLogger(__name__)


def keep_permitted(resolution: Resolution, request: Request, deadline: Deadline) -> Resolution:
    """Return what the job may use of it; the rest is rejected with the reason."""
    names = NameService(deadline)
    return reject(resolution, lambda resource: _refusal(resource, request, names))


def reject(resolution: Resolution, refusal: Callable[[Resource], str]) -> Resolution:
    """Return a resolution without the resources for which there is a refusal; that is told."""
    refusals = [(resource, refusal(resource)) for resource in resolution.resources]
    rejected = ((each.name, NotPermittedError(reason)) for each, reason in refusals if reason)
    return replace(
        resolution,
        resources=tuple(resource for resource, reason in refusals if not reason),
        rejected=(*resolution.rejected, *rejected),
    )


def _refusal(resource: Resource, request: Request, names: NameService) -> str:
    """Return why the job may not use a resource, nothing if it may."""
    access = resource.access
    return (
        _refusal_by_list("partition", access.partitions, request.partition)
        or _refusal_by_list("account", access.accounts, request.account, fold=str.lower)
        or _refusal_of_user(resource.name, access, request, names)
    )


def _refusal_by_list(
    what: str,
    allowed: Sequence[str] | None,
    given: str | None,
    fold: Callable[[str], str] = str,
) -> str:
    if allowed is None:
        return ""
    only = f"only for {_listed(what, allowed)}"
    if given is None:
        return f"{only}, and Slurm does not tell which {what} this job has: submit it again"
    # slurmdbd keeps accounts in lower case.
    if fold(given) in map(fold, allowed):
        return ""
    has = f"has {what} {shown_names([given])}" if given else f"has no {what}"
    return f"{only}; this job {has}: submit it with --{what}"


def _refusal_of_user(name: str, access: Access, request: Request, names: NameService) -> str:
    if access.is_for_every_user:
        return ""
    only = f"only for {_whom(access)}"
    try:
        allowed = allowed_ids(access, names)
    except NameServiceError as error:
        return f"{only}, and {error}: submit the job again, or tell the administrator"
    if allowed is None or request.uid in allowed.uids or allowed.gids & set(request.gids):
        return ""
    if access.groups is not None and not request.gids:
        return f"{only}, and Slurm does not tell this job's groups: submit it again"
    if not allowed.is_complete:
        log.warning("name(%s): this node does not know all of its users and groups", name)
    return f"{only}: ask the administrator"


def _whom(access: Access) -> str:
    """Return who is let in, in words; no user is to learn of the others."""
    users = ["users whom the site has named"] if access.users is not None else []
    groups = [_listed("group", access.groups)] if access.groups is not None else []
    return " or ".join([*users, *groups])


def _listed(what: str, names: Iterable[str]) -> str:
    listed = list(names)
    return f"{what}{'s' if len(listed) > 1 else ''} {shown_names(listed)}"
