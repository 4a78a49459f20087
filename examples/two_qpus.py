# SPDX-License-Identifier: GPL-3.0-or-later
"""Entangle two qubits on a QPU of IBM and two atoms on one of Pasqal, in the same job."""

from histogram import print_counts
from pasqal import pair_counts
from qrmi.primitives import QRMIService
from sampler import bell_counts

service = QRMIService()
print_counts("ibm_sherbrooke: Bell pair", bell_counts(service.resource("ibm_sherbrooke")))
print_counts("FRESNEL: blockaded pair", pair_counts(service.resource("FRESNEL")))
