# SPDX-License-Identifier: GPL-3.0-or-later
"""Excite two atoms that are in each other's way (the Rydberg blockade): at most one of them can be.

Half a turn of the pair leaves it entangled, with one excitation that is in either atom.
"""

from histogram import print_counts
from pulser import Pulse, QPUBackend, Sequence
from qrmi import QuantumResource
from qrmi.pulser import PulserQRMIConnection

RABI_FREQUENCY_RAD_PER_US = 6.2832
PULSE_NS = 352  # Half a turn, which the pair makes faster than one atom by the square root of two.


def pair_counts(qpu: QuantumResource | None = None) -> dict[str, int]:
    """Return how often each state of the pair was measured; the job's only QPU is the default."""
    connection = PulserQRMIConnection(qpu)
    device = next(iter(connection.fetch_available_devices().values()))
    # Two neighbouring traps, 5 micrometres apart: well inside of the blockade's radius.
    traps = device.pre_calibrated_layouts[0].define_register(26, 35, qubit_ids=("left", "right"))
    sequence = Sequence(traps, device)
    sequence.declare_channel("both", "rydberg_global")
    sequence.add(Pulse.ConstantPulse(PULSE_NS, RABI_FREQUENCY_RAD_PER_US, 0, 0), "both")
    sequence.measure()
    results = QPUBackend(sequence, connection).run([{"runs": 200}], wait=True)
    return results[0].final_bitstrings


if __name__ == "__main__":
    print_counts("Blockaded pair of atoms", pair_counts())
