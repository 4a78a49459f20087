# SPDX-License-Identifier: GPL-3.0-or-later
"""How a program can fail to run; light, because the server and its workers both import it."""

RUN_FAILED = 5203
"""The Quantum System service's reason code for a program that failed."""
INSTRUCTION_NOT_SUPPORTED = 1517
"""The reason code for a circuit that was not transpiled for its backend."""


class ExecutionError(Exception):
    """A program cannot run, or failed; the text is for the user, `reason_code` is the service's."""

    def __init__(self, message: str, reason_code: int = RUN_FAILED) -> None:
        super().__init__(message)
        self.reason_code = reason_code


class LostWorkerError(ExecutionError):
    """The process in which a program runs is not there, or not any more."""


class TimeLimitError(Exception):
    """A program ran longer than its order allows."""
