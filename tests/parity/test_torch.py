"""PyTorch, float64: outputs, final carries and every gradient, with both of its biases random."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity.layouts import (
    VJP,
    assert_same_vjp,
    both,
    from_torch_gradients,
    one_way,
    torch_vjp,
    torch_weights,
    vjp,
)
from registry import (
    CELLS,
    METHODS,
    B,
    D,
    H,
    T,
    inputs,
    make,
    random_carry,
    random_params,
    sequence_options,
    serves,
)

import rnnjax

torch = pytest.importorskip("torch", reason='PyTorch is missing: pip install -e ".[parity]"')

pytestmark = pytest.mark.usefixtures("x64")

NAMES = ("lstm", "gru", "elman", "elman, relu")
# Those with equations of their own; the others run the steps of Scan.
COMPARED = [name for name in ("scan", "fused", "native") if name in METHODS]
# Whole-sequence modules of torch, one of which has no cell to step by hand.
MODULES = [(name, m) for name in (*NAMES, "projected lstm") for m in COMPARED if serves(m, name)]
LENGTHS = {"all steps": None, "lengths": np.array([4, T, 1], np.int32)}  # torch refuses 0

FIRST = jnp.zeros((B, D))  # inputs of one step, for the shape of a carry


def nonlinearity(name):
    return "relu" if name.endswith("relu") else "tanh"


def random_inputs(*shape, seed):
    return inputs(*shape, seed=seed, dtype=jnp.float64)


# One layer


@functools.cache
def one_layer_case(name, direction, which):
    """Params, inputs, carry, cotangents, and what PyTorch makes of them."""
    cell = CELLS[name](H, learned_carry=False, param_dtype=jnp.float64)  # torch learns none
    params = random_params(cell, D, 0)
    layer = rnnjax.recurrent(cell)
    if direction == "bidirectional":
        layer = rnnjax.bidirectional(cell)
        params = random_params(layer, D, 0)
    xs, dys = random_inputs(T, B, D, seed=1), random_inputs(T, B, layer.out_features(D), seed=2)
    carry, dcarry = random_carry(layer, params, FIRST, 3), random_carry(layer, params, FIRST, 4)
    oracle = {
        "forward": forward_in_torch,
        "reverse": reverse_in_torch,
        "bidirectional": functools.partial(forward_in_torch, bidirectional=True),
    }[direction]
    options = {"lengths": LENGTHS[which], "nonlinearity": nonlinearity(name)}
    wanted = oracle(params, xs, carry, (dcarry, dys), **options)
    return cell, layer, (params, xs, carry, (dcarry, dys)), wanted


def forward_in_torch(params, xs, carry, cotangents, **options):
    """One layer of a PyTorch module."""
    (dcarry, dys) = cotangents
    got = torch_vjp((params,), xs, (carry,), ((dcarry,), dys), **options)
    dparams, dxs, dstart = got.grads
    return VJP(got.carry[0], got.ys, (dparams[0], dxs, dstart[0]))


def reverse_in_torch(params, xs, carry, cotangents, **options):
    """The backward half of a bidirectional module, whose forward half has no cotangents."""
    (dcarry, dys) = cotangents
    pad = jax.tree.map(jnp.zeros_like, (dcarry, dys))
    twice = both(pad[0], dcarry), np.concatenate([pad[1], dys], axis=-1)
    got = forward_in_torch(
        both(params, params), xs, both(carry, carry), twice, bidirectional=True, **options
    )
    dparams, dxs, dstart = got.grads
    return VJP(
        one_way(got.carry, 1),
        np.split(got.ys, 2, axis=-1)[1],
        (one_way(dparams, 1), dxs, one_way(dstart, 1)),
    )


@pytest.mark.parametrize(("name", "method"), MODULES)
@pytest.mark.parametrize("which", LENGTHS)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_one_layer_equals_torch(name, direction, which, method):
    cell, layer, arguments, wanted = one_layer_case(name, direction, which)

    def run(params, xs, carry):
        options = {"lengths": LENGTHS[which], "method": METHODS[method]}
        if direction == "bidirectional":
            return layer.apply(params, xs, carry, **options)
        return rnnjax.unroll(cell, params, xs, carry, reverse=direction == "reverse", **options)

    assert_same_vjp(vjp(run, *arguments), wanted, method)


# Two layers, both directions, rows in any order


@pytest.mark.parametrize("method", COMPARED)
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_packed_bidirectional_stack_equals_torch(name, method):
    cell, _ = make(name, dtype=jnp.float64)
    layer = rnnjax.stack(rnnjax.bidirectional(cell), rnnjax.bidirectional(cell))
    params = random_params(layer, D, 0)
    xs, dys = random_inputs(T, B, D, seed=1), random_inputs(T, B, 2 * H, seed=2)
    carry, dcarry = random_carry(layer, params, FIRST, 3), random_carry(layer, params, FIRST, 4)
    arguments = params, xs, carry, (dcarry, dys)

    def run(params, xs, carry):
        return layer.apply(params, xs, carry, lengths=LENGTHS["lengths"], method=METHODS[method])

    wanted = torch_vjp(*arguments, lengths=LENGTHS["lengths"], bidirectional=True)
    assert_same_vjp(vjp(run, *arguments), wanted, method)


# Holes, restarts and rows of length 0, which PyTorch's modules lack: its cells, stepped by hand


OPTIONS = {k: v for k, v in sequence_options().items() if k != "plain"}


@functools.cache
def cell_case(name, reverse, which):
    """As `one_layer_case`, with a learned initial carry for the restarts to restore."""
    cell = CELLS[name](H, learned_carry=True, param_dtype=jnp.float64)
    params = random_params(cell, D, 0)
    xs, dys = random_inputs(T, B, D, seed=1), random_inputs(T, B, H, seed=2)
    layer = rnnjax.recurrent(cell)
    carry, dcarry = random_carry(layer, params, FIRST, 3), random_carry(layer, params, FIRST, 4)
    arguments = params, xs, carry, (dcarry, dys)
    wanted = cell_loop_vjp(name, *arguments, reverse=reverse, **OPTIONS[which])
    return cell, arguments, wanted


def cell_loop_vjp(
    name, params, xs, carry, cotangents, *, reverse, lengths=None, mask=None, resets=None
):
    """Step `LSTMCell`, `GRUCell` or `RNNCell` by hand; `where` keeps what must stand still."""
    kind = {"lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell}.get(name, torch.nn.RNNCell)
    options = {"nonlinearity": nonlinearity(name)} if kind is torch.nn.RNNCell else {}
    module = kind(D, H, dtype=torch.float64, **options)
    weights = torch_weights(params)
    module.load_state_dict({n: torch.tensor(a) for n, a in weights.items()})

    def leaf(a):
        return torch.tensor(np.asarray(a), requires_grad=True)

    x, start, initial = leaf(xs), [leaf(a) for a in carry], [leaf(a) for a in params.initial]
    steps = np.arange(T)[:, None]
    valid = np.ones((T, B), bool) if mask is None else mask
    valid = torch.tensor(valid if lengths is None else valid & (steps < lengths))[..., None]
    restart = torch.tensor(np.zeros((T, B), bool) if resets is None else resets)[..., None]
    state, ys = start, [None] * T
    for t in reversed(range(T)) if reverse else range(T):
        fresh = [torch.where(restart[t], i, s) for i, s in zip(initial, state, strict=True)]
        new = module(x[t], tuple(fresh) if len(fresh) == 2 else fresh[0])
        new = list(new) if len(fresh) == 2 else [new]
        ys[t] = torch.where(valid[t], new[0], torch.zeros_like(new[0]))
        state = [torch.where(valid[t], n, s) for n, s in zip(new, state, strict=True)]
    (dcarry, dys) = cotangents
    named = dict(module.named_parameters())
    grads = torch.autograd.grad(
        [torch.stack(ys), *state],
        [*named.values(), x, *start, *initial],
        [torch.tensor(np.asarray(a)) for a in (dys, *dcarry)],
        allow_unused=True,
        materialize_grads=True,
    )
    arrays = [g.numpy() for g in grads]
    count, width = len(named), len(start)
    dparams = from_torch_gradients(dict(zip(named, arrays, strict=False)), params)
    dstart, dinitial = arrays[count + 1 : count + 1 + width], arrays[count + 1 + width :]
    final = type(carry)(*(s.detach().numpy() for s in state))
    dparams = dparams._replace(initial=type(carry)(*dinitial))
    grads = dparams, arrays[count], type(carry)(*dstart)
    return VJP(final, torch.stack(ys).detach().numpy(), grads)


# Every method equals Scan in tests/sequence; here they meet the options all together.
CALLS = [(which, "scan") for which in OPTIONS] + [("all", m) for m in COMPARED[1:]]


@pytest.mark.parametrize(("which", "method"), CALLS)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("name", NAMES)
def test_masks_and_resets_equal_torch_cells(name, reverse, which, method):
    cell, (params, xs, carry, cotangents), wanted = cell_case(name, reverse, which)
    options = OPTIONS[which]
    valid = np.ones((T, B), bool) & options.get("mask", True)
    if "lengths" in options:
        valid &= np.arange(T)[:, None] < options["lengths"]
    dirty = jnp.where(valid[..., None], xs, jnp.nan)  # torch reads numbers there

    def run(params, xs, carry):
        how = {"reverse": reverse, "method": METHODS[method]}
        return rnnjax.unroll(cell, params, xs, carry, **how, **options)

    got = vjp(run, params, dirty, carry, cotangents)
    assert_same_vjp(got, wanted, method)
    assert not np.asarray(got.ys)[~valid].any() and not np.asarray(got.grads[1])[~valid].any()
