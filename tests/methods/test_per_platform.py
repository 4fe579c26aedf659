"""What `None` stands for where the platform is known only when a program is lowered."""

import functools

import compare
import cuda
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry

import rnnjax
from rnnjax.methods.lowering import by_platform
from rnnjax.methods.per_platform import PerPlatform

T, B, D, H = 5, 3, 4, 6
LENGTHS = np.array([T, 0, 2], np.int32)


def loss(layer, params, xs):
    carry, ys = layer.apply(params, xs, lengths=LENGTHS)
    return (ys**2).sum() + sum(leaf.sum() for leaf in jax.tree.leaves(carry))


def lowered(function, *arguments, platform):
    return jax.jit(function).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()


def point_of(layer):
    return registry.randomise(layer.init(jax.random.key(0), D), 1), registry.inputs(T, B, D)


@pytest.mark.parametrize(
    "layer, kernels",
    [
        (rnnjax.bidirectional(rnnjax.lstm(H)), ("forward", "backward")),
        (rnnjax.recurrent(rnnjax.gru(H)), ("forward", "backward")),
        (rnnjax.bidirectional(rnnjax.min_gru(H)), ("linear",)),
    ],
    ids=["lstm, both ways", "gru", "min_gru, both ways"],
)
def test_a_program_for_tpu_that_is_lowered_here_has_the_kernels(layer, kernels):
    point = point_of(layer)
    graded = jax.value_and_grad(functools.partial(loss, layer))
    text = lowered(graded, *point, platform="tpu")
    names = [f'kernel_name = "{name}_kernel"' for name in kernels]
    assert all(name in text for name in names) and "stablehlo.while" not in text
    assert "rnnjax_forward" not in text
    assert "tpu_custom_call" not in lowered(graded, *point, platform="cpu")


def test_a_program_for_cuda_that_is_lowered_here_has_its_kernels():
    layer = rnnjax.recurrent(rnnjax.multihead_gru(H, num_heads=2))
    text = cuda.lowered(jax.grad(functools.partial(loss, layer)), *point_of(layer))
    assert cuda.KERNEL in text and "stablehlo.while" not in text
    large = rnnjax.recurrent(rnnjax.gru(500))
    point = jax.eval_shape(functools.partial(point_of, large))
    text = cuda.lowered(jax.grad(functools.partial(loss, large)), *point)
    assert cuda.KERNEL not in text and "stablehlo.while" in text


def test_a_linear_scan_too():
    graded = jax.grad(lambda a: rnnjax.linear_scan(a, a).sum())
    assert "linear_kernel" in lowered(graded, registry.inputs(T, B, D), platform="tpu")
    assert "linear_kernel" not in lowered(graded, registry.inputs(T, B, D), platform="cuda")


def test_under_vmap_too():
    layer = rnnjax.recurrent(rnnjax.gru(H))
    params, xs = point_of(layer)
    several = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), params)
    graded = jax.vmap(jax.grad(functools.partial(loss, layer)), in_axes=(0, None))
    assert "backward_kernel" in lowered(graded, several, xs, platform="tpu")


def test_a_cell_without_a_kernel_falls_to_fused_with_the_reason():
    layer = rnnjax.recurrent(rnnjax.elman(H))
    params, xs = point_of(layer)
    text = lowered(jax.grad(functools.partial(loss, layer)), params, xs, platform="tpu")
    assert "stablehlo.while" in text
    assert "tpu_custom_call" not in text and "rnnjax_forward" not in text
    told = rnnjax.explain(rnnjax.elman(H), params, xs)
    assert dict(told.passed_over)["PallasTPU"].startswith("it knows the plain LSTM")


def test_where_the_machine_has_a_tpu_its_cpu_runs_fused(monkeypatch):
    """Nothing but the name of the backend is not what it is: this is lowered for CPU."""
    layer = rnnjax.bidirectional(rnnjax.lstm(H))
    params, xs = point_of(layer)
    carry = registry.randomise(layer.init_carry(params, xs[0]), 2)
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    picked = rnnjax.explain(rnnjax.lstm(H), jax.tree.map(lambda p: p[0], params), xs).runs
    assert isinstance(picked, PerPlatform)
    assert (picked.here, picked.otherwise) == (rnnjax.PallasTPU(), rnnjax.Fused())
    picked, wanted = (
        compare.graded(functools.partial(layer.apply, lengths=LENGTHS, method=method))(
            params, xs, carry
        )
        for method in (None, rnnjax.Scan())
    )
    compare.assert_close(picked, wanted)


@pytest.mark.parametrize("cell", [rnnjax.gru(H), rnnjax.min_gru(H)], ids=["gru", "min_gru"])
def test_a_gradient_that_computes_again_needs_no_jit(cell):
    params, xs = registry.random_params(cell, D), registry.inputs(T, B, D)
    run = lambda params: (rnnjax.unroll(cell, params, xs)[1] ** 2).sum()
    again = jax.grad(jax.checkpoint(run))(params)
    with jax.disable_jit():
        eager = jax.grad(run)(params)
    for got in (again, eager):
        compare.assert_close(got, jax.grad(run)(params))


def test_forward_mode_and_second_derivatives_say_the_way_out():
    layer = rnnjax.recurrent(rnnjax.lstm(H))
    params, xs = point_of(layer)
    run = functools.partial(loss, layer)
    for attempt in (
        lambda: jax.jvp(run, (params, xs), (params, xs)),
        lambda: jax.grad(lambda p: jax.grad(run)(p, xs).w_hh.sum())(params),
    ):
        with pytest.raises(TypeError, match="give method=rnnjax.Scan()"):
            attempt()


def test_what_returns_less_elsewhere_is_filled_with_zeros(monkeypatch):
    both = lambda x: (x + 1, x * 3)
    one = lambda x: (x + 2,)
    run = by_platform(both, {"tpu": one}, both)
    x = jnp.arange(3.0)
    compare.assert_close(jax.jit(run)(x), both(x))
    compare.assert_close(jax.jit(jax.vmap(run))(x[:, None]), both(x[:, None]))
    compare.assert_close(run(x), both(x))  # without jit
    assert "multiply" not in lowered(run, x, platform="tpu")
    # Of a machine whose backend is a TPU this runs on the CPU.
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    run = by_platform(both, {"cpu": one}, both)
    compare.assert_close(jax.jit(run)(x), (x + 2, jnp.zeros(3)))
    compare.assert_close(jax.jit(jax.vmap(run))(x[:, None]), (x[:, None] + 2, jnp.zeros((3, 1))))


def test_within_a_function_for_a_platform_no_other_one_is_traced():
    traced = []

    def leaf(name):
        return lambda x: (traced.append(name), -x)[1]

    inner = by_platform(leaf("cpu"), {"tpu": leaf("tpu")}, leaf("otherwise"))
    outer = by_platform(leaf("outer"), {"tpu": inner}, inner)
    for platform, told in (("tpu", ["tpu"]), ("cuda", ["otherwise"]), ("cpu", [])):
        traced.clear()
        lowered(outer, jnp.ones(3), platform=platform)
        assert [name for name in traced if name != "outer"] == told


def test_what_is_returned_as_it_was_given_is_the_same_array():
    run = by_platform(lambda x: (x, -x), {}, lambda x: (x, -x))
    kept = jax.make_jaxpr(run)(jnp.ones(3)).jaxpr
    assert kept.outvars[0] is kept.invars[0]
