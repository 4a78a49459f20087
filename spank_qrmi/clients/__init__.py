# SPDX-License-Identifier: GPL-3.0-or-later
"""Vendor clients, one module each, and the table of resource types that leads to them.

Adding a vendor is one module and one line in `CLIENTS`.
"""

from collections.abc import Mapping

from spank_qrmi.clients.base import Client, ReadTo
from spank_qrmi.clients.direct_access import DirectAccess
from spank_qrmi.clients.pasqal_cloud import PasqalCloud
from spank_qrmi.clients.qiskit_runtime import QiskitRuntime

CLIENTS: dict[str, type[Client]] = {
    "direct-access": DirectAccess,
    "qiskit-runtime-service": QiskitRuntime,
    "pasqal-cloud": PasqalCloud,
}
"""Each `type` of qrmi_config.json with its client. Its place is its number in log lines: new types
go to the end."""


def values_for_release(type_name: str, values: Mapping[str, str]) -> dict[str, str]:
    """Return those values of a resource that its release needs; none for an unknown type."""
    keys = CLIENTS[type_name].keys if type_name in CLIENTS else {}
    return {key: value for key, value in values.items() if keys.get(key) is ReadTo.RELEASE}
