# SPDX-License-Identifier: GPL-3.0-or-later
"""Every error the package raises on purpose.

The text of each is one line for the person who can act on it: it names the file or resource and the
key, says what was wrong and what to do, and holds no secret.
"""


class QrmiError(Exception):
    """Base of the package's errors; `str()` is the line shown to the user or admin."""


class ArgumentError(QrmiError):
    """A plugstack.conf argument cannot be used."""


class ConfigError(QrmiError):
    """qrmi_config.json, or one entry of it, cannot be used."""


class ResolutionError(QrmiError):
    """A name given to --qpu stands for no usable resource."""


class AcquisitionError(QrmiError):
    """A resource cannot be acquired."""


class ReleaseError(QrmiError):
    """An acquisition could not be released; it is still held."""


class ProtocolError(QrmiError):
    """The other side of the pipe did not keep to the message format."""


class JournalError(QrmiError):
    """The node's record of acquisitions cannot be read or written."""


class SimulatorError(QrmiError):
    """The simulated QPU site cannot start."""


class ServiceError(QrmiError):
    """A vendor's service could not be reached, refused a request or gave an unusable answer.

    `status` is the HTTP status of the answer, None if there was none. `may_have_acted` is True when
    the request may have taken effect although no usable answer came.
    """

    def __init__(
        self, message: str, *, status: int | None = None, may_have_acted: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.may_have_acted = may_have_acted
