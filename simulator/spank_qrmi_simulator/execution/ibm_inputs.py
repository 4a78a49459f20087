# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a primitive's input: PUBs with circuits, parameters and observables in clients' many forms.

Forms as in IBM's published schemas of the V2 primitives' inputs and as qiskit-ibm-runtime encodes
them. Runs in a worker process: it imports Qiskit.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
from qiskit import QuantumCircuit, QuantumRegister, qasm3
from qiskit.circuit import Parameter
from qiskit.primitives.containers import BindingsArray, EstimatorPub, ObservablesArray, SamplerPub
from qiskit.quantum_info import SparseObservable, SparsePauliOp
from qiskit_ibm_runtime import RuntimeDecoder

from spank_qrmi_simulator.execution.errors import ExecutionError

DEFAULT_SHOTS = 4096
"""The services' default; for an estimator it means a precision of 1/sqrt(4096)."""
MOST_EXECUTIONS = 10_000_000
"""Shots of all circuits with all their parameter values: the services' limit for a job."""
VERSION = 2
PROJECTOR = re.compile(r"[01+\-rl]")
MOST_PROJECTORS = 12
"""Projectors in one term, each of which doubles the number of Pauli strings to simulate."""
LONGEST_PUB = {"sampler": 3, "estimator": 4}
INPUT_DECLARATION = re.compile(r"(?:^|(?<=;))\s*input\s+[\w\[\]]+\s+(\w+)\s*;", re.MULTILINE)


def decode_input(document: Mapping[str, object]) -> dict[str, object]:
    """Return a primitive's input with its typed values decoded; raise ExecutionError."""
    try:
        decoded = json.loads(json.dumps(document), cls=RuntimeDecoder)
    except Exception as error:  # every decoder of every type fails in its own way
        message = f"the input cannot be decoded: {error}"
        raise ExecutionError(message) from error
    if decoded.get("version") != VERSION:
        raise ExecutionError("version of the input must be 2")
    pubs = decoded.get("pubs")
    if not isinstance(pubs, list) or not pubs:
        raise ExecutionError("pubs of the input must be a list that is not empty")
    return dict(decoded)


def sampler_pubs(document: Mapping[str, object]) -> list[SamplerPub]:
    """Return the PUBs of a decoded sampler input; raise ExecutionError."""
    shots = document.get("shots") or _option(document, "default_shots") or DEFAULT_SHOTS
    pubs = []
    for parts in _pubs(document, "sampler"):
        circuit, order = _circuit(parts[0])
        bindings = _bindings(circuit, order, parts[1])
        pubs.append(_checked(SamplerPub, circuit, bindings, parts[2] or shots))
    executions = sum((pub.shots or 0) * pub.size for pub in pubs)
    if executions > MOST_EXECUTIONS:
        message = f"{executions} executions are more than the {MOST_EXECUTIONS} of a job"
        raise ExecutionError(message)
    return pubs


def estimator_pubs(document: Mapping[str, object]) -> list[EstimatorPub]:
    """Return the PUBs of a decoded estimator input; raise ExecutionError."""
    pubs = []
    for parts in _pubs(document, "estimator"):
        circuit, order = _circuit(parts[0])
        observables = _observables(parts[1])
        circuit = _widened(circuit, observables.num_qubits)
        bindings = _bindings(circuit, order, parts[2])
        precision = _default_precision(document) if parts[3] is None else parts[3]
        pubs.append(_checked(EstimatorPub, circuit, observables, bindings, precision))
    return pubs


def labels(observables: ObservablesArray) -> set[str]:
    """Return all terms, a letter a qubit, the last letter for the first qubit."""
    return {label for terms in observables.ravel().tolist() for label in terms}


def seed(document: Mapping[str, object]) -> int | None:
    """Return the simulation's seed that the options ask for."""
    simulator = _options(document).get("simulator")
    value = simulator.get("seed_simulator") if isinstance(simulator, dict) else None
    return value if isinstance(value, int) else None


def _pubs(document: Mapping[str, object], program: str) -> list[list[object]]:
    pubs = document["pubs"]
    longest = LONGEST_PUB[program]
    padded = []
    for pub in pubs if isinstance(pubs, list) else []:
        # A client may send a circuit alone where nothing else is needed.
        parts = list(pub) if isinstance(pub, list | tuple) else [pub]
        if not 1 <= len(parts) <= longest:
            message = f"a PUB of the {program} has one to {longest} parts"
            raise ExecutionError(message)
        padded.append(parts + [None] * (longest - len(parts)))
    return padded


