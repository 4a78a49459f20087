# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of the vendors that the site has, one module each, some with more beside it."""

from spank_qrmi_simulator.alice_bob_felis import AliceBobFelis
from spank_qrmi_simulator.answers import Vendor
from spank_qrmi_simulator.iam import Iam
from spank_qrmi_simulator.iqm_server import IqmServer
from spank_qrmi_simulator.oqtopus import Oqtopus
from spank_qrmi_simulator.pasqal_cloud import PasqalCloud
from spank_qrmi_simulator.pasqal_login import PasqalLogin
from spank_qrmi_simulator.qiskit_runtime import QiskitRuntime
from spank_qrmi_simulator.quantum_system import QuantumSystem
from spank_qrmi_simulator.warden import Warden

VENDORS: tuple[type[Vendor], ...] = (
    *(Iam, QuantumSystem, QiskitRuntime, PasqalLogin, PasqalCloud),
    *(IqmServer, AliceBobFelis, Oqtopus, Warden),
)
"""Of two that live below one path, the longer comes first."""
