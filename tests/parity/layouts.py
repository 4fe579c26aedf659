"""Weights of rnnjax in the layouts of other libraries, and what these compute with them.

For these tests only, and written from the peers' documentation, not from `rnnjax.interop`, so that
the two can be held against each other. Everything here is float64 and goes in and out as NumPy
arrays; the peers are imported inside functions, so that collection works without them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from rnnjax.cells import MGUParams, ProjectedLSTMParams

FLOAT32 = {"rtol": 1e-4, "atol": 1e-5}
TINY = {"rtol": 1e-12, "atol": 1e-12}
GRADIENTS = {"rtol": 1e-10, "atol": 1e-10}


class VJP(NamedTuple):
    """Final carry, outputs, and the cotangents of params, inputs and initial carry."""

    carry: object
    ys: object
    grads: object


def assert_close(got, wanted, **tolerance):
    """Equal trees up to rounding; the message names the leaf."""
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    pairs = zip(jax.tree.leaves_with_path(got), jax.tree.leaves(wanted), strict=True)
    for (path, a), b in pairs:
        np.testing.assert_allclose(a, b, err_msg=jax.tree_util.keystr(path), **tolerance)


def assert_same_vjp(got: VJP, wanted: VJP, method: str = "scan"):
    single = method == "native"  # computes in float32
    close = FLOAT32 if single else TINY
    assert_close((got.carry, got.ys), (wanted.carry, wanted.ys), **close)
    assert_close(got.grads, wanted.grads, **(FLOAT32 if single else GRADIENTS))


def vjp(run, params, xs, carry, cotangents) -> VJP:
    """Ours: `run(params, xs, carry)` and its pull-back at `cotangents = (dcarry, dys)`."""

    # One compilation in place of many small ones, and a hasty one: these tests run once a case.
    @jax.jit
    def compiled(params, xs, carry, cotangents):
        (final, ys), pull = jax.vjp(run, params, xs, carry)
        return VJP(final, ys, pull(cotangents))

    return compiled(params, xs, carry, cotangents)


def both(forward, backward):
    """Two directions on a leading axis, as `rnnjax.bidirectional` wants them."""
    return jax.tree.map(lambda *a: np.stack(a), forward, backward)


def one_way(tree, direction: int):
    return jax.tree.map(lambda a: a[direction], tree)


# PyTorch


def torch_weights(params, seed: int = 0) -> dict[str, np.ndarray]:
    """The arrays of one direction of one layer, both biases random.

    Ours is their sum, but b_hn, which stands inside the product with r, is kept apart.
    The projection of an LSTM is a fifth.
    """
    width = params.w_hh.shape[0]
    b_hh = np.random.default_rng(seed).normal(size=params.b.shape)
    b_ih = np.asarray(params.b) - b_hh
    if isinstance(params, rnnjax.GRUParams):
        b_ih[2 * width :] = params.b[2 * width :]
        b_hh[2 * width :] = params.b_hn
    w_ih, w_hh = np.asarray(params.w_ih).T, np.asarray(params.w_hh).T
    weights = {"weight_ih": w_ih, "weight_hh": w_hh, "bias_ih": b_ih, "bias_hh": b_hh}
    if isinstance(params, ProjectedLSTMParams):
        weights["weight_hr"] = np.asarray(params.w_hr).T
    return weights


def from_torch_gradients(grads: dict[str, np.ndarray], like):
    """Gradients of one direction of one layer; that of the sum of the biases is that of either."""
    out = like._replace(w_ih=grads["weight_ih"].T, w_hh=grads["weight_hh"].T, b=grads["bias_ih"])
    if isinstance(like, rnnjax.GRUParams):
        out = out._replace(b_hn=grads["bias_hh"][2 * like.w_hh.shape[0] :])
    if isinstance(like, ProjectedLSTMParams):
        out = out._replace(w_hr=grads["weight_hr"].T)
    return out


def torch_module(layers, *, bidirectional: bool = False, nonlinearity: str = "tanh"):
    """`nn.LSTM`, `nn.GRU` or `nn.RNN` with the weights of `layers`, one params a layer.

    With `bidirectional`, each of the params leads with an axis of 2.
    """
    import torch

    kinds = {
        rnnjax.LSTMParams: torch.nn.LSTM,
        ProjectedLSTMParams: torch.nn.LSTM,
        rnnjax.GRUParams: torch.nn.GRU,
        rnnjax.ElmanParams: torch.nn.RNN,
    }
    kind = kinds[type(layers[0])]
    options = {"nonlinearity": nonlinearity} if kind is torch.nn.RNN else {}
    in_features, width = layers[0].w_ih.shape[-2], layers[0].w_hh.shape[-2]
    if isinstance(layers[0], ProjectedLSTMParams):
        width, options["proj_size"] = layers[0].w_hr.shape[-2:]
    module = kind(
        in_features,
        width,
        num_layers=len(layers),
        bidirectional=bidirectional,
        dtype=torch.float64,
        **options,
    )
    state = {
        f"{name}_{suffix}": torch.tensor(array)
        for seed, (suffix, params) in enumerate(pseudo_layers(layers, bidirectional))
        for name, array in torch_weights(params, seed).items()
    }
    module.load_state_dict(state)
    return module


def pseudo_layers(layers, bidirectional: bool):
    """Torch's suffix and the params of every layer and direction: l0, l0_reverse, l1, ..."""
    for k, params in enumerate(layers):
        if bidirectional:
            yield f"l{k}", one_way(params, 0)
            yield f"l{k}_reverse", one_way(params, 1)
        else:
            yield f"l{k}", params


