# SPDX-License-Identifier: GPL-3.0-or-later
"""The sampler and the estimator, run by Qiskit Aer, and the forms of their results.

Runs in a worker process: it imports Qiskit.
"""

import json
import math
import time
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import qiskit_ibm_runtime.fake_provider
from qiskit import QuantumCircuit
from qiskit.primitives import PrimitiveResult
from qiskit.primitives.containers import BitArray, EstimatorPub, SamplerPub
from qiskit.providers import BackendV2
from qiskit.transpiler import Target
from qiskit_aer.noise import NoiseModel
from qiskit_aer.primitives import EstimatorV2, SamplerV2
from qiskit_ibm_runtime import RuntimeEncoder

from spank_qrmi_simulator.execution.errors import INSTRUCTION_NOT_SUPPORTED, ExecutionError
from spank_qrmi_simulator.execution.ibm_inputs import (
    decode_input,
    estimator_pubs,
    labels,
    sampler_pubs,
    seed,
)

WIDEST_STATEVECTOR = 24
"""Active qubits up to which Aer chooses its method itself: 24 need 256 MiB."""
ALWAYS_SUPPORTED = frozenset({"barrier", "delay", "measure", "reset"})
CLIFFORDS = frozenset(
    {"barrier", "measure", "delay", "id", "x", "y", "z", "h", "s", "sdg", "sx", "sxdg"}
    | {"cx", "cy", "cz", "ecr", "swap"}
)
"""Besides rz by quarter turns: what Aer's stabilizer method simulates."""
SMALLEST_TURN = 1e-9


def run(order: Mapping[str, object]) -> dict[str, object]:
    """Return `results` (JSON text), `logs` and `quantum_nanoseconds` of a primitive's run.

    `order` holds `program_id` (sampler or estimator), `model` (the machine that the backend is
    like), `noise` and `input`. Raises ExecutionError.
    """
    started = time.monotonic_ns()
    document = decode_input(_input_of(order))
    is_sampler = order["program_id"] == "sampler"
    pubs = sampler_pubs(document) if is_sampler else estimator_pubs(document)
    model = str(order["model"])
    for pub in pubs:
        _check_supported(pub.circuit, _backend(model).target)
    options = _backend_options(pubs, model, with_noise=bool(order["noise"]))
    primitive = _primitive(is_sampler=is_sampler, options=options, seed_number=seed(document))
    try:
        result = primitive.run(pubs).result()
    except Exception as error:  # Aer raises errors of many kinds
        message = f"the simulation failed: {error}"
        raise ExecutionError(message) from error
    return {
        "results": _encoded(
            result, is_sampler=is_sampler, typed=document.get("support_qiskit") is True
        ),
        "logs": f"{order['program_id']}: {len(pubs)} PUBs run by Qiskit Aer with {options}\n",
        "quantum_nanoseconds": time.monotonic_ns() - started,
    }


def _input_of(order: Mapping[str, object]) -> Mapping[str, object]:
    document = order["input"]
    if not isinstance(document, dict):
        raise ExecutionError("the input must be a JSON object")
    return document


@lru_cache(maxsize=8)
def _backend(model: str) -> BackendV2:
    fakes = vars(qiskit_ibm_runtime.fake_provider)
    name = f"Fake{model.title()}"
    # Older machines once had a first version, and have kept the number in their name.
    return (fakes.get(name) or fakes[f"{name}V2"])()


@lru_cache(maxsize=8)
def _noise_model(model: str) -> NoiseModel:
    return NoiseModel.from_backend(_backend(model))


def _check_supported(circuit: QuantumCircuit, target: Target) -> None:
    """Raise ExecutionError unless the circuit was transpiled for the target, as the services do."""
    if circuit.num_qubits > target.num_qubits:
        message = f"{circuit.num_qubits} qubits are more than the backend's {target.num_qubits}"
        raise ExecutionError(message, INSTRUCTION_NOT_SUPPORTED)
    for instruction in circuit.data:
        name = instruction.operation.name
        qubits = tuple(circuit.find_bit(qubit).index for qubit in instruction.qubits)
        is_control_flow = bool(getattr(instruction.operation, "blocks", ()))
        if name in ALWAYS_SUPPORTED or is_control_flow:
            continue
        if not target.instruction_supported(name, qubits):
            message = (
                f"the instruction {name} on qubits {qubits} is not supported by the target "
                "system: transpile the circuit for the backend"
            )
            raise ExecutionError(message, INSTRUCTION_NOT_SUPPORTED)


