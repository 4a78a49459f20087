# SPDX-License-Identifier: GPL-3.0-or-later
"""qrmi_config.json: read, checked and frozen.

One bad entry does not disable the good ones: it becomes a problem of its own, and its name stands
for no resource. What a resource type needs in its environment is its client's business, since a
user may bring the missing variables.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from spank_qrmi.clients import keys_alike, other_names
from spank_qrmi.configuration.access import ACCESS_KEYS, EVERYBODY, Access, access_of
from spank_qrmi.configuration.json_document import check_members, json_type, parse_document
from spank_qrmi.errors import ConfigError
from spank_qrmi.protocol import MAX_VALUE_BYTES, MAX_VARIABLE_NAME_BYTES
from spank_qrmi.redaction import is_secret_name, printable
from spank_qrmi.trust.files import StrPath, read_trusted_file, secret_exposures

MAX_CONFIG_BYTES = 16 * 1024 * 1024
MAX_NAME_BYTES = 128

_RESERVED_WORDS = frozenset(
    [
        *("BASH", "GCONV", "GLIBC", "LD"),
        *("SALLOC", "SBATCH", "SLURM", "SPANK", "SRUN"),
        *("IBMQRUN", "QRMI"),
    ]
)
"""First words of variables that other programs, or we, read: `LD_PRELOAD`, `SLURM_JOB_ID`."""


_PROPERTIES = frozenset({"name", "type", "also_as", "environment", "locked", *ACCESS_KEYS})


@dataclass(frozen=True)
class Resource:
    """One usable entry; `environment` has keys without the `<name>_` prefix, and holds secrets.

    `also_as` are other names of its type that jobs find it by; all keys are those of `type`.
    `secret_files` are the keys whose values stand in files; `secret_files.read_secrets` adds them.
    `locked` are the keys that users may not set; True for all. `unread` are names beside
    "environment" that mean nothing. `access` says whose jobs may use it.
    """

    name: str
    type: str
    environment: Mapping[str, str] = field(repr=False)
    secret_files: Mapping[str, str] = field(default_factory=dict)
    locked: bool | tuple[str, ...] = False
    unread: tuple[str, ...] = ()
    also_as: tuple[str, ...] = ()
    access: Access = EVERYBODY

    def is_locked(self, key: str) -> bool:
        """Return whether the key is the site's alone to set."""
        return self.locked if isinstance(self.locked, bool) else key in self.locked

    def is_secret(self, key: str) -> bool:
        """Return whether the key's value must not be shown."""
        return is_secret_name(key) or key in self.secret_files

    def secrets(self) -> list[str]:
        """Return every value that no log may show."""
        return [value for key, value in self.environment.items() if self.is_secret(key)]


@dataclass(frozen=True)
class Config:
    """The resources of a node by name, and what is wrong with other entries.

    `problems` are (name or None, error): an entry without a usable name has None. `exposures` says
    whether others can read secrets in the file, or replace it.
    """

    path: StrPath
    resources: Mapping[str, Resource]
    problems: tuple[tuple[str | None, ConfigError], ...] = ()
    exposures: tuple[str, ...] = ()

    def secrets(self) -> list[str]:
        """Return every value of the file that no log may show."""
        return [each for resource in self.resources.values() for each in resource.secrets()]

    def problem_with(self, name: str) -> ConfigError | None:
        """Return why `name` is unusable although the file has an entry for it."""
        return next((error for known, error in self.problems if known == name), None)


def load_config(path: StrPath, known_types: Iterable[str]) -> Config:
    """Read the file; raise ConfigError if nothing in it can, or may, be used."""
    known_types = tuple(known_types)
    file = read_trusted_file(path, MAX_CONFIG_BYTES, may_be_link=True)
    document = parse_document(path, file.content)
    entries = document.get("resources") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ConfigError(f'{path}: must be a JSON object with an array "resources"')
    resources: dict[str, Resource] = {}
    problems: dict[str, tuple[str | None, ConfigError]] = {}
    names = Counter(_name_of(entry) for entry in entries)
    for index, entry in enumerate(entries):
        name = _name_of(entry)
        place = f"{path}: resources[{index}]" if name is None else f"{path}: resource {name}"
        try:
            resources[str(name)] = _resource_of(place, name, names[name], entry, known_types)
        except ConfigError as error:
            # Keyed by its text: the entries that share a name are one problem.
            problems[str(error)] = (name, error)
    has_secrets = any(secret for resource in resources.values() for secret in resource.secrets())
    exposures = secret_exposures(path, file) if has_secrets else file.doubts
    return Config(path, resources, tuple(problems.values()), exposures)


def _name_of(entry: object) -> str | None:
    """Return the entry's name if `--qpu` could ask for it."""
    name = entry.get("name") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not 0 < len(name.encode("utf-8", "replace")) <= MAX_NAME_BYTES:
        return None
    if name != name.strip() or not name.isprintable() or set(name) & set(",= "):
        return None
    return name