def torch_vjp(
    layers, xs, carries, cotangents, *, lengths=None, bidirectional=False, nonlinearity="tanh"
) -> VJP:
    """What PyTorch's whole-sequence modules compute, with packed sequences where there are lengths.

    Args:
        layers: params, one a layer.
        xs: `(T, B, D)`.
        carries: where each layer begins; each leaf leads with an axis of 2 if `bidirectional`.
        cotangents: `(dcarries, dys)`.
        lengths: valid steps of each row, at least 1 and in any order; None means T.
        bidirectional: whether layers read both ways.
        nonlinearity: of the simple RNN.
    """
    import torch

    module = torch_module(layers, bidirectional=bidirectional, nonlinearity=nonlinearity)
    x = torch.tensor(np.asarray(xs), requires_grad=True)
    start = [s.requires_grad_() for s in torch_states(carries)]
    given = x
    if lengths is not None:
        counts = torch.tensor(np.asarray(lengths), dtype=torch.int64)
        given = torch.nn.utils.rnn.pack_padded_sequence(x, counts, enforce_sorted=False)
    ys, final = module(given, tuple(start) if len(start) == 2 else start[0])
    if lengths is not None:
        ys, _ = torch.nn.utils.rnn.pad_packed_sequence(ys, total_length=x.shape[0])
    final = list(final) if isinstance(final, tuple) else [final]
    dcarries, dys = cotangents
    named = dict(module.named_parameters())
    grads = torch.autograd.grad(
        [ys, *final],
        [*named.values(), x, *start],
        [torch.tensor(np.asarray(dys)), *torch_states(dcarries)],
    )
    dweights = dict(zip(named, (g.numpy() for g in grads), strict=False))
    dx, *dstart = (g.numpy() for g in grads[len(named) :])
    final = from_torch_states([f.detach().numpy() for f in final], carries)
    dparams = torch_gradients(dweights, layers, bidirectional)
    return VJP(final, ys.detach().numpy(), (dparams, dx, from_torch_states(dstart, carries)))


def torch_gradients(dweights: dict[str, np.ndarray], layers, bidirectional: bool):
    """Gradients of a whole module in the form of `layers`."""
    sides = []
    for suffix, params in pseudo_layers(layers, bidirectional):
        end = f"_{suffix}"
        one = {n.removesuffix(end): g for n, g in dweights.items() if n.endswith(end)}
        sides.append(from_torch_gradients(one, params))
    if not bidirectional:
        return tuple(sides)
    return tuple(both(*pair) for pair in zip(sides[::2], sides[1::2], strict=True))


def torch_states(carries):
    """Our carries, one a layer, as torch's tensors `(layers * directions, B, H)`."""
    import torch

    def field(*leaves):
        flat = [np.asarray(a).reshape(-1, *a.shape[-2:]) for a in leaves]
        return torch.tensor(np.concatenate(flat))

    return [field(*leaves) for leaves in zip(*carries, strict=True)]


def from_torch_states(states, like):
    """Torch's states in the shape of our carries."""
    count = len(like)
    split = [np.split(state, count) for state in states]
    return tuple(
        type(carry)(*(s[k].reshape(leaf.shape) for s, leaf in zip(split, carry, strict=True)))
        for k, carry in enumerate(like)
    )


# Keras


