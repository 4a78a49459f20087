# SPDX-License-Identifier: GPL-3.0-or-later
"""What a step's verbs have in common: its arguments, the node's tokens, what it holds."""

import logging
import shlex
from collections.abc import Iterable, Sequence

from spank_qrmi.answer import AnswerWriter
from spank_qrmi.configuration.common_plugstack import CommonArguments
from spank_qrmi.configuration.node_variables import check_certificates
from spank_qrmi.configuration.qrmi_plugstack import PluginArguments, parse_arguments
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import JournalError, QrmiError
from spank_qrmi.job.resolution import MAX_SHOWN_NAMES
from spank_qrmi.network.worker_side import Network
from spank_qrmi.protocol import STEP_NAMES, Request
from spank_qrmi.redaction import Redactor, shown_argument
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi.state.token_cache import TokenCache

log = logging.getLogger(__name__)


def advice_to_check(names: Sequence[str] = ()) -> str:
    """Return how an administrator learns more, of these QPUs or of the node."""
    command = shlex.join(["spank-qrmi", "check", *names[:MAX_SHOWN_NAMES]])
    return f"{command}, as root on this node, says more"


def read_arguments(request: Request, answer: AnswerWriter) -> PluginArguments:
    """Return the arguments of plugstack.conf, logged; raise ArgumentError if one cannot be used."""
    for index, argument in enumerate(request.arguments):
        log.debug("argv[%d] = [%s]", index, shown_argument(argument))
    arguments = parse_arguments(request.arguments)
    check_node_variables(arguments, answer)
    return arguments


def check_node_variables(arguments: CommonArguments, answer: AnswerWriter) -> None:
    """Hide the secrets among what the node sets for requests.

    Raises ArgumentError if others could change the certificates that it names.
    """
    answer.redactor.add_variables(arguments.node_variables.items())
    check_certificates(arguments.node_variables)


def open_network(
    network: Network,
    whose: Sequence[Entry | CommonArguments],
    arguments: CommonArguments,
    redactor: Redactor,
    deadline: Deadline,
) -> None:
    """Get ready for requests with the node's variables of each, if there is one.

    `redactor` hides the access tokens. Raises QrmiError that says why there can be none.
    """
    if whose:
        tokens = TokenCache(arguments.state_directory, redactor.add)
        sets = [each.node_variables for each in whose]
        network.open(
            *(sets, arguments.worker_user, deadline.remaining_seconds()),
            token_cache=tokens,
            munge_socket=arguments.munge_socket,
        )
        network.wait_until_open(deadline)


def acquisition_text(name: str, job_id: int, uid: int, *, is_at_users_endpoint: bool) -> str:
    """Return how a line of the log names an acquisition and whose it is."""
    whose = "the user's" if is_at_users_endpoint else "the site's"
    return f"name({name}) for job {job_id} of user {uid} at {whose} endpoint"


def run_text(request: Request) -> str:
    """Return what begins, or does not, with what a request acquires."""
    return "job" if request.step_id in STEP_NAMES else "step"


def names_by_reason(failures: Iterable[tuple[str, QrmiError]]) -> dict[str, list[str]]:
    """Return each reason with its QPUs: a service that is down is often that of several."""
    names: dict[str, list[str]] = {}
    for name, error in failures:
        names.setdefault(str(error), []).append(name)
    return names


def entries_of_step(request: Request, journal: Journal) -> list[Entry]:
    """Return what the journal says a step holds; log what it cannot read."""
    step = (request.job_id, request.restart_count, request.step_id)
    return skip_unreadable(journal.entries_of_step(*step))


def skip_unreadable(entries: Iterable[Entry | JournalError]) -> list[Entry]:
    """Return the entries, and log what cannot be read."""
    readable = []
    for entry in entries:
        if isinstance(entry, JournalError):
            log.error("%s", entry)
        else:
            readable.append(entry)
    return readable
