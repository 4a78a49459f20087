# SPDX-License-Identifier: GPL-3.0-or-later
"""Every error the package raises on purpose.

The text of each is one line for the person who can act on it: it names the file or resource and the
key, says what was wrong and what to do, and holds no secret.
"""

from http import HTTPStatus


class QrmiError(Exception):
    """Base of the package's errors; `str()` is the line shown to the user or admin."""


class ArgumentError(QrmiError):
    """A plugstack.conf argument cannot be used."""


class ConfigError(QrmiError):
    """A file of the administrator's, or one entry of it, cannot be used."""


class SettingsError(QrmiError):
    """Proxies or certificates cannot be used."""


class ResolutionError(QrmiError):
    """A name given to --qpu stands for no usable resource."""


class NotPermittedError(ResolutionError):
    """The site's entry of a resource does not let this job in."""


class VariableError(QrmiError):
    """A variable that the command `qrun` needs is missing or cannot be used."""


class AcquisitionError(QrmiError):
    """A resource cannot be acquired."""


class UnavailableError(AcquisitionError):
    """A resource takes no jobs now, as its service says; nothing is wrong with the site."""


class LimitError(AcquisitionError):
    """A user holds, or has acquired, as much as a user may."""


class FirstNodeError(AcquisitionError):
    """What is held at the service is acquired once for a step, by its first node."""


class ReleaseError(QrmiError):
    """An acquisition could not be released; it is still held."""


class ProtocolError(QrmiError):
    """The other side of a socket did not keep to the message format."""


class PrivilegeError(QrmiError):
    """A process cannot give up what it must not have."""


class CredentialError(QrmiError):
    """A credential that proves who we are could not be made."""


class UntrustedPathError(QrmiError):
    """Others than root could change the code that runs as root."""


class NameServiceError(QrmiError):
    """Users or groups cannot be looked up."""


class JournalError(QrmiError):
    """The node's record of acquisitions cannot be read or written."""


class UsageLogError(QrmiError):
    """The file of what was used cannot be written or read."""


class ObjectStoreError(QrmiError):
    """The object store could not be reached or refused a request.

    `status` is the HTTP status of its response, None if there was none.
    """

    def __init__(self, message: str, *, status: int | None) -> None:
        super().__init__(message)
        self.status = status

    @property
    def is_refused(self) -> bool:
        """Return whether the credentials are the reason."""
        return self.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}

    @property
    def is_transient(self) -> bool:
        """Return whether the same request may succeed later."""
        return self.status is None or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR


class ServiceError(QrmiError):
    """A vendor's service could not be reached, refused a request or gave an unusable response.

    `status` is the HTTP status of the response, None if there was none. `may_have_acted` is True
    when the request may have taken effect although no usable response came. `retry_after_seconds`
    is the wait the service asked for, None if it named none. `partial_body` is what there is of a
    response that told success; `token` the acquisition token that could be read from it.
    """

    partial_body = b""
    token: str | None = None

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        may_have_acted: bool = False,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.may_have_acted = may_have_acted
        self.retry_after_seconds = retry_after_seconds


class AuthenticationError(ServiceError):
    """A service refused the credentials."""


class MonitorError(QrmiError):
    """The monitor cannot work, or not as it was told to."""


class SlurmError(QrmiError):
    """A command of Slurm's could not be run, or failed."""
