# SPDX-License-Identifier: GPL-3.0-or-later
"""What tells the step's slurmstepd that there may be a quantum job to look after.

Slurm's plugin listens at a socket (spank_qrmi/plugin/submission_mark.pxd), where the kernel keeps
what was sent: neither how this process ends nor what has started it matters.
"""

import socket

_COMMON_CHARACTERS = 28
"""Of the ids of a step's tasks only the characters behind these differ."""


def mark_step(quantum_job_id: str) -> bool:
    """Tell the step of the task with this id that a job is submitted; return whether it hears."""
    address = f"\0spank_ibm_qrun/{quantum_job_id[:_COMMON_CHARACTERS]}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"\0", socket.MSG_DONTWAIT, address)
    except BlockingIOError:
        # So many have told it already that there is no room.
        return True
    except OSError:
        return False
    return True
