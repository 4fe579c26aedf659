"""The method for cuDNN where there is no GPU: JAX's functions, and a stand-in for the library.

What JAX would hand to the GPU goes to `cudnn_stand_in`, which has the contract of cuDNN.
"""

import functools
from types import SimpleNamespace
from typing import NamedTuple

import compare
import cudnn_stand_in
import jax
import jax.numpy as jnp
import messages
import numpy as np
import pytest
import registry
from jax.experimental import rnn
from jax.interpreters import mlir
from jaxlib import gpu_rnn

import rnnjax
from rnnjax.methods import choice, manual
from rnnjax.methods.chunked import in_segments
from rnnjax.methods.cudnn import library
from rnnjax.methods.reverse_only import REVERSE_ONLY
from rnnjax.sequence import levels

T, B, D, H = 5, 4, 3, 2
LENGTHS = {"lengths": np.array([T, 0, 2, 1], np.int32)}
CUDNN, SCAN = rnnjax.Cudnn(), rnnjax.Scan()


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    part = SimpleNamespace(compute_rnn_workspace_reserve_space_sizes=cudnn_stand_in.sizes)
    monkeypatch.setattr(rnn, "gpu_rnn", part)
    for primitive, run in cudnn_stand_in.FUNCTIONS.items():
        rule = mlir.lower_fun(run, multiple_results=True)
        mlir.register_lowering(primitive, rule, platform="cpu")
    monkeypatch.setattr(library, "PLATFORMS", ("cpu", "cuda"))
    monkeypatch.setattr(library, "why_not_here", lambda: None)
    monkeypatch.setattr(manual, "rows_are_here", lambda: True)


class Case(NamedTuple):
    """A layer, how it is run, and how often cuDNN is called."""

    layer: rnnjax.Layer
    options: dict
    batch: tuple[int, ...] = (B,)
    calls: int = 1


lstm, both = rnnjax.lstm(H), rnnjax.bidirectional(rnnjax.lstm(H))
learned = rnnjax.bidirectional(rnnjax.lstm(H, learned_carry=True))
backwards = functools.partial(rnnjax.recurrent, reverse=True)
CASES = {
    "one layer, one row": Case(rnnjax.recurrent(lstm), {}, ()),
    "lengths, axes of batch": Case(
        rnnjax.recurrent(lstm), {"lengths": np.array([[T, 0], [2, 1]])}, (2, 2)
    ),
    "backwards, no bias": Case(backwards(rnnjax.lstm(H, bias=False)), LENGTHS),
    "both ways": Case(both, LENGTHS),
    "both ways, the other one first": Case(rnnjax.bidirectional(backwards(lstm)), {}),
    "stack": Case(rnnjax.stack(lstm, lstm, lstm, dropout=0.5), {}),
    "stack, backwards": Case(rnnjax.stack(backwards(lstm), backwards(lstm)), LENGTHS),
    "stack, both ways, learned starts": Case(rnnjax.stack(learned, learned), LENGTHS),
    "stack of other widths": Case(rnnjax.stack(both, rnnjax.lstm(3)), {}, calls=2),
    "both ways around a stack": Case(rnnjax.bidirectional(rnnjax.stack(lstm, lstm)), {}),
}


def point_of(layer, batch=(B,), lengths=None):
    """Params, inputs and a carry; NaN in the padding."""
    params = registry.random_params(layer, D)
    xs = registry.inputs(T, *batch, D)
    carry = registry.random_carry(layer, params, xs[0], 1)
    if lengths is not None:
        xs = jnp.where(rnnjax.lengths_to_mask(lengths, T)[..., None], xs, jnp.nan)
    return params, xs, carry


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_scan(name):
    layer, options, batch, calls = CASES[name]
    run = lambda method, *point: layer.apply(*point, **options, method=method)
    params, xs, carry = point_of(layer, batch, **options)
    point = params, xs, None if "learned" in name else carry
    graded = [compare.graded(functools.partial(run, method)) for method in (CUDNN, SCAN)]
    traced = graded[0].trace(*point)
    text = str(traced.jaxpr)
    assert text.count("cudnn_lstm_forward[") == text.count("cudnn_lstm_backward[") == calls
    compare.assert_close(traced.lower().compile()(*point), graded[1](*point))


def test_the_stand_in_is_the_reference_of_jax():
    network = library.Network(D, H, layers=2, both_ways=True, full=True)
    sizes = {name: network.options[name] for name in ("input_size", "hidden_size", "num_layers")}
    w = registry.inputs(rnn.get_num_params_in_lstm(**sizes, bidirectional=True))
    xs, h, c = registry.inputs(B, T, D), registry.inputs(4, B, H, seed=2), registry.inputs(4, B, H)
    lengths = jnp.array([T, 1, 2, 1], jnp.int32)
    weights = rnn.unpack_lstm_weights(w, **sizes, bidirectional=True)
    wanted = rnn.lstm_ref(xs, h, c, *weights, lengths, *sizes.values(), 0.0, True)
    got = jax.jit(functools.partial(library.forward, network))(w, xs, h, c, lengths)
    compare.assert_close(got[:3], wanted)