def _resource_of(
    place: str,
    name: str | None,
    count: int,
    entry: Mapping[str, object],
    known_types: tuple[str, ...],
) -> Resource:
    """Return what an entry with this name describes, of which there are `count`."""
    if not isinstance(entry, dict):
        raise ConfigError(f"{place}: must be an object with name, type and environment")
    check_members(place, entry)
    if name is None:
        raise ConfigError(
            f'{place}: "name" must be a string of 1 to {MAX_NAME_BYTES} bytes, all printable, '
            "without comma, space or ="
        )
    if count > 1:
        raise ConfigError(f"{place}: is defined more than once: keep one entry")
    word = name.partition("_")[0]
    if word in _RESERVED_WORDS:
        raise ConfigError(
            f"{place}: its variables would look like others that begin with {word}_: rename it"
        )
    resource_type = entry.get("type")
    if not isinstance(resource_type, str) or resource_type not in known_types:
        found = f"got {_shown(resource_type)}" if "type" in entry else "it is missing"
        meant = _nearest_type(resource_type, known_types)
        raise ConfigError(
            f'{place}: "type" must be one of {", ".join(known_types)}; {found}{meant}'
        )
    environment = entry.get("environment")
    if not isinstance(environment, dict):
        found = f"got {json_type(environment)}" if "environment" in entry else "it is missing"
        raise ConfigError(
            f'{place}: "environment" must be an object of strings, {{}} if the users bring their '
            f"own variables; {found}"
        )
    also_as = _also_as(place, resource_type, entry)
    alike = keys_alike(resource_type, also_as)
    values, secret_files = _values_and_files(place, name, environment, alike)
    locked = _locked(place, name, entry)
    unread = [key for key in entry if key not in _PROPERTIES]
    return Resource(
        *(name, resource_type, values, secret_files),
        locked if isinstance(locked, bool) else tuple(alike.get(key, key) for key in locked),
        unread=tuple(printable(key[:40]) for key in unread),
        also_as=also_as,
        access=access_of(place, entry, unread),
    )


def _values_and_files(
    place: str, name: str, environment: Mapping[str, object], alike: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the texts of an environment, and the paths of those in files."""
    values: dict[str, str] = {}
    secret_files: dict[str, str] = {}
    for key, value in environment.items():
        _check_key(f"{place}: environment", name, key)
        own_key = alike.get(key, key)
        if own_key in {*values, *secret_files}:
            problem = "is there by the type's other name too: keep one"
            raise ConfigError(f"{place}: environment.{key}: {problem}")
        if isinstance(value, dict):
            secret_files[own_key] = _secret_file(f"{place}: environment.{key}", value)
        else:
            values[own_key] = _text(f"{place}: environment.{key}", value)
    return values, secret_files


def _also_as(place: str, type_name: str, entry: Mapping[str, object]) -> tuple[str, ...]:
    names = entry.get("also_as", [])
    possible = other_names(type_name)
    if not isinstance(names, list) or not all(name in possible for name in names):
        text = f"may hold {', '.join(possible)}" if possible else "must be left out"
        raise ConfigError(f'{place}: "also_as", an array of other names of {type_name}, {text}')
    return tuple(dict.fromkeys(names))


def _nearest_type(value: object, known_types: Iterable[str]) -> str:
    """Return which type may be meant, or which of those that begin so; or nothing."""
    folded = {each.replace("-", ""): each for each in known_types}
    text = value[:40].lower().replace("-", "").replace("_", "") if isinstance(value, str) else ""
    nearest = get_close_matches(text, folded, 2)
    meant = sorted(each for each in nearest if each.startswith(text)) or nearest[:1]
    return f": did you mean {' or '.join(folded[each] for each in meant)}?" if meant else ""


def _shown(value: object) -> str:
    """Return a text as it is, up to 40 characters, and what else it is by its type."""
    return repr(value[:40]) if isinstance(value, str) else json_type(value)


def _check_key(place: str, name: str, key: str) -> None:
    if len(f"{name}_{key}".encode("utf-8", "replace")) > MAX_VARIABLE_NAME_BYTES:
        limit = f"is longer than {MAX_VARIABLE_NAME_BYTES} bytes with the resource's name"
        raise ConfigError(f"{place}: {key[:20]!r}… {limit}")
    if not key or not key.isprintable() or set(key) & set("= "):
        raise ConfigError(f"{place}: {key!r} cannot be the name of a variable")


def _locked(place: str, name: str, entry: Mapping[str, object]) -> bool | tuple[str, ...]:
    """Return which keys an entry locks; a lock that is not understood must not stay open."""
    locked = entry.get("locked", False)
    if isinstance(locked, bool):
        return locked
    if not isinstance(locked, list) or not all(isinstance(key, str) for key in locked):
        raise ConfigError(
            f'{place}: "locked" must be an array of keys that users may not set, or true for all; '
            f"got {json_type(locked)}"
        )
    for key in locked:
        _check_key(f"{place}: locked", name, key)
    return tuple(locked)


def _secret_file(place: str, value: Mapping[str, object]) -> str:
    path = value.get("file")
    if not (
        isinstance(path, str) and path.startswith("/") and path.isprintable() and len(value) == 1
    ):
        raise ConfigError(
            f'{place}: must be a string in quotes, or {{"file": "/path"}} with one absolute path, '
            "all printable"
        )
    return path


def _text(place: str, value: object) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{place}: must be a string in quotes, got {json_type(value)}")
    if "\0" in value or len(value.encode("utf-8", "replace")) > MAX_VALUE_BYTES:
        limit = f"a NUL character or more than {MAX_VALUE_BYTES} bytes"
        raise ConfigError(f"{place}: holds {limit}")
    return value
