# SPDX-License-Identifier: GPL-3.0-or-later
"""Two atoms in each other's way: at most one is excited (the Rydberg blockade).

Written as a user would: all it knows of the QPU, it learns from the job's environment.
Prints how often each state of the two atoms was measured, as a JSON object.
"""

import json

from pulser import Pulse, QPUBackend, Sequence
from qrmi.pulser import PulserQRMIConnection

RUNS = 200
PULSE_NS = 352  # About half a turn for a blockaded pair at one turn per microsecond.
RABI_FREQUENCY_RAD_PER_US = 6.2832

connection = PulserQRMIConnection()
device = next(iter(connection.fetch_available_devices().values()))
# Two neighbouring traps: 5 µm, well inside of the blockade's radius.
register = device.pre_calibrated_layouts[0].define_register(26, 35, qubit_ids=("left", "right"))
sequence = Sequence(register, device)
sequence.declare_channel("both", "rydberg_global")
sequence.add(Pulse.ConstantPulse(PULSE_NS, RABI_FREQUENCY_RAD_PER_US, 0, 0), "both")
sequence.measure()

results = QPUBackend(sequence, connection).run([{"runs": RUNS}], wait=True)
print(json.dumps(results[0].final_bitstrings))
