# SPDX-License-Identifier: GPL-3.0-or-later
"""Correlations of a Bell pair through the job's QPUs of IBM: prints them as JSON lines."""

import json

from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager
from qrmi.primitives import QRMIService
from qrmi.primitives.ibm import EstimatorV2, get_backend

bell = QuantumCircuit(2)
bell.h(0)
bell.cx(0, 1)
observables = [SparsePauliOp("ZZ"), SparsePauliOp("XX"), SparsePauliOp(["ZI", "YY"], [1.0, 0.5])]

for resource in QRMIService().resources():
    backend = get_backend(resource)
    passes = generate_preset_pass_manager(optimization_level=1, backend=backend)
    circuit = passes.run(bell)
    mapped = [observable.apply_layout(circuit.layout) for observable in observables]
    result = EstimatorV2(resource).run([(circuit, mapped)], precision=0.01).result()[0]
    values = result.data.evs.tolist()
    print(json.dumps({"resource": resource.resource_id(), "values": values}))