def keras_weights(params, *, reset: str = "after", seed: int = 0) -> list[np.ndarray]:
    """What `set_weights` takes; Keras packs a GRU as z, r, h, with two rows of biases in the one
    that resets after."""
    w_ih, w_hh, b = (np.asarray(a) for a in params[:3])
    if not isinstance(params, rnnjax.GRUParams):
        return [w_ih, w_hh, b]
    if reset == "after":
        width = w_hh.shape[0]
        recurrent = np.random.default_rng(seed).normal(size=b.shape)
        recurrent[2 * width :] = params.b_hn
        given = b - recurrent
        given[2 * width :] = b[2 * width :]
        b = np.stack([given, recurrent])
    return [swap_two_gates(a) for a in (w_ih, w_hh, b)]


def swap_two_gates(a):
    """From r, z, n to z, r, n and back."""
    r, z, n = np.split(np.asarray(a), 3, axis=-1)
    return np.concatenate([z, r, n], axis=-1)


def keras_layer(params, *, activation: str = "tanh", **options):
    """A Keras layer of the kind that fits `params`; its weights come with `keras_weights`."""
    import keras

    width = params.w_hh.shape[-2]
    always = {"dtype": "float64", "return_sequences": True, "return_state": True}
    options = {**always, "activation": activation, **options}
    if isinstance(params, rnnjax.LSTMParams):
        return keras.layers.LSTM(width, **options)
    if isinstance(params, rnnjax.GRUParams):
        return keras.layers.GRU(width, reset_after=params.b_hn is not None, **options)
    return keras.layers.SimpleRNN(width, **options)


def keras_loaded(layer, weights, xs):
    """Build a Keras layer for time-major `xs` and load it.

    Its "tanh" computes in float32 whatever the dtype of the layer, so JAX's takes its place.
    """
    import keras

    for part in (getattr(layer, "forward_layer", layer), getattr(layer, "backward_layer", layer)):
        if part.cell.activation is keras.activations.tanh:
            part.cell.activation = jnp.tanh
    layer.build((xs.shape[1], xs.shape[0], xs.shape[2]))
    layer.set_weights(weights)
    return layer


def run_keras(layer, weights, xs, states=None, mask=None):
    """Build, load and call a Keras layer on time-major arrays; outputs come back time-major."""
    layer = keras_loaded(layer, weights, xs)
    given = None if mask is None else np.swapaxes(np.asarray(mask), 0, 1)
    out = layer(np.swapaxes(np.asarray(xs), 0, 1), initial_state=states, mask=given)
    ys, *final = (np.asarray(a) for a in out)
    return np.swapaxes(ys, 0, 1), final


# Flax


def linen_params(params):
    """The tree of `LSTMCell`, `GRUCell`, `MGUCell` or `SimpleCell` of flax.linen, under `nn.RNN`'s
    `cell`."""
    if isinstance(params, rnnjax.ElmanParams):
        i = {"kernel": params.w_ih, "bias": params.b}
        return {"params": {"cell": {"i": i, "h": {"kernel": params.w_hh}}}}
    names = {rnnjax.LSTMParams: "ifgo", rnnjax.GRUParams: "rzn", MGUParams: "fn"}[type(params)]
    w_ih, w_hh, b = (np.split(np.asarray(a), len(names), axis=-1) for a in params[:3])
    tree = {}
    for k, gate in enumerate(names):
        tree[f"i{gate}"], tree[f"h{gate}"] = {"kernel": w_ih[k]}, {"kernel": w_hh[k]}
        tree[f"h{gate}" if names == "ifgo" else f"i{gate}"]["bias"] = b[k]
    if names != "ifgo":
        tree["hn"]["bias"] = np.asarray(params.b_hn)
    return {"params": {"cell": tree}}


def nnx_lstm(params):
    """`nnx.LSTMCell` with the weights of `params`; its forget gate is called `if_`."""
    from flax import nnx

    width = params.w_hh.shape[0]
    cell = nnx.LSTMCell(params.w_ih.shape[0], width, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    for name, leaves in linen_params(params)["params"]["cell"].items():
        linear = getattr(cell, {"if": "if_"}.get(name, name))
        for leaf, array in leaves.items():
            setattr(linear, leaf, nnx.Param(jnp.asarray(array)))
    return cell


def nnx_gru(params):
    """`nnx.GRUCell` with the weights of `params`, but for b_hn, which it has no place for."""
    from flax import nnx

    cell = nnx.GRUCell(
        params.w_ih.shape[0], params.w_hh.shape[0], param_dtype=jnp.float64, rngs=nnx.Rngs(0)
    )
    cell.dense_i.kernel = nnx.Param(jnp.asarray(params.w_ih))
    cell.dense_i.bias = nnx.Param(jnp.asarray(params.b))
    cell.dense_h.kernel = nnx.Param(jnp.asarray(params.w_hh))
    return cell
