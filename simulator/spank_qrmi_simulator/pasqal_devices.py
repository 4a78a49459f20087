# SPDX-License-Identifier: GPL-3.0-or-later
"""Pasqal's device types: which are emulators, and the specifications of those that are not."""

from collections.abc import Sequence
from typing import cast

from spank_qrmi_simulator.execution.pool import WorkerPool

SPECS_FUNCTION = "spank_qrmi_simulator.pulser_programs:device_specs"


def is_emulator(device_type: str) -> bool:
    """Return whether a type names one of the emulators, which take programs for any device."""
    return device_type.startswith("EMU")


class DeviceSpecs:
    """The specifications of devices, as Pulser writes them; they are asked for once."""

    def __init__(self) -> None:
        self._specs: dict[str, str] = {}

    async def of(self, device_types: Sequence[str]) -> dict[str, str]:
        """Return the specifications by device type; raise ExecutionError if Pulser is missing."""
        if not self._specs.keys() >= set(device_types):
            # A worker of its own: nobody wants to wait for programs that run for minutes.
            pool = WorkerPool(1)
            try:
                found = await pool.run(SPECS_FUNCTION, {"device_types": list(device_types)})
            finally:
                await pool.stop()
            self._specs.update(cast("dict[str, str]", found))
        return {name: self._specs[name] for name in device_types}
