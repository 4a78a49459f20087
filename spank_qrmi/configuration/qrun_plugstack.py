# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments that plugstack.conf gives to spank_ibm_qrun.so.

Eight values without a name, or `--credentials`, and options. The plugin applies `--always`,
`--cleanup-timeout` and `--worker-server` itself; here they are only checked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from spank_qrmi.clients import qrun_variables as names
from spank_qrmi.configuration import common_plugstack as common
from spank_qrmi.errors import ArgumentError

LIBRARY = "spank_ibm_qrun.so"

DEFAULT_CLEANUP_SECONDS = 20
"""What the plugin takes without `--cleanup-timeout`."""

_CREDENTIALS = "--credentials"
_CREDENTIALS_EXPOSED = (
    "plugstack.conf holds credentials, and all users' commands read it: move them to a file with "
    f"mode 0600 and name that by {_CREDENTIALS}=FILE"
)


@dataclass(frozen=True)
class QrunArguments(common.CommonArguments):
    """What the administrator decided in plugstack.conf.

    `values` are `IBMQRUN_*` variables and hold secrets, empty if they are in the file
    `credentials_path` instead. Below `state_directory` are the node's access tokens.
    """

    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    credentials_path: str | None = None

    @property
    def exposures(self) -> tuple[str, ...]:
        """What to tell of secrets among the arguments."""
        return (_CREDENTIALS_EXPOSED, *super().exposures) if self.values else super().exposures


def _parse_text(option: str, text: str) -> str:
    if not text.strip():
        raise ArgumentError(f"{option} must not be empty")
    return text


_IAM_OPTIONS = (
    common.Argument("--iam-apikey", "KEY", names.IAM_APIKEY, _parse_text),
    common.Argument("--service-crn", "CRN", names.SERVICE_CRN, _parse_text),
    common.Argument("--iam-endpoint", "URL", names.IAM_ENDPOINT, _parse_text),
)
_BESIDE_CREDENTIALS = (
    common.Argument("--always", "", None, common.parse_flag),
    common.Argument("--cleanup-timeout", "SECONDS", None, common.parse_seconds),
    *common.COMMON,
)
OPTIONS = (
    *_IAM_OPTIONS,
    common.Argument(_CREDENTIALS, "FILE", "credentials_path", common.parse_absolute_path),
    *_BESIDE_CREDENTIALS,
)


def parse_arguments(arguments: Sequence[str]) -> QrunArguments:
    """Return the checked arguments; raise ArgumentError that says what is needed."""
    with common.name_line_of(LIBRARY):
        positional = [each for each in arguments if not each.startswith("--")]
        options = [each for each in arguments if each.startswith("--")]
        node_variables, values = common.parse_options(options, OPTIONS)
        iam_keys = [each.key for each in _IAM_OPTIONS if each.key in values]
        iam_values = {str(key): str(values.pop(key)) for key in iam_keys}
        _check_iam(iam_values)
        if "credentials_path" not in values:
            _check_count(positional)
        elif positional or iam_values:
            others = ", ".join(each.name for each in _BESIDE_CREDENTIALS)
            raise ArgumentError(
                f"{_CREDENTIALS} names the file that holds all credentials: give no other "
                f"arguments but {others} and --env: beside it"
            )
        return QrunArguments(
            {**dict(zip(names.SITE_VARIABLES, positional, strict=False)), **iam_values},
            node_variables=node_variables,
            **values,  # type: ignore[arg-type]
        )


def _check_count(positional: Sequence[str]) -> None:
    wanted = [name.removeprefix(names.PREFIX) for name in names.SITE_VARIABLES]
    if len(positional) != len(wanted):
        raise ArgumentError(
            f"{len(wanted)} arguments are needed in this order, got {len(positional)}: "
            f"{' '.join(wanted)}; or {_CREDENTIALS}=FILE"
        )


def _check_iam(iam_values: Mapping[str, str]) -> None:
    missing_names = names.missing_of_logins(iam_values)
    missing = [each.name for each in _IAM_OPTIONS if each.key in missing_names]
    if missing:
        every = ", ".join(each.name for each in _IAM_OPTIONS)
        raise ArgumentError(f"{every} belong together: add {' and '.join(missing)}")