def test_on_the_cpu_of_such_a_machine_a_plain_loop_runs(monkeypatch):
    monkeypatch.setattr(library, "PLATFORMS", ("cuda",))
    layer = CASES["stack, both ways, learned starts"].layer
    point, lengths = point_of(layer), np.array([T, 0, 2, 1], np.int32)
    run = lambda method: functools.partial(layer.apply, lengths=lengths, method=method)
    assert "cudnn_lstm_forward[" in str(jax.make_jaxpr(run(CUDNN))(*point))
    assert "callback" not in jax.jit(run(CUDNN)).lower(*point).as_text()
    compare.assert_close(*(compare.graded(run(m))(*point) for m in (CUDNN, rnnjax.Scan())))


def test_a_program_for_cuda_tells_the_order_of_axes(monkeypatch):
    """JAX does not, and XLA then lets cuDNN read what stands in another order."""
    plugin = SimpleNamespace(build_rnn_descriptor=lambda *sizes: "")
    sizes = "compute_rnn_workspace_reserve_space_sizes"
    monkeypatch.setattr(gpu_rnn, sizes, cudnn_stand_in.sizes, raising=False)
    rules = {"fwd": gpu_rnn.cudnn_rnn_lowering, "bwd": gpu_rnn.cudnn_rnn_bwd_lowering}
    for name, rule in rules.items():
        rule = functools.partial(rule.func, plugin, "cu")
        mlir.register_lowering(getattr(rnn, f"rnn_{name}_p"), rule, platform="cuda")
    layer = CASES["stack, both ways, learned starts"].layer
    params, xs, _ = point_of(layer)
    loss = lambda params, xs: layer.apply(params, xs, method=CUDNN)[1].sum()
    traced = jax.jit(jax.grad(loss, (0, 1))).trace(params, xs)
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    calls = [line for line in text.splitlines() if "@cudnn_rnn" in line]
    assert len(calls) == 2  # all layers and directions, forward and back
    three, one = "dense<[2, 1, 0]> : tensor<3xindex>", "dense<0> : tensor<1xindex>"
    taken = [[three] * 3 + [one] * 2, [three] * 6 + [one, three] + [one] * 3]
    for call, operands in zip(calls, taken, strict=True):
        assert f"operand_layouts = [{', '.join(operands)}]" in call
        assert f"result_layouts = [{', '.join([three] * 3 + [one] * 2)}]" in call


def test_what_an_empty_row_begins_with_is_handed_on_as_it_is():
    params, xs, carry = point_of(lstm)
    carry = jax.tree.map(lambda leaf: leaf.at[1].set(jnp.inf), carry)
    run = lambda method, *point: rnnjax.unroll(lstm, *point, **LENGTHS, method=method)[0].h[1]
    out, gradients = compare.graded(functools.partial(run, CUDNN), jnp.ones_like)(params, xs, carry)
    assert np.isinf(out).all() and not any(map(np.any, jax.tree.leaves(gradients.params)))
    assert gradients.carry.h[1].tolist() == [1.0] * H


def test_nothing_to_run_is_no_error():
    layer = rnnjax.stack(both, both)
    params = registry.random_params(layer, D)
    for xs in (jnp.ones((0, B, D)), jnp.ones((T, 0, D))):
        carry, ys = jax.eval_shape(functools.partial(layer.apply, method=CUDNN), params, xs)
        assert ys.shape == (*xs.shape[:2], 2 * H)
        assert {leaf.shape for leaf in jax.tree.leaves(carry)} == {(2, xs.shape[1], H)}


def several(tree, axis):
    if axis is None:
        return tree
    both = (registry.randomise(tree, seed) for seed in (3, 4))
    return jax.tree.map(lambda *leaves: jnp.stack(leaves, axis), *both)


@pytest.mark.parametrize(
    "axes, inside",
    [((None, 1, None), False), ((None, 1, 0), True), ((0, None, None), False), ((0, 1, 0), True)],
    ids=["sequences", "gradients of sequences", "networks", "gradients of both"],
)
def test_vmap(axes, inside):
    point = list(map(several, point_of(lstm), axes))
    run = lambda method, *point: rnnjax.unroll(lstm, *point, **LENGTHS, method=method)
    results = []
    for method in (CUDNN, SCAN):
        own = functools.partial(run, method)
        if inside:
            results.append(jax.jit(jax.vmap(compare.graded(own), in_axes=axes))(*point))
        else:
            results.append(compare.graded(jax.vmap(own, in_axes=axes))(*point))
    compare.assert_close(*results)


