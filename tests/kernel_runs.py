"""What tests of kernels share: how a case is run, and what it is held against.

A case has `cell`, `options`, `sizes` (T, B, D), `both` ways and `reverse`.
"""

import functools

import compare
import jax
import jax.numpy as jnp
import numpy as np
import registry
from jax.sharding import AxisType, NamedSharding

import rnnjax
from rnnjax.methods import manual
from rnnjax.methods.pallas import call

HALF = {"rtol": 2e-2, "atol": 2e-2}
WIDE = {"atol": 2e-4}  # sums of many terms


def lengths(*values):
    return {"lengths": np.array(values, np.int32)}


def holes(num_steps, batch):
    draw = np.random.default_rng(0)
    shape = num_steps, batch
    return {"mask": draw.random(shape) < 0.6, "resets": draw.random(shape) < 0.3}


def runs(case):
    """The function of a method, and where it is evaluated."""
    num_steps, batch, features = case.sizes
    layer = rnnjax.bidirectional(case.cell) if case.both else rnnjax.recurrent(case.cell)
    params = registry.randomise(layer.init(jax.random.key(0), features), 1)
    xs = registry.inputs(num_steps, batch, features)
    carry = registry.randomise(layer.init_carry(params, xs[0]), 2)
    if case.reverse:
        apply = functools.partial(rnnjax.unroll, case.cell, reverse=True)
    else:
        apply = layer.apply

    def run(method, params, xs, carry):
        return apply(params, xs, carry, **case.options, method=method)

    return run, (params, xs, carry)


def without_branches(monkeypatch):
    """JAX's model of a chip calls back, which bears neither partitions nor branches."""
    monkeypatch.setattr(manual, "rows_are_here", lambda: True)
    monkeypatch.setattr(call, "by_platform", lambda here, elsewhere, otherwise: here)


def assert_is_the_scan(case, method, **close):
    """Outputs, carry and gradients, and outputs without what gradients need."""
    run, point = runs(case)
    scan, kernel = (functools.partial(run, m) for m in (rnnjax.Scan(), method))
    wanted = compare.graded(scan)(*point)
    compare.assert_close(compare.graded(kernel)(*point), wanted, **close)
    compare.assert_close(jax.jit(kernel)(*point), wanted[0], **close)


def assert_vmap_is_the_scan(case, method, axes, **close):
    """The same of `vmap` over params, inputs or the carry, by their axes."""
    run, point = runs(case)

    def several(tree, axis):
        if axis is None:
            return tree
        both = (registry.randomise(tree, seed) for seed in (3, 4))
        return jax.tree.map(lambda *leaves: jnp.stack(leaves, axis), *both)

    point = list(map(several, point, axes))
    got, wanted = (
        compare.graded(jax.vmap(functools.partial(run, m), in_axes=axes))(*point)
        for m in (method, rnnjax.Scan())
    )
    compare.assert_close(got, wanted, **close)


def assert_is_not_gathered(cell, argument, method):
    """A batch that eight devices share stays where it is, in the gradient by `argument`."""
    params = registry.random_params(cell, 4)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    place = lambda array, spec: jax.device_put(array, NamedSharding(mesh, spec))
    xs = place(registry.inputs(4, 16, 4), jax.P(None, "data"))
    counts = place(jnp.arange(16, dtype=jnp.int32) % 5, jax.P("data"))

    def loss(params, xs, method):
        ys = rnnjax.unroll(cell, params, xs, lengths=counts, method=method)[1]
        return (ys**2).sum(), ys

    graded = jax.jit(jax.grad(loss, argument, has_aux=True), static_argnums=2)
    assert "all-gather" not in graded.lower(params, xs, method).compile().as_text()
    compare.assert_close(*(graded(params, xs, m) for m in (method, rnnjax.Scan())))
