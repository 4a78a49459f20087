# SPDX-License-Identifier: GPL-3.0-or-later
"""Sampler and estimator of the simulated site, run in this process by Qiskit Aer."""

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.primitives.containers import BindingsArray, EstimatorPub, ObservablesArray, SamplerPub
from qiskit_ibm_runtime import RuntimeDecoder, RuntimeEncoder

from spank_qrmi_simulator.execution import ibm_primitives
from spank_qrmi_simulator.execution.errors import INSTRUCTION_NOT_SUPPORTED, ExecutionError
from tests.simulator_client import BELL, FLIP

HEADER = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'
TURNED = f"""{HEADER}input float[64] zeta;
input float[64] alpha; bit[1] c;
sx $3; rz(zeta) $3; sx $3; rz(alpha) $3;
"""
"""Flips qubit 3 if zeta is 0, and not if it is pi; declared in an order that is not sorted."""
MEASURED = " c[0] = measure $3;"
BELL_STATE = BELL.partition("meas[0]")[0].replace("bit[2] meas;", "")
NATIVE_QUBITS = 133


def run(
    program: str, pub: object, model: str = "torino", *, noise: bool = False, **changes: object
) -> dict[str, object]:
    """Return the parsed plain results of one PUB."""
    document = {"version": 2, "pubs": [pub], "support_qiskit": False, **changes}
    order = {"program_id": program, "model": model, "noise": noise, "input": document}
    outcome = ibm_primitives.run(order)
    results: dict[str, object] = json.loads(str(outcome["results"]))
    return results


def data_of(results: dict[str, object]) -> dict[str, object]:
    found = results["results"]
    assert isinstance(found, list)
    data: dict[str, object] = found[0]["data"]
    return data


def samples_of(results: dict[str, object], register: str = "c") -> list[object]:
    bits = data_of(results)[register]
    assert isinstance(bits, dict)
    samples: list[object] = bits["samples"]
    return samples


def values_of(results: dict[str, object]) -> object:
    return data_of(results)["evs"]


def on_device(pauli: str, first_qubit: int) -> str:
    """Return a Pauli string of the device's width, with `pauli` from `first_qubit` on."""
    return "I" * (NATIVE_QUBITS - first_qubit - len(pauli)) + pauli + "I" * first_qubit


def test_sampler_gives_qiskits_typed_json_if_asked() -> None:
    document = {"version": 2, "pubs": [[BELL, None, 500]], "support_qiskit": True}
    order = {"program_id": "sampler", "model": "torino", "noise": False, "input": document}
    result = json.loads(str(ibm_primitives.run(order)["results"]), cls=RuntimeDecoder)
    counts = result[0].data.meas.get_counts()
    assert counts.keys() == {"00", "11"}
    assert min(counts.values()) > 150
    assert result[0].metadata["shots"] == 500


@pytest.mark.parametrize(
    ("values", "flips"),
    [
        ([0.0, 1.0], ["0x1"]),
        ([math.pi, 1.0], ["0x0"]),
        ([[0.0, 1.0], [math.pi, 1.0]], [["0x1"], ["0x0"]]),
        ({"alpha": 1.0, "zeta": math.pi}, ["0x0"]),
        ({"alpha": [1.0, 1.0], "zeta": [0.0, math.pi]}, [["0x1"], ["0x0"]]),
    ],
)
def test_parameters_keep_the_order_of_their_declaration(
    values: object, flips: Sequence[object]
) -> None:
    assert samples_of(run("sampler", [TURNED + MEASURED, values, 1])) == flips


@pytest.mark.parametrize(
    ("pub", "changes", "shots"),
    [
        (BELL, {}, 4096),
        ([BELL], {}, 4096),
        ([BELL, None, 7], {"shots": 9}, 7),
        ([BELL, [], None], {"shots": 9}, 9),
        ([BELL], {"options": {"default_shots": 11}}, 11),
    ],
)
def test_shots_are_the_pubs_or_the_inputs(
    pub: object, changes: dict[str, object], shots: int
) -> None:
    assert len(samples_of(run("sampler", pub, **changes), "meas")) == shots


def test_circuits_come_as_qpy_with_typed_parameters() -> None:
    angle = Parameter("angle")
    circuit = QuantumCircuit(1, 1)
    circuit.rz(angle, 0)
    circuit.x(0)
    pub = SamplerPub.coerce((circuit, [[0.1], [0.2]], 2))
    sent = json.loads(json.dumps(pub, cls=RuntimeEncoder))
    circuit.measure(0, 0)
    pubs = [sent, encoded((circuit, BindingsArray({"angle": [0.1, 0.2]}), 2))]
    assert data_of(run("sampler", pubs[0])).keys() == {"c"}
    assert samples_of(run("sampler", pubs[1])) == [["0x1", "0x1"], ["0x1", "0x1"]]


def encoded(value: object) -> object:
    return json.loads(json.dumps(value, cls=RuntimeEncoder))


def test_control_flow_runs() -> None:
    circuit = HEADER + ("bit[2] c; x $3; c[0] = measure $3; if (c[0]) { x $4; } c[1] = measure $4;")
    assert samples_of(run("sampler", [circuit, None, 2])) == ["0x3", "0x3"]


def test_seed_makes_a_run_repeatable() -> None:
    options = {"simulator": {"seed_simulator": 5}}
    runs = [samples_of(run("sampler", BELL, options=options), "meas") for _ in range(2)]
    assert runs[0] == runs[1]


