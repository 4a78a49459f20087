# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Direct Access job order must say, as in the service's published schema.

Violations are coded like pydantic's error types, which is what the service answers with.
"""

from collections.abc import Mapping

from spank_qrmi_simulator.quantum_system_errors import INVALID_INPUT, field_entry

LONGEST_NAME = 256
PROGRAMS = ("sampler", "estimator")
LOG_LEVELS = ("critical", "error", "warning", "info", "debug")
ORDER_KEYS = frozenset({"id", "backend", "program_id", "log_level", "timeout_secs", "storage"})
STORAGE_KEYS = ("input", "results", "logs")
STORAGE_TYPE = "s3_compatible"
STORAGE_NOT_OFFERED = "ibmcloud_cos"

Violations = list[dict[str, object]]


def violations(order: Mapping[str, object]) -> Violations:
    """Return an error entry for each field of the order that is missing or wrong."""
    found = _unknown(order, ORDER_KEYS, "")
    found += _name(order, "id") + _name(order, "backend")
    found += _choice(order, "program_id", PROGRAMS, "program_id")
    if "log_level" in order:
        found += _choice(order, "log_level", LOG_LEVELS, "log_level")
    seconds = order.get("timeout_secs")
    if "timeout_secs" not in order:
        found.append(_missing("timeout_secs"))
    elif isinstance(seconds, bool) or not isinstance(seconds, int):
        found.append(field_entry("int_type", "Input should be an integer", "timeout_secs"))
    elif seconds < 1:
        found.append(
            field_entry("greater_than_equal", "Input should be at least 1", "timeout_secs")
        )
    return found + _storage(order)


def storage_urls(order: Mapping[str, object]) -> dict[str, str]:
    """Return the presigned URLs of a valid order: `input`, `results` and, if wanted, `logs`."""
    storage = order["storage"]
    objects = storage.items() if isinstance(storage, dict) else ()
    return {key: one["presigned_url"] for key, one in objects if one is not None}


def _storage(order: Mapping[str, object]) -> Violations:
    storage = order.get("storage")
    if not isinstance(storage, dict):
        if "storage" not in order:
            return [_missing("storage")]
        return [field_entry("model_type", "Input should be an object", "storage")]
    found = _unknown(storage, frozenset(STORAGE_KEYS), "storage.")
    for key in STORAGE_KEYS:
        if key == "logs" and storage.get(key) is None:
            continue
        found += _storage_object(storage, key)
    return found


def _storage_object(storage: Mapping[str, object], key: str) -> Violations:
    field = f"storage.{key}"
    if key not in storage:
        return [_missing(field)]
    one = storage[key]
    if not isinstance(one, dict):
        return [field_entry("model_type", "Input should be an object", field)]
    if one.get("type") == STORAGE_NOT_OFFERED:
        message = f"The simulated site has no storage of type {STORAGE_NOT_OFFERED}: {STORAGE_TYPE}"
        return [field_entry(INVALID_INPUT, f"{message} is offered.", f"{field}.type")]
    found = _choice(one, "type", (STORAGE_TYPE,), f"{field}.type")
    url = one.get("presigned_url")
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        found.append(field_entry("url_type", "Input should be a URL", f"{field}.presigned_url"))
    return found


def _name(order: Mapping[str, object], key: str) -> Violations:
    if key not in order:
        return [_missing(key)]
    value = order[key]
    if not isinstance(value, str):
        return [field_entry("string_type", "Input should be a string", key)]
    if not value:
        return [field_entry("string_too_short", "Input should not be empty", key)]
    if len(value) > LONGEST_NAME:
        message = f"Input should have at most {LONGEST_NAME} characters"
        return [field_entry("string_too_long", message, key)]
    return []


def _choice(
    holder: Mapping[str, object], key: str, choices: tuple[str, ...], field: str
) -> Violations:
    if key not in holder:
        return [_missing(field)]
    if holder[key] not in choices:
        return [field_entry("enum", f"Input should be {' or '.join(choices)}", field)]
    return []


def _unknown(holder: Mapping[str, object], known: frozenset[str], where: str) -> Violations:
    message = "Extra inputs are not permitted"
    unknown = sorted(holder.keys() - known)
    return [field_entry("extra_forbidden", message, f"{where}{key}") for key in unknown]


def _missing(field: str) -> dict[str, object]:
    return field_entry("missing", "Field required", field)
