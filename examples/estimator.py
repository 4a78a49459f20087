# SPDX-License-Identifier: GPL-3.0-or-later
"""Estimate the correlations of a Bell pair on every QPU of IBM that the job has."""

from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager
from qrmi.primitives import QRMIService
from qrmi.primitives.ibm import EstimatorV2, get_backend

OBSERVABLES = ("ZZ", "XX", "YY", "ZI")

bell = QuantumCircuit(2)
bell.h(0)
bell.cx(0, 1)

for qpu in QRMIService().resources():
    passes = generate_preset_pass_manager(optimization_level=1, backend=get_backend(qpu))
    circuit = passes.run(bell)
    observables = [SparsePauliOp(name).apply_layout(circuit.layout) for name in OBSERVABLES]
    result = EstimatorV2(qpu).run([(circuit, observables)], precision=0.02).result()[0]
    print(f"{qpu.resource_id()}: Bell pair")
    for name, value, error in zip(OBSERVABLES, result.data.evs, result.data.stds, strict=True):
        print(f"  <{name}> = {value:+.2f} +- {error:.2f}")
