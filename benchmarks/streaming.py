"""One step at a time, B = 1: the stepper beside ONNX Runtime, PyTorch and our own jitted unroll.

    python benchmarks/streaming.py [--quick] [--rounds N] [--out DIR]

Every runner takes the same steps from one carry to the next, as a user would write it, on arrays
of NumPy (PyTorch on tensors). All are held against a float64 loop before anything is timed; then
they take turns in an order drawn anew each round, each after the threads of the one before have
gone to sleep. A figure is a median over the rounds of the median of a turn's calls. A peer may
choose: ONNX Runtime has 1 or 2 threads, and its arrays given at each call or bound to it once;
PyTorch has 1 or 2 threads. Its best counts.
"""

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

import rnnjax
import turns
from rnnjax import testing

D, LENGTH, ERROR = 64, 50, 2e-5
ORDERS = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}  # ONNX: i, o, f, c and z, r, h
THREADS = (1, 2)
CALLS = 9  # in a turn
ASLEEP = 0.06  # seconds: until then the threads of others spin, as benchmarks/NOTES.md has it


class Case(NamedTuple):
    """A network of equal layers."""

    cell: str
    hidden: int
    layers: int = 1

    def __str__(self) -> str:
        return f"{self.cell.upper()}, H = {self.hidden}" + (", 2 layers" if self.layers > 1 else "")

    @property
    def layer(self) -> Any:
        """In rnnjax."""
        return rnnjax.stack(*[getattr(rnnjax, self.cell)(self.hidden)] * self.layers)


CASES = [Case(cell, hidden) for hidden in (128, 512) for cell in ("lstm", "gru")]
CASES += [Case("lstm", 128, 2), Case("gru", 128, 2)]
Runner = Callable[[np.ndarray], Any]  # steps `(T, 1, D)`; returns the outputs `(T, 1, H)`


def params_of(case: Case) -> Any:
    """Random in every leaf."""
    rng = np.random.default_rng(case.hidden)
    shapes = jax.eval_shape(lambda: case.layer.init(jax.random.key(0), D))
    draw = lambda a: jnp.asarray(rng.normal(size=a.shape) / np.sqrt(case.hidden), jnp.float32)
    return jax.tree.map(draw, shapes)


def by_stepper(layer: Any, params: Any) -> Runner:
    """Ours; its carry is an argument."""
    step = rnnjax.stepper(layer, params, method=rnnjax.Native())
    start = step.init_carry((1,))

    def run(xs):
        carry, ys = start, []
        for x in xs:
            carry, y = step(carry, x)
            ys.append(y)
        return ys

    return run


def by_unroll(case: Case, params: Any) -> Runner:
    """What a user wrote before there was a stepper: a jitted call with T = 1."""
    call = jax.jit(lambda params, xs, carry: case.layer.apply(params, xs, carry))
    start = case.layer.init_carry(params, jnp.zeros((1, D)))

    def run(xs):
        carry, ys = start, []
        for x in xs:
            carry, y = call(params, x[None], carry)
            ys.append(jax.block_until_ready(y)[0])
        return ys

    return run


def by_torch(case: Case, params: Any, threads: int) -> Runner:
    """`nn.LSTM` and `nn.GRU`, one step a call."""
    make = torch.nn.LSTM if case.cell == "lstm" else torch.nn.GRU
    model = make(D, case.hidden, case.layers)
    tensor = lambda a: torch.tensor(np.array(a))
    state = {}
    for i, p in enumerate(params):
        zeros = torch.zeros(p.b.shape[0])
        if case.cell == "gru":
            zeros[2 * case.hidden :] = tensor(p.b_hn)
        state |= {f"weight_ih_l{i}": tensor(p.w_ih.T), f"weight_hh_l{i}": tensor(p.w_hh.T)}
        state |= {f"bias_ih_l{i}": tensor(p.b), f"bias_hh_l{i}": zeros}
    model.load_state_dict(state)
    model.eval()

    @torch.inference_mode()
    def run(xs):
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        carry, ys = None, []
        for x in torch.from_numpy(xs)[:, None]:
            y, carry = model(x, carry)
            ys.append(y[0])
        return ys

    return run


