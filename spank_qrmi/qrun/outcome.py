# SPDX-License-Identifier: GPL-3.0-or-later
"""How `qrun` ends: its exit statuses, and the error that leads to one."""

from enum import IntEnum

from spank_qrmi.errors import AuthenticationError, ObjectStoreError, QrmiError, VariableError

SIGNAL_BASE = 128
"""A signal that ends the command adds its number, as shells count it."""


class ExitStatus(IntEnum):
    """What the command's exit status means; `meaning` is its line in the help text."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> "ExitStatus":
        """Make a member with its meaning."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    COMPLETED = 0, "the job completed and its result is written"
    FAULT = 1, "a fault in qrun itself"
    USAGE = 2, "the command line is wrong"
    ENVIRONMENT = 3, "an IBMQRUN_ variable or a needed package is missing or wrong"
    INPUT = 4, "INPUT cannot be read or is no primitive input"
    AUTHENTICATION = 5, "the service or the object store refuses the credentials"
    SUBMISSION = 6, "the job could not be submitted"
    FAILED = 7, "the job failed"
    CANCELLED = 8, "the job was cancelled at the service"
    RESULT = 9, "the result is missing, or FILE cannot be written"
    LOST = 10, "the service no longer knows the job or refuses to tell of it"


class QrunError(QrmiError):
    """The command cannot go on; `status` is what it ends with."""

    def __init__(self, message: str, status: ExitStatus) -> None:
        super().__init__(message)
        self.status = status


def status_of(error: QrmiError, otherwise: ExitStatus) -> ExitStatus:
    """Return the exit status for an error; `otherwise` if the error itself says nothing of it."""
    if isinstance(error, QrunError):
        return error.status
    if isinstance(error, VariableError):
        return ExitStatus.ENVIRONMENT
    is_refused = isinstance(error, ObjectStoreError) and error.is_refused
    if is_refused or isinstance(error, AuthenticationError):
        return ExitStatus.AUTHENTICATION
    return otherwise
