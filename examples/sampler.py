# SPDX-License-Identifier: GPL-3.0-or-later
"""Sample a Bell pair on every QPU that the job has, all of them of IBM."""

from histogram import print_counts
from qiskit import QuantumCircuit
from qiskit.transpiler import generate_preset_pass_manager
from qrmi import QuantumResource
from qrmi.primitives import QRMIService
from qrmi.primitives.ibm import SamplerV2, get_backend


def bell_counts(qpu: QuantumResource) -> dict[str, int]:
    """Return how often each state of the pair was measured."""
    bell = QuantumCircuit(2)
    bell.h(0)
    bell.cx(0, 1)
    bell.measure_all()
    passes = generate_preset_pass_manager(optimization_level=1, backend=get_backend(qpu))
    job = SamplerV2(qpu).run([(passes.run(bell),)], shots=1000)
    return job.result()[0].data.meas.get_counts()


if __name__ == "__main__":
    for qpu in QRMIService().resources():
        print_counts(f"{qpu.resource_id()}: Bell pair", bell_counts(qpu))