def test_vmap_over_sequences_is_one_call_of_more_rows():
    params, xs, carry = point_of(lstm)
    run = jax.vmap(lambda xs: rnnjax.unroll(lstm, params, xs, carry, method=CUDNN)[1], 1)
    text = str(jax.make_jaxpr(jax.grad(lambda xs: run(xs).sum()))(several(xs, 1)))
    assert "scan" not in text
    assert text.count("cudnn_lstm_forward[") == text.count("cudnn_lstm_backward[") == 1


def test_vmap_in_vmap_and_over_cotangents():
    params, xs, _ = point_of(lstm)
    xs = several(several(xs, 0), 0)

    def jacobian(method):
        def one(params, xs):
            return rnnjax.unroll(lstm, params, xs, method=method)[1][0, 0]

        by_rows = jax.vmap(jax.vmap(jax.jacrev(one), (None, 0)), (None, 0))
        return jax.jit(by_rows)(params, xs)

    compare.assert_close(jacobian(CUDNN), jacobian(SCAN))


def test_inside_shard_map_every_device_runs_its_rows():
    params, xs, _ = point_of(lstm)
    xs = jnp.concatenate([xs, 2 * xs], 1)
    lengths = jnp.arange(2 * B, dtype=jnp.int32) % (T + 1)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.P(None, "data")

    def loss(method, params, xs):
        def here(params, xs, lengths):
            return rnnjax.unroll(lstm, params, xs, lengths=lengths, method=method)

        specs = (jax.P(), rows, jax.P("data"))
        out = jax.shard_map(here, mesh=mesh, in_specs=specs, out_specs=(jax.P("data"), rows))
        (h, _), ys = out(params, xs, lengths)  # nobody wants c
        return jnp.sin(h).sum() + jnp.sin(ys).sum()

    graded = jax.jit(jax.value_and_grad(loss, (1, 2)), static_argnums=0)
    compare.assert_close(graded(CUDNN, params, xs), graded(SCAN, params, xs))


def test_what_it_does_not_differentiate_is_said_in_our_words():
    params, xs, carry = point_of(lstm)
    loss = lambda xs: rnnjax.unroll(lstm, params, xs, carry, method=CUDNN, reverse=True)[1].sum()
    twice = lambda xs: jax.grad(lambda xs: jax.grad(loss)(xs).sum())(xs)
    for run in (lambda xs: jax.jvp(loss, (xs,), (xs,)), jax.jacfwd(loss), twice):
        with pytest.raises(TypeError) as caught:
            run(xs)
        assert str(caught.value) == REVERSE_ONLY


@pytest.mark.parametrize(
    "precision, default, allowed",
    [
        (None, None, True),
        (None, "bfloat16", True),
        (None, "highest", False),
        (None, "F32_F32_F32", False),
        ("float32", None, False),
        (jax.lax.Precision.HIGHEST, "tensorfloat32", False),
        ("default", "highest", True),
    ],
)
def test_tf32_is_allowed_as_in_the_products_of_jax(precision, default, allowed):
    params, xs, carry = point_of(lstm)
    method = rnnjax.Cudnn(precision)
    loss = lambda params: rnnjax.unroll(lstm, params, xs, carry, method=method)[1].sum()
    del cudnn_stand_in.ALLOWED[:]
    with jax.default_matmul_precision(default):
        jax.jit(jax.grad(loss)).lower(params)
    assert cudnn_stand_in.ALLOWED == [allowed, allowed]


def test_a_stack_is_offered_to_what_none_picks(monkeypatch):
    picked = ((CUDNN, "the first"), *choice.PICKED)
    for module in (choice, levels):
        monkeypatch.setattr(module, "PICKED", picked)
    monkeypatch.setattr(choice, "SECOND", dict.fromkeys(map(choice.name_of, dict(picked))))
    layer = CASES["stack"].layer
    for key in (None, jax.random.key(0)):
        run = functools.partial(layer.apply, key=key)
        text = str(jax.make_jaxpr(run)(*point_of(layer)))
        assert "cudnn_lstm_forward[" in text
        assert ("name=run_levels" in text) == (key is None)  # with dropout, layer by layer


def told(cell=lstm, xs=None, params=None, **options):
    """What a user is told who asks for it."""
    xs = registry.inputs(T, B, D) if xs is None else xs
    params = registry.random_params(cell, D) if params is None else params
    return lambda: rnnjax.unroll(cell, params, xs, **options, method=CUDNN)


