# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that holds the credentials of spank_ibm_qrun.so, so that plugstack.conf need not.

Whoever could change or read it could take over the site's account, so it is used only if it is
root's alone.
"""

from collections.abc import Mapping

from spank_qrmi.clients import qrun_variables as names
from spank_qrmi.configuration.json_document import json_type, parse_document
from spank_qrmi.errors import ConfigError
from spank_qrmi.trust.files import StrPath, read_private_file

MAX_FILE_BYTES = 64 * 1024

_KEYS = {
    name.removeprefix(names.PREFIX): name for name in (*names.SITE_VARIABLES, *names.IAM_VARIABLES)
}


def load_credentials(path: StrPath, *, is_strict: bool = False) -> dict[str, str]:
    """Return the `IBMQRUN_*` variables that the file describes.

    It is a JSON object of strings, whose keys are the variables' names without `IBMQRUN_`. Raises
    ConfigError that names the file and what is wrong with it or with one of its keys.
    """
    document = parse_document(path, read_private_file(path, MAX_FILE_BYTES, is_strict=is_strict))
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: must be a JSON object, got {json_type(document)}")
    for key, value in document.items():
        _check_entry(path, key, value)
    _check_complete(path, document)
    # The order of the table, whatever the file's.
    return {name: document[key] for key, name in _KEYS.items() if key in document}


def _check_entry(path: StrPath, key: str, value: object) -> None:
    if key not in _KEYS:
        raise ConfigError(f"{path}: {key[:40]!r} is no known key; known are {', '.join(_KEYS)}")
    if not isinstance(value, str):
        raise ConfigError(f"{path}: {key}: must be a string in quotes, got {json_type(value)}")
    if not value.strip() or not value.isprintable():
        what = "holds a control character" if value.strip() else "is empty"
        raise ConfigError(f"{path}: {key}: {what}")


def _check_complete(path: StrPath, document: Mapping[str, object]) -> None:
    """Raise ConfigError if a key is missing: one login is needed, and all of what a login needs."""
    given = [name for key, name in _KEYS.items() if key in document]
    app_id, iam = names.APP_ID_VARIABLES, names.IAM_VARIABLES
    if set(given).isdisjoint({*app_id, *iam}):
        raise ConfigError(
            f"{path}: needs {' and '.join(map(_key, app_id))}, or {', '.join(map(_key, iam))}"
        )
    missing = [name for name in names.SITE_VARIABLES if name not in {*app_id, *given}]
    missing += names.missing_of_logins(given)
    if missing:
        raise ConfigError(f"{path}: lacks {', '.join(map(_key, missing))}")


def _key(name: str) -> str:
    return name.removeprefix(names.PREFIX)
