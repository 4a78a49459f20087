# SPDX-License-Identifier: GPL-3.0-or-later
"""qrmi_config.json: read, checked and frozen.

One bad entry does not disable the good ones: it becomes a problem of its own, and its name stands
for no resource. What a resource type needs in its environment is its client's business, since a
user may bring the missing variables.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from spank_qrmi.errors import ConfigError
from spank_qrmi.json_document import json_type, parse_document
from spank_qrmi.protocol import MAX_VALUE_BYTES, MAX_VARIABLE_NAME_BYTES
from spank_qrmi.redaction import is_secret_name

MAX_CONFIG_BYTES = 16 * 1024 * 1024
MAX_NAME_BYTES = 128


@dataclass(frozen=True)
class Resource:
    """One usable entry; `environment` has keys without the `<name>_` prefix, and holds secrets."""

    name: str
    type: str
    environment: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Config:
    """The resources of a node by name, what is wrong with other entries, and what to warn about.

    `problems` are (name or None, error): an entry without a usable name has None.
    """

    path: Path
    resources: Mapping[str, Resource]
    problems: tuple[tuple[str | None, ConfigError], ...] = ()
    warnings: tuple[str, ...] = ()

    def problem_with(self, name: str) -> ConfigError | None:
        """Return why `name` is unusable although the file has an entry for it."""
        return next((error for known, error in self.problems if known == name), None)


def load_config(path: Path, known_types: Iterable[str]) -> Config:
    """Read the file; raise ConfigError if nothing in it can be used."""
    known_types = tuple(known_types)
    content, mode = _read_file(path)
    document = parse_document(path, content)
    entries = document.get("resources") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        message = f'{path}: must be a JSON object with an array "resources"'
        raise ConfigError(message)
    resources: dict[str, Resource] = {}
    problems: dict[str, tuple[str | None, ConfigError]] = {}
    names = Counter(_name_of(entry) for entry in entries)
    for index, entry in enumerate(entries):
        name = _name_of(entry)
        try:
            if name is None:
                _refuse_name(f"{path}: resources[{index}]", entry)
            elif names[name] > 1:
                _refuse_duplicate(f"{path}: resource {name}")
            else:
                place = f"{path}: resource {name}"
                resources[name] = _resource_of(place, name, entry, known_types)
        except ConfigError as error:
            # Keyed by its text: the entries that share a name are one problem.
            problems[str(error)] = (name, error)
    return Config(
        path,
        resources,
        tuple(problems.values()),
        tuple(_permission_warnings(path, mode, resources)),
    )


def _read_file(path: Path) -> tuple[bytes, int]:
    """Return the file's content and its mode."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CONFIG_BYTES + 1)
            mode = os.fstat(file.fileno()).st_mode
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror}"
        raise ConfigError(message) from error
    if len(content) > MAX_CONFIG_BYTES:
        message = f"{path}: is larger than {MAX_CONFIG_BYTES} bytes"
        raise ConfigError(message)
    return content, mode


def _name_of(entry: object) -> str | None:
    """Return the entry's name if `--qpu` could ask for it."""
    name = entry.get("name") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not 0 < len(name.encode("utf-8", "replace")) <= MAX_NAME_BYTES:
        return None
    if name != name.strip() or not name.isprintable() or set(name) & set(",= "):
        return None
    return name


def _refuse_name(place: str, entry: object) -> NoReturn:
    if not isinstance(entry, dict):
        message = f"{place}: must be an object with name, type and environment"
    else:
        message = (
            f'{place}: "name" must be a string of 1 to {MAX_NAME_BYTES} bytes, all printable, '
            "without comma, space or ="
        )
    raise ConfigError(message)


def _refuse_duplicate(place: str) -> NoReturn:
    message = f"{place}: is defined more than once: keep one entry"
    raise ConfigError(message)


def _resource_of(
    place: str, name: str, entry: Mapping[str, object], known_types: tuple[str, ...]
) -> Resource:
    resource_type = entry.get("type")
    if resource_type not in known_types:
        found = f"got {_shown(resource_type)}" if "type" in entry else "it is missing"
        message = f'{place}: "type" must be one of {", ".join(known_types)}; {found}'
        raise ConfigError(message)
    environment = entry.get("environment")
    if not isinstance(environment, dict):
        found = f"got {json_type(environment)}" if "environment" in entry else "it is missing"
        message = (
            f'{place}: "environment" must be an object of strings, {{}} if the users bring their '
            f"own variables; {found}"
        )
        raise ConfigError(message)
    for key, value in environment.items():
        _check_variable(place, name, key, value)
    return Resource(name, str(resource_type), environment)


def _shown(value: object) -> str:
    """Return a text as it is, up to 40 characters, and what else it is by its type."""
    return repr(value[:40]) if isinstance(value, str) else json_type(value)


def _check_variable(place: str, name: str, key: str, value: object) -> None:
    if len(f"{name}_{key}".encode("utf-8", "replace")) > MAX_VARIABLE_NAME_BYTES:
        limit = f"is longer than {MAX_VARIABLE_NAME_BYTES} bytes with the resource's name"
        message = f"{place}: environment: {key[:20]!r}… {limit}"
        raise ConfigError(message)
    if not key or not key.isprintable() or set(key) & set("= "):
        message = f"{place}: environment: {key!r} cannot be the name of a variable"
        raise ConfigError(message)
    if not isinstance(value, str):
        message = f"{place}: environment.{key}: must be a string in quotes, got {json_type(value)}"
        raise ConfigError(message)
    if "\0" in value or len(value.encode("utf-8", "replace")) > MAX_VALUE_BYTES:
        limit = f"a NUL character or more than {MAX_VALUE_BYTES} bytes"
        message = f"{place}: environment.{key}: holds {limit}"
        raise ConfigError(message)


def _permission_warnings(path: Path, mode: int, resources: Mapping[str, Resource]) -> Iterable[str]:
    has_secrets = any(
        is_secret_name(key) and value
        for resource in resources.values()
        for key, value in resource.environment.items()
    )
    if has_secrets and mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield f"{path}: holds secrets that others than its owner can read: chmod 600 {path}"