def onnx_model(case: Case, params: Any) -> bytes:
    """Operators one above the other, with states in and out."""
    nodes, constants, below = [], [numpy_helper.from_array(np.array([1]), "axes")], "x"
    names = ["h", "c"] if case.cell == "lstm" else ["h"]
    value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    given, made = [value("x", (1, 1, D))], []
    for i, p in enumerate(params):
        for name, array in zip("WRB", onnx_arrays(case, p), strict=True):
            constants.append(numpy_helper.from_array(array[None], f"{name}{i}"))
        states = [f"{name}{i}" for name in names]
        out = [f"Y{i}", *(f"new_{name}" for name in states)]
        read = [below, f"W{i}", f"R{i}", f"B{i}", "", *states]
        options = {"linear_before_reset": 1} if case.cell == "gru" else {}
        node = helper.make_node(case.cell.upper(), read, out, hidden_size=case.hidden, **options)
        squeeze = helper.make_node("Squeeze", [f"Y{i}", "axes"], [f"y{i}"])
        nodes += [node, squeeze]
        given += [value(name, (1, 1, case.hidden)) for name in states]
        made += [value(name, (1, 1, case.hidden)) for name in out[1:]]
        below = f"y{i}"
    made.insert(0, value(below, (1, 1, case.hidden)))
    graph = helper.make_graph(nodes, "network", given, made, constants)
    opset = [helper.make_opsetid("", 14)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def onnx_arrays(case: Case, p: Any) -> list[np.ndarray]:
    """W, R and both biases, with gates in its order."""

    def rows(a):
        gates = np.split(np.asarray(a).T, len(ORDERS[case.cell]))
        return np.concatenate([gates[k] for k in ORDERS[case.cell]])

    recurrent = np.zeros_like(p.b)
    if case.cell == "gru":
        recurrent[2 * case.hidden :] = p.b_hn
    return [rows(p.w_ih), rows(p.w_hh), np.concatenate([rows(p.b), rows(recurrent)])]


def session_of(model: bytes, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def by_onnx(case: Case, model: bytes, threads: int) -> Runner:
    """States fed back as arrays of NumPy."""
    session = session_of(model, threads)
    names = [value.name for value in session.get_inputs()][1:]
    start = dict.fromkeys(names, np.zeros((1, 1, case.hidden), np.float32))

    def run(xs):
        feed, ys = dict(start), []
        for x in xs:
            feed["x"] = x[None]
            y, *states = session.run(None, feed)
            feed = dict(zip(names, states, strict=True))
            ys.append(y[0])
        return ys

    return run


def by_onnx_bound(case: Case, model: bytes, threads: int) -> Runner:
    """Arrays bound once; states change places after each step."""
    session = session_of(model, threads)
    names = [value.name for value in session.get_inputs()][1:]
    new = lambda width: onnxruntime.OrtValue.ortvalue_from_numpy(
        np.zeros((1, 1, width), np.float32)
    )
    x_value, y_value = new(D), new(case.hidden)
    sides = [{name: new(case.hidden) for name in names} for _ in range(2)]
    bindings = []
    for old, fresh in (sides, sides[::-1]):
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", x_value)
        binding.bind_ortvalue_output(session.get_outputs()[0].name, y_value)
        for name in names:
            binding.bind_ortvalue_input(name, old[name])
            binding.bind_ortvalue_output(f"new_{name}", fresh[name])
        bindings.append(binding)
    zeros = np.zeros((1, 1, case.hidden), np.float32)

    def run(xs):
        for name in names:
            sides[0][name].update_inplace(zeros)
        ys = []
        for t, x in enumerate(xs):
            x_value.update_inplace(x[None])
            session.run_with_iobinding(bindings[t % 2])
            ys.append(y_value.numpy()[0].copy())  # which the next step writes over
        return ys

    return run


def wanted_of(case: Case, params: Any, xs: np.ndarray) -> np.ndarray:
    """By the oracle, in float64."""
    oracle = getattr(testing, case.cell)()
    ys = np.asarray(xs, np.float64)
    for p in params:
        p = jax.tree.map(lambda a: np.asarray(a, np.float64), p)
        begin = np.zeros((1, case.hidden))
        carry = rnnjax.LSTMCarry(begin, begin) if case.cell == "lstm" else rnnjax.GRUCarry(begin)
        ys = testing.reference_unroll(oracle, p, ys, carry)[1]
    return ys


def check(runners: dict[str, Runner], xs: np.ndarray, wanted: np.ndarray, error: float) -> None:
    """All make what the oracle makes, or nothing is timed."""
    for name, run in runners.items():
        off = np.abs(np.stack([np.asarray(y) for y in run(xs)]) - wanted).max()
        if not off < error:
            raise SystemExit(f"{name} is off by {off:.1e}")


def microseconds(runners: dict[str, Runner], xs: np.ndarray, rounds: int) -> dict[str, float]:
    """Of a step, medians."""

    def timed(run):
        time.sleep(ASLEEP)
        run(xs)  # for caches, and to wake its own threads
        taken = []
        for _ in range(CALLS):
            begin = time.perf_counter()
            run(xs)
            taken.append(time.perf_counter() - begin)
        return statistics.median(taken)

    taken = turns.in_turns({n: functools.partial(timed, r) for n, r in runners.items()}, rounds)
    return {name: 1e6 * seconds / len(xs) for name, seconds in taken.items()}


def row_of(case: Case, rounds: int) -> str:
    """A line of the table: ours, and each peer's best way."""
    params = params_of(case)
    xs = np.random.default_rng(1).normal(size=(LENGTH, 1, D)).astype(np.float32)
    model = onnx_model(case, params)
    runners = {"stepper": by_stepper(case.layer, params), "unroll": by_unroll(case, params)}
    for n in THREADS:
        runners[f"PyTorch, {n}"] = by_torch(case, params, n)
        runners[f"ONNX Runtime, {n}"] = by_onnx(case, model, n)
        runners[f"ONNX Runtime, bound, {n}"] = by_onnx_bound(case, model, n)
    check(runners, xs, wanted_of(case, params, xs), ERROR)
    taken = microseconds(runners, xs, rounds)
    ours = taken["stepper"]
    cells = [f"{ours:.1f}"]
    for peer in ("ONNX Runtime", "PyTorch", "unroll"):
        best = min(time for name, time in taken.items() if name.startswith(peer))
        cells.append(f"{best:.1f} ({best / ours:.2f})")
    return f"| {case} | {' | '.join(cells)} |"


COLUMNS = [
    "| network | stepper | ONNX Runtime | PyTorch | jitted unroll |",
    "| --- | ---: | ---: | ---: | ---: |",
]


def main() -> None:
    options = turns.options_of(__doc__)
    cases = [case._replace(hidden=case.hidden // 16) for case in CASES] if options.quick else CASES
    jax.devices()  # the library is loaded beside a backend
    rows = turns.told(COLUMNS, (lambda c=c: [row_of(c, options.rounds)] for c in cases))
    line = f"Microseconds a step, B = 1, D = {D}, {LENGTH} steps a call; in brackets times the "
    line += "stepper's. Of a peer its best way: threads 1 or 2, and arrays bound or not."
    turns.write(options, "streaming_steps", ["One step at a time", line, *COLUMNS], rows)


if __name__ == "__main__":
    main()