def _circuit(value: object) -> tuple[QuantumCircuit, list[str] | None]:
    """Return the circuit, and its parameters' names in the order in which values are sent."""
    if isinstance(value, QuantumCircuit):
        return value, None
    if not isinstance(value, str):
        raise ExecutionError("the circuit of a PUB must be OpenQASM 3 or a QPY circuit")
    try:
        circuit = qasm3.loads(value)
    except Exception as error:  # the importer raises its own, the parser's and Qiskit's errors
        message = f"the OpenQASM 3 program cannot be read: {str(error) or type(error).__name__}"
        raise ExecutionError(message) from error
    # Names change on the way into OpenQASM ("x[10]" to "x_10_"), and with them the sorted order.
    return circuit, INPUT_DECLARATION.findall(value)


def _bindings(circuit: QuantumCircuit, order: list[str] | None, values: object) -> BindingsArray:
    if not circuit.parameters:
        return BindingsArray()
    try:
        if isinstance(values, BindingsArray):
            return values
        if isinstance(values, dict):
            return BindingsArray(
                {name if isinstance(name, tuple) else (name,): one for name, one in values.items()}
            )
        array = np.asarray(values, dtype=float)
        return BindingsArray({tuple(_parameters(circuit, order)): array})
    except (TypeError, ValueError) as error:
        message = f"the parameter values do not fit the circuit: {error}"
        raise ExecutionError(message) from error


def _parameters(circuit: QuantumCircuit, order: list[str] | None) -> Sequence[Parameter]:
    by_name = {parameter.name: parameter for parameter in circuit.parameters}
    if order is None or sorted(order) != sorted(by_name):
        return list(circuit.parameters)
    return [by_name[name] for name in order]


def _observables(value: object) -> ObservablesArray:
    if value is None:
        raise ExecutionError("a PUB of the estimator needs observables")
    try:
        observables = ObservablesArray.coerce(value)
    except Exception as error:  # Qiskit raises errors of many kinds
        message = f"the observables cannot be read: {error}"
        raise ExecutionError(message) from error
    most_projectors = max(len(PROJECTOR.findall(label)) for label in labels(observables))
    if most_projectors > MOST_PROJECTORS:
        message = f"an observable holds more than {MOST_PROJECTORS} projectors"
        raise ExecutionError(message)
    return _in_paulis(observables) if most_projectors else observables


def _in_paulis(observables: ObservablesArray) -> ObservablesArray:
    """Return the same observables without projectors, which Aer does not know."""
    paulis = [
        SparsePauliOp.from_sparse_observable(SparseObservable.from_list(list(terms.items())))
        for terms in observables.ravel().tolist()
    ]
    return ObservablesArray(paulis).reshape(observables.shape)


def _widened(circuit: QuantumCircuit, num_qubits: int) -> QuantumCircuit:
    """Return the circuit with idle qubits added: OpenQASM names only those that are used."""
    if circuit.num_qubits >= num_qubits:
        return circuit
    wide = QuantumCircuit(QuantumRegister(num_qubits), *circuit.cregs)
    return wide.compose(circuit, range(circuit.num_qubits), circuit.clbits)


def _checked(kind: type, *parts: object) -> SamplerPub | EstimatorPub:
    try:
        return kind(*parts)
    except Exception as error:  # Qiskit raises errors of many kinds
        message = f"the PUB is not valid: {error}"
        raise ExecutionError(message) from error


def _default_precision(document: Mapping[str, object]) -> float:
    precision = document.get("precision", _option(document, "default_precision"))
    if isinstance(precision, int | float):
        return float(precision)
    shots = _option(document, "default_shots")
    return 1 / math.sqrt(shots if isinstance(shots, int) and shots > 0 else DEFAULT_SHOTS)


def _option(document: Mapping[str, object], name: str) -> object:
    return _options(document).get(name)


def _options(document: Mapping[str, object]) -> dict[str, object]:
    options = document.get("options")
    return options if isinstance(options, dict) else {}
