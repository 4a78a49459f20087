# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn one qubit by as many eighths as the argument says, on the job's QPU."""

import math
import sys

from histogram import print_counts
from qiskit import QuantumCircuit
from qiskit.transpiler import generate_preset_pass_manager
from qrmi.primitives import QRMIService
from qrmi.primitives.ibm import SamplerV2, get_backend

eighths = int(sys.argv[1])
rotation = QuantumCircuit(1)
rotation.ry(eighths * math.pi / 4, 0)
rotation.measure_all()

(qpu,) = QRMIService().resources()
passes = generate_preset_pass_manager(optimization_level=1, backend=get_backend(qpu))
job = SamplerV2(qpu).run([(passes.run(rotation),)], shots=1000)
print_counts(f"{eighths}/8 of a turn", job.result()[0].data.meas.get_counts())