def _backend_options(
    pubs: list[SamplerPub | EstimatorPub], model: str, *, with_noise: bool
) -> dict[str, object]:
    options: dict[str, object] = {"method": _method(pubs, with_noise=with_noise)}
    if with_noise:
        options["noise_model"] = _noise_model(model)
    return options


def _method(pubs: list[SamplerPub | EstimatorPub], *, with_noise: bool) -> str:
    # Aer leaves idle qubits out by itself, so only the active ones cost memory.
    if max(len(_active_qubits(pub)) for pub in pubs) <= WIDEST_STATEVECTOR:
        return "automatic"
    # Device noise is no Clifford operation, and parameters have no values yet.
    if not with_noise and all(_is_clifford(pub.circuit) for pub in pubs):
        return "stabilizer"
    return "matrix_product_state"


def _active_qubits(pub: SamplerPub | EstimatorPub) -> set[int]:
    circuit = pub.circuit
    active = {
        circuit.find_bit(qubit).index
        for instruction in circuit.data
        if instruction.operation.name not in ("barrier", "delay")
        for qubit in instruction.qubits
    }
    if isinstance(pub, EstimatorPub):
        active |= {
            index
            for label in labels(pub.observables)
            for index, letter in enumerate(reversed(label))
            if letter != "I"
        }
    return active


def _is_clifford(circuit: QuantumCircuit) -> bool:
    for instruction in circuit.data:
        operation = instruction.operation
        if operation.name in CLIFFORDS:
            continue
        if operation.name != "rz" or circuit.parameters:
            return False
        quarter_turns = float(operation.params[0]) / (math.pi / 2)
        if abs(quarter_turns - round(quarter_turns)) > SMALLEST_TURN:
            return False
    return True


def _primitive(
    *, is_sampler: bool, options: Mapping[str, object], seed_number: int | None
) -> SamplerV2 | EstimatorV2:
    if is_sampler:
        # Aer 0.17, the last for Python 3.10, fails with a seed in the sampler's run options.
        return SamplerV2(seed=seed_number, options={"backend_options": options})
    run_options = {} if seed_number is None else {"seed_simulator": seed_number}
    return EstimatorV2(options={"backend_options": options, "run_options": run_options})


def _encoded(result: PrimitiveResult, *, is_sampler: bool, typed: bool) -> str:
    """Return the result as JSON text: Qiskit's typed JSON, or plain numbers and hex strings."""
    stripped = PrimitiveResult(
        [type(one)(one.data, metadata=_metadata(one.metadata)) for one in result],
        metadata={"version": 2},
    )
    if typed:
        return json.dumps(stripped, cls=RuntimeEncoder)
    form = _samples if is_sampler else _expectation_values
    results = [{"data": form(one.data), "metadata": one.metadata} for one in stripped]
    return json.dumps({"results": results, "metadata": stripped.metadata})


def _metadata(metadata: Mapping[str, object]) -> dict[str, object]:
    # Aer's own notes mean nothing to the services' clients.
    return {
        key: metadata[key]
        for key in ("circuit_metadata", "shots", "target_precision")
        if key in metadata
    }


def _samples(data: Mapping[str, BitArray]) -> dict[str, object]:
    return {
        register: {"samples": _hex_samples(bits), "num_bits": bits.num_bits}
        for register, bits in data.items()
    }


def _hex_samples(bits: BitArray) -> object:
    if bits.ndim == 0:
        return [hex(int.from_bytes(shot.tobytes(), "big")) for shot in bits.array]
    return [_hex_samples(bits[index]) for index in range(bits.shape[0])]


def _expectation_values(data: Mapping[str, np.ndarray]) -> dict[str, object]:
    return {name: np.asarray(values).tolist() for name, values in data.items()}
