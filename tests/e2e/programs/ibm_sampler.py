# SPDX-License-Identifier: GPL-3.0-or-later
"""A Bell pair and a rotation through the job's QPUs of IBM: prints the counts as JSON lines."""

import json
import math

from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.transpiler import generate_preset_pass_manager
from qrmi.primitives import QRMIService
from qrmi.primitives.ibm import SamplerV2, get_backend

SHOTS = 1000

bell = QuantumCircuit(2)
bell.h(0)
bell.cx(0, 1)
bell.measure_all()

# Eleven angles, of which the last alone turns its qubit: their order must survive the way.
angles = ParameterVector("x", 11)
rotation = QuantumCircuit(2)
for angle in angles[:10]:
    rotation.ry(angle, 0)
rotation.ry(angles[10], 1)
rotation.measure_all()

for resource in QRMIService().resources():
    backend = get_backend(resource)
    passes = generate_preset_pass_manager(optimization_level=1, backend=backend)
    values = [0.0] * 10 + [math.pi]
    job = SamplerV2(resource).run(
        [(passes.run(bell),), (passes.run(rotation), values)], shots=SHOTS
    )
    counts = [each.data.meas.get_counts() for each in job.result()]
    print(json.dumps([resource.resource_id(), *counts, job.logs()]))
