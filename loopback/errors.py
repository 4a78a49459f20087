# SPDX-License-Identifier: GPL-3.0-or-later
"""Every error this package raises on purpose."""


class ClusterError(Exception):
    """The loopback cluster, or something that runs on it, is not in the state it should be in."""


class CommandError(ClusterError):
    """A command exited with a non-zero status or ran out of time."""


class SubmitError(ClusterError):
    """sbatch refused a job; the text is what sbatch printed."""


class WaitTimeoutError(ClusterError):
    """Something that was waited for did not happen before its deadline."""


class LeakError(ClusterError):
    """A secret is where none may be; the text names each such place."""
