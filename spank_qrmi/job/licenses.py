# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a job holds the licences of the QPUs that it asks for: `--license-check`.

Jobs that hold them have waited in the queue for a QPU that is free; others take it from these.
"""

import logging
from collections.abc import Sequence

from spank_qrmi.answer import AnswerWriter
from spank_qrmi.catalog.license_list import held_licenses
from spank_qrmi.catalog.license_names import license_name_of
from spank_qrmi.configuration.qrmi_plugstack import LicenseCheck
from spank_qrmi.job.permissions import reject
from spank_qrmi.job.resolution import MAX_SHOWN_NAMES, Resolution, shown_names
from spank_qrmi.protocol import Request

log = logging.getLogger(__name__)


def check_licenses(
    resolution: Resolution, request: Request, check: LicenseCheck, answer: AnswerWriter
) -> Resolution:
    """Return what the job may have of it; tell its user of licences that are missing."""
    if check is LicenseCheck.OFF:
        return resolution
    held = held_licenses(request.licenses or "")
    missing = [
        each.name for each in resolution.resources if not held.get(license_name_of(each.name))
    ]
    if not missing:
        return resolution
    reason = _reason(missing, is_told=request.licenses is not None)
    if check is LicenseCheck.REQUIRE:
        return reject(resolution, lambda resource: reason if resource.name in missing else "")
    answer.send_message(f"QPU {shown_names(missing)}: warning: {reason}")
    log.warning("name(%s) for job %d: %s", shown_names(missing), request.job_id, reason)
    return resolution


def _reason(names: Sequence[str], *, is_told: bool) -> str:
    if not is_told:
        return "Slurm does not tell which licences the job holds: submit it again"
    licenses = list(dict.fromkeys(map(license_name_of, names)))
    # Whole names, to be copied; some QPUs of a job that asks for many are enough to understand it.
    shown = ",".join(licenses[:MAX_SHOWN_NAMES])
    more = len(licenses) - MAX_SHOWN_NAMES
    each = "it" if len(names) == 1 else "each"
    return (
        f"the job does not hold a licence for {each}: submit it with --licenses={shown}"
        f"{f' and {more} more' if more > 0 else ''}, or ask the administrator"
    )
