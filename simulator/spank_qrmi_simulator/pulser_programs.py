# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs Pulser sequences with Pulser's own simulator, and describes the devices they are made for.

Only the simulation's processes import this: Pulser and its simulator take a second to load.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pulser import QPUBackend, Sequence
from pulser.backend import BitStrings
from pulser.devices import AnalogDevice, Device
from pulser_simulation import QutipBackendV2, QutipConfig

from spank_qrmi_simulator.execution.errors import ExecutionError
from spank_qrmi_simulator.pasqal_devices import is_emulator

LARGEST_STATE = 4096
"""Complex amplitudes of the largest state that is simulated: 12 atoms of two levels, 5 s."""


def device_specs(order: Mapping[str, Any]) -> dict[str, str]:
    """Return the specifications of `device_types`, each in Pulser's abstract representation."""
    return {name: _device(name).to_abstract_repr() for name in order["device_types"]}


def run_program(order: Mapping[str, Any]) -> dict[str, int]:
    """Return how often each bit string was measured.

    The keys of `order` are the fields of pasqal_batches.Program. Raises ExecutionError for a
    program that is too large; whatever Pulser raises is about the program as well.
    """
    sequence = _built(Sequence.from_abstract_repr(order["sequence"]), order["variables"])
    is_qpu = not is_emulator(order["device_type"])
    if is_qpu:
        device = _device(order["device_type"])
        QPUBackend.validate_job_params([{"runs": order["runs"]}], device.max_runs)
        sequence = sequence.with_new_device(device, strict=True)
    _check_size(sequence)
    measurement = BitStrings(evaluation_times=[1.0], num_shots=order["runs"])
    config = QutipConfig(observables=[measurement])
    results = QutipBackendV2(sequence, config=config, mimic_qpu=is_qpu).run()
    return dict(results.final_bitstrings)


def _device(device_type: str) -> Device:
    # What the service's devices are like, in Pulser's own words; the real one's is not published.
    # Like this one it requires a layout: Pasqal's Qiskit provider puts registers on one first.
    return dataclasses.replace(AnalogDevice, name=device_type)


def _built(sequence: "Sequence[Any]", variables: Mapping[str, Any]) -> "Sequence[Any]":
    if sequence.is_parametrized() or sequence.is_register_mappable():
        return sequence.build(**variables)
    if variables:
        raise ExecutionError("the sequence has no variables")
    return sequence


def _check_size(sequence: "Sequence[Any]") -> None:
    atom_count = len(sequence.register.qubit_ids)
    levels = 3 if len(sequence.get_addressed_bases()) > 1 else 2
    if levels**atom_count > LARGEST_STATE:
        message = f"{atom_count} atoms of {levels} levels are more than the simulator can run"
        raise ExecutionError(message)
