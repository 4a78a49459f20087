# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs in the simulation's process for Pasqal: sequences, limits, device specifications."""

from typing import Any

import pytest
from pulser import Pulse, Register, Sequence
from pulser.devices import AnalogDevice, DigitalAnalogDevice

from spank_qrmi_simulator.execution.errors import ExecutionError
from spank_qrmi_simulator.pulser_programs import device_specs, run_program


def order(sequence: "Sequence[Any]", device_type: str, **changes: object) -> dict[str, object]:
    return {
        "device_type": device_type,
        "sequence": sequence.to_abstract_repr(),
        "runs": 50,
        "variables": {},
        **changes,
    }


def raman_sequence(atom_count: int, *, with_rydberg: bool = False) -> "Sequence[Any]":
    """Return a sequence that turns the first atom's qubit over, for an emulator."""
    coordinates = [(10.0 * number, 0.0) for number in range(atom_count)]
    sequence = Sequence(Register.from_coordinates(coordinates, prefix="q"), DigitalAnalogDevice)
    sequence.declare_channel("raman", "raman_local", initial_target="q0")
    sequence.add(Pulse.ConstantPulse(500, 6.2832, 0, 0), "raman")
    if with_rydberg:
        sequence.declare_channel("rydberg", "rydberg_global")
        sequence.add(Pulse.ConstantPulse(16, 1, 0, 0), "rydberg")
    sequence.measure("digital")
    return sequence


def analog_sequence() -> "Sequence[Any]":
    sequence = Sequence(Register.from_coordinates([(0.0, 0.0)], prefix="q"), AnalogDevice)
    sequence.declare_channel("all", "rydberg_global")
    sequence.add(Pulse.ConstantPulse(500, 6.2832, 0, 0), "all")
    return sequence


def test_emulator_takes_programs_for_other_devices() -> None:
    assert run_program(order(raman_sequence(2), "EMU_FREE")) == {"10": 50}


def test_device_takes_only_registers_of_its_layouts() -> None:
    with pytest.raises(ValueError, match="RegisterLayout"):
        run_program(order(analog_sequence(), "FRESNEL"))
    assert run_program(order(analog_sequence(), "EMU_FREE")) == {"1": 50}


def test_three_levels_fill_the_largest_state_sooner() -> None:
    with pytest.raises(ExecutionError, match="8 atoms of 3 levels"):
        run_program(order(raman_sequence(8, with_rydberg=True), "EMU_FREE"))


def test_variables_of_a_sequence_without_any_are_refused() -> None:
    with pytest.raises(ExecutionError, match="no variables"):
        run_program(order(raman_sequence(1), "EMU_FREE", variables={"x": [1]}))


def test_specs_bear_the_device_types_name() -> None:
    specs = device_specs({"device_types": ["FRESNEL", "FRESNEL_CAN1"]})
    assert specs.keys() == {"FRESNEL", "FRESNEL_CAN1"}
    assert '"name": "FRESNEL_CAN1"' in specs["FRESNEL_CAN1"]
