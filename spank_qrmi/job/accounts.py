# SPDX-License-Identifier: GPL-3.0-or-later
"""How what is used on a node is recorded, as plugstack.conf says."""

from functools import cache
from pathlib import Path

from spank_qrmi.configuration.common_plugstack import CommonArguments, UsageTarget
from spank_qrmi.configuration.slurm_files import find_slurm_conf, read_slurm_conf
from spank_qrmi.errors import ConfigError
from spank_qrmi.state import usage_log
from spank_qrmi.state.accounting import NO_ACCOUNTING, Accounting, EndedBy


def accounting_of(
    arguments: CommonArguments, ended_by: EndedBy, slurm_conf: str = ""
) -> Accounting:
    """Return where records go, and what they say besides; `slurm_conf` is Slurm's, if told."""
    targets = arguments.usage_targets
    if not targets:
        return NO_ACCOUNTING
    log = usage_log.UsageLog(arguments.usage_path or usage_log.DEFAULT_PATH)
    return Accounting(
        log if UsageTarget.FILE in targets else None,
        ended_by,
        # Read once there is something to record.
        cache(lambda: _cluster_name(slurm_conf)),
        is_commenting=UsageTarget.ADMIN_COMMENT in targets,
        slurm_conf=slurm_conf,
    )


def _cluster_name(slurm_conf: str) -> str:
    path = Path(slurm_conf) if slurm_conf else find_slurm_conf()
    try:
        return read_slurm_conf(path).get("clustername", "") if path else ""
    except ConfigError:
        return ""
