# SPDX-License-Identifier: GPL-3.0-or-later
"""Vendor clients, one module each, and the table of resource types that leads to them.

Adding a vendor is one module and one line in `CLIENTS`.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from spank_qrmi.clients.alice_bob_felis import AliceBobFelis
from spank_qrmi.clients.base import Client, ReadTo
from spank_qrmi.clients.direct_access import DirectAccess, IbmQuantumSystem
from spank_qrmi.clients.iqm_server import IqmServer
from spank_qrmi.clients.oqtopus import Oqtopus
from spank_qrmi.clients.pasqal_cloud import PasqalCloud
from spank_qrmi.clients.pasqal_local import PasqalLocal
from spank_qrmi.clients.qiskit_runtime import IbmQuantumComputeService, QiskitRuntime
from spank_qrmi.redaction import printable

CLIENTS: dict[str, type[Client]] = {
    "direct-access": DirectAccess,
    "qiskit-runtime-service": QiskitRuntime,
    "pasqal-cloud": PasqalCloud,
    "ibm-quantum-system": IbmQuantumSystem,
    "ibm-quantum-compute-service": IbmQuantumComputeService,
    "iqm-server": IqmServer,
    "alice-bob-felis": AliceBobFelis,
    "oqtopus": Oqtopus,
    "pasqal-local": PasqalLocal,
}
"""Each `type` of qrmi_config.json with its client. Its place is its number in log lines: new types
go to the end."""


_OF_EVERY_JOB = ("QRMI_JOB_ACQUISITION_TOKEN", "QRMI_JOB_TIMEOUT_SECONDS")
_LEAST_LIKENESS = 0.8
_SHOWN_KEY_LIMIT = 80


def unread_text(type_name: str, keys: Iterable[str]) -> str:
    """Return which of these keys nothing reads, and what each may be meant for; or nothing.

    Others than QRMI's may be a site's own: they are told if they are almost a known one.
    """
    known = {*CLIENTS[type_name].keys, *_OF_EVERY_JOB}
    told = []
    for key in sorted(set(keys) - known):
        nearest = get_close_matches(key, known, 1, _LEAST_LIKENESS)
        of_types = [name for name, client in CLIENTS.items() if key in client.keys]
        meant = f" (is it {nearest[0]}?)" if nearest else ""
        meant = f" (of type {of_types[0]})" if of_types else meant
        if nearest or key.startswith("QRMI_"):
            told.append(f"{printable(key[:_SHOWN_KEY_LIMIT])}{meant}")
    return f"nothing reads {', '.join(told)}" if told else ""


def other_names(type_name: str) -> list[str]:
    """Return the types that are the same service by another name, so that one client serves all."""
    ours = CLIENTS[type_name]
    return [
        name
        for name, client in CLIENTS.items()
        if client is not ours and (issubclass(client, ours) or issubclass(ours, client))
    ]


def keys_alike(type_name: str, also_as: Iterable[str]) -> dict[str, str]:
    """Return each key by which only these other names know a value, with the type's own key."""
    # One client has made the keys of all names, in one order.
    return {
        other: key
        for name in also_as
        for key, other in zip(CLIENTS[type_name].keys, CLIENTS[name].keys, strict=True)
        if key != other
    }


def values_for_release(type_name: str, values: Mapping[str, str]) -> dict[str, str]:
    """Return those values of a resource that its release needs; none for an unknown type."""
    keys = CLIENTS[type_name].keys if type_name in CLIENTS else {}
    return {key: value for key, value in values.items() if keys.get(key) is ReadTo.RELEASE}