MASK = np.ones((T, B), bool)
half = lambda tree: jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), tree)
LATE = jax.ShapeDtypeStruct((65_536, 1, D), jnp.float32)
REFUSED = {
    "a cell": (told(rnnjax.gru(H)), "it knows the plain LSTM alone"),
    "activations": (
        told(rnnjax.lstm(H, activation=jax.nn.relu)),
        "it knows the plain LSTM alone",
    ),
    "inputs": (
        told(xs=half(registry.inputs(T, B, D))),
        "it computes in float32, and here is bfloat16",
    ),
    "params": (
        told(rnnjax.lstm(H, param_dtype=jnp.bfloat16)),
        "it computes in float32, and here is bfloat16",
    ),
    "a carry": (
        told(rnnjax.lstm(H, carry_dtype=jnp.bfloat16)),
        "it computes in float32, and here is bfloat16",
    ),
    "resets": (told(resets=~MASK), "it knows no resets"),
    "a mask": (told(mask=MASK), "padding must come last, as lengths say it, and here is a mask"),
    "a mask and lengths": (
        told(mask=MASK, **LENGTHS),
        "padding must come last, as lengths say it, and here is a mask",
    ),
    "steps": (
        lambda: jax.eval_shape(lambda xs: told(xs=xs)(), LATE),
        "it reads 65,535 steps at most, and here are 65,536",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_does_not_run_is_refused_with_the_reason(name):
    call, reason = REFUSED[name]
    check_method_refused("unroll", call, reason)


def check_method_refused(function, call, reason):
    message = (
        f"{function}: `method` must serve this call, got Cudnn(precision=None), which cannot: "
        f"{reason}; use another method, or None to have one picked."
    )
    messages.check_raised(call, ValueError, message)


def test_none_picks_it_on_a_gpu(monkeypatch):
    gpu = SimpleNamespace(compute_capability="9.0", core_count=132)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "devices", lambda: [gpu])
    xs = registry.inputs(T, B, D)
    for cell, method in ((rnnjax.lstm(H), CUDNN), (rnnjax.gru(H), rnnjax.PallasGPU())):
        params = registry.random_params(cell, D)
        explained = rnnjax.explain(cell, params, xs)
        assert explained.method == method
        assert (explained.runs == method) == (method == CUDNN)


def test_where_it_does_not_run_is_said(monkeypatch):
    monkeypatch.setattr(manual, "rows_are_here", lambda: False)
    check_method_refused(
        "unroll", told(), "where there are several GPUs it runs inside shard_map alone"
    )
    monkeypatch.undo()
    check_method_refused("unroll", told(), "it runs on NVIDIA GPUs alone")
    client = SimpleNamespace(platform_version="PJRT C API\nrocm 70000")
    gpu = SimpleNamespace(client=client, compute_capability="9.0", core_count=132)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "devices", lambda: [gpu])
    check_method_refused("unroll", told(), "it runs on NVIDIA GPUs alone")
    gpu.client.platform_version = "PJRT C API\ncuda 12090"
    check_method_refused("unroll", told(), "this JAX comes without its part that calls cuDNN")


def test_a_mesh_with_explicit_axes_is_refused():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh):
        check_method_refused("unroll", told(), "it does not run on a mesh with explicit axes")


def test_padding_that_comes_first_is_refused():
    """A sequence that is turned around has its padding there; lengths would be wrong."""
    layer = CASES["both ways around a stack"].layer
    params = registry.random_params(layer, D)
    run = lambda: layer.apply(params, registry.inputs(T, B, D), **LENGTHS, method=CUDNN)
    reason = "padding must come last, as lengths say it, and here is a mask"
    check_method_refused("bidirectional.apply", run, reason)


def test_a_segment_has_no_lengths():
    """Those of the whole sequence are not its own."""
    params, xs, carry = point_of(lstm)
    lengths = jnp.asarray(LENGTHS["lengths"])
    mask = rnnjax.lengths_to_mask(lengths, T)
    call = rnnjax.methods.Call(lstm, params, xs, carry, None, mask, None, False, lengths)
    seen = []

    def run(call):
        seen.append(CUDNN.why_not(call))
        return SCAN.run(call)

    for size in (T, 2):
        jax.eval_shape(lambda xs, size=size: in_segments(run, call._replace(xs=xs), size), xs)
    assert seen[0] is None
    assert set(seen[1:]) == {"padding must come last, as lengths say it, and here is a mask"}


def test_a_precision_that_is_none_is_refused():
    message = (
        "Cudnn: `precision` must be a jax.lax.Precision or the name of one, got 'low'; give "
        "jax.lax.Precision.HIGHEST, 'high', or None for JAX's default."
    )
    messages.check_raised(lambda: rnnjax.Cudnn("low"), ValueError, message)
