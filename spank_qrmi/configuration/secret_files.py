# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of qrmi_config.json that stand in a file of their own: `{"file": "/path"}`.

They are read only for a job that asks for their resource.
"""

from dataclasses import replace

from spank_qrmi.configuration.qrmi_config import Resource
from spank_qrmi.errors import ConfigError
from spank_qrmi.trust.files import StrPath, read_trusted_file, secret_exposures

MAX_SECRET_BYTES = 64 * 1024


def read_secrets(resource: Resource, config_path: StrPath) -> tuple[Resource, tuple[str, ...]]:
    """Return the resource with all its values, and which of their files others can get at.

    Raises ConfigError naming both files, resource and key.
    """
    values: dict[str, str] = {}
    exposures: list[str] = []
    for key, path in resource.secret_files.items():
        place = f"{config_path}: resource {resource.name}: environment.{key}"
        try:
            values[key], found = _read_secret(path)
        except ConfigError as error:
            raise ConfigError(f"{place}: {error}") from error
        exposures += (f"{place}: {text}" for text in found)
    return replace(resource, environment={**resource.environment, **values}), tuple(exposures)


def _read_secret(path: str) -> tuple[str, tuple[str, ...]]:
    """Return a file's text without the newline at its end, and how others can get at it."""
    file = read_trusted_file(path, MAX_SECRET_BYTES)
    try:
        text = file.content.decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text") from None
    if not text or "\0" in text:
        raise ConfigError(f"{path}: {'holds a NUL character' if text else 'is empty'}")
    return text, secret_exposures(path, file)