def test_noise_is_that_of_the_machine() -> None:
    options = {"simulator": {"seed_simulator": 5}}
    samples = [
        samples_of(
            run("sampler", [FLIP, None, 2000], "manila", noise=noise, options=options), "meas"
        )
        for noise in (True, False)
    ]
    assert (0 < samples[0].count("0x0") < 400, samples[1].count("0x0")) == (True, 0)


@pytest.mark.parametrize(
    ("angle", "method"), [("pi/2", "stabilizer"), ("0.3", "matrix_product_state")]
)
def test_wide_circuits_run(angle: str, method: str) -> None:
    turns = "".join(
        f"sx ${i}; rz({angle}) ${i}; sx ${i}; c[{i}] = measure ${i};" for i in range(40)
    )
    document = {"version": 2, "pubs": [[f"{HEADER}bit[40] c; cz $0, $1; {turns}", None, 10]]}
    order = {"program_id": "sampler", "model": "torino", "noise": False, "input": document}
    outcome = ibm_primitives.run(order)
    assert method in str(outcome["logs"])
    assert len(samples_of(json.loads(str(outcome["results"])))) == 10


@pytest.mark.parametrize(
    ("observables", "values"),
    [
        ({on_device("ZZ", 50): 1.0}, 1.0),
        (on_device("XX", 50), 1.0),
        ([on_device("ZZ", 50), {on_device("ZI", 50): 3.0, on_device("YY", 50): 0.5}], [1.0, -0.5]),
        ([[on_device("ZZ", 50)], [on_device("Z", 132)]], [[1.0], [1.0]]),
        (on_device("00", 50), 0.5),
    ],
)
def test_estimator_gives_expectation_values(observables: object, values: object) -> None:
    found = values_of(run("estimator", [BELL_STATE, observables, [], 0]))
    assert np.allclose(np.asarray(found), np.asarray(values))


def test_estimator_combines_parameters_and_observables() -> None:
    circuit = TURNED.replace("bit[1] c;", "")
    observables = [[on_device("Z", 3)], [on_device("Z", 4)]]
    found = values_of(run("estimator", [circuit, observables, [[0.0, 0.0], [math.pi, 0.0]], 0]))
    assert np.allclose(np.asarray(found), [[-1.0, 1.0], [1.0, 1.0]])


def test_estimator_takes_qpy_and_answers_typed() -> None:
    circuit = QuantumCircuit(2)
    circuit.x(0)
    pub = EstimatorPub.coerce((circuit, ObservablesArray(["ZI", "IZ"]), None, 0.5))
    document = {"version": 2, "pubs": [encoded(pub)], "support_qiskit": True}
    order = {"program_id": "estimator", "model": "torino", "noise": False, "input": document}
    result = json.loads(str(ibm_primitives.run(order)["results"]), cls=RuntimeDecoder)
    assert result[0].data.stds.tolist() == [0.5, 0.5]
    assert result[0].data.evs[0] > result[0].data.evs[1]


@pytest.mark.parametrize(
    ("part", "changes", "precision"),
    [
        (0.25, {"precision": 0.5}, 0.25),
        (None, {"precision": 0.5}, 0.5),
        (None, {"options": {"default_precision": 0.125}}, 0.125),
        (None, {"options": {"default_shots": 16}}, 0.25),
        (None, {}, 1 / 64),
    ],
)
def test_precision_is_the_pubs_or_the_inputs(
    part: object, changes: dict[str, object], precision: float
) -> None:
    pub = [BELL_STATE, on_device("ZZ", 50), [], part]
    assert data_of(run("estimator", pub, **changes))["stds"] == precision


@pytest.mark.parametrize(
    ("program", "pub", "changes", "text"),
    [
        ("sampler", BELL, {"version": 1}, "version"),
        ("sampler", BELL, {"pubs": []}, "pubs"),
        ("sampler", BELL, {"pubs": "x"}, "pubs"),
        ("sampler", [BELL, None, 1, 1], {}, "one to 3 parts"),
        ("sampler", [5], {}, "must be OpenQASM 3 or a QPY circuit"),
        ("sampler", ["rubbish"], {}, "cannot be read"),
        ("sampler", [BELL, None, -1], {}, "PUB is not valid"),
        ("sampler", [BELL, None, 10_000_001], {}, "more than the 10000000 of a job"),
        ("sampler", [TURNED + MEASURED, [[0, 0]] * 11, 10**6], {}, "11000000 executions"),
        ("sampler", [TURNED + MEASURED], {}, "parameter values do not fit"),
        ("sampler", [TURNED + MEASURED, [1.0]], {}, "parameter values do not fit"),
        ("sampler", [{"__type__": "QuantumCircuit", "__value__": "x"}], {}, "cannot be decoded"),
        ("estimator", [BELL_STATE], {}, "needs observables"),
        ("estimator", [BELL_STATE, "QQ"], {}, "observables cannot be read"),
        ("estimator", [BELL_STATE, on_device("0" * 13, 0)], {}, "more than 12 projectors"),
        ("estimator", [BELL_STATE, "ZZ"], {}, "PUB is not valid"),
    ],
)
def test_wrong_inputs_are_refused(
    program: str, pub: object, changes: dict[str, object], text: str
) -> None:
    with pytest.raises(ExecutionError, match=text):
        run(program, pub, **changes)


@pytest.mark.parametrize("gates", ["h $3;", "cz $0, $5;", "x $133;"])
def test_circuits_must_be_native_to_the_backend(gates: str) -> None:
    with pytest.raises(ExecutionError) as refused:
        run("sampler", [HEADER + gates])
    assert refused.value.reason_code == INSTRUCTION_NOT_SUPPORTED
