"""Depth: layers above each other."""

from collections.abc import Callable
from typing import Any

import jax

from rnnjax import _checks
from rnnjax.cells.base import ANY_INPUT, Cell, value
from rnnjax.cells.wrappers import dropout as drop
from rnnjax.sequence.arguments import num_batch_axes, num_feature_axes
from rnnjax.sequence.bidirectional import bidirectional
from rnnjax.sequence.layer import Layer, as_layer, blank
from rnnjax.sequence.levels import run_in_one_call
from rnnjax.sequence.merge import merged_features


@value
def stack(
    *layers: Cell | Layer | Callable[[Any], Any],
    dropout: float = 0.0,
    skip: Callable[[Any, Any], Any] | None = None,
) -> Layer:
    """Make one layer of several, each reading the outputs of the one below.

    Args:
        layers: cells, layers, and plain functions of the features such as `jax.nn.relu`, from
            bottom to top.
        dropout: the probability of dropping an output between two layers, drawn anew at every
            step, as in PyTorch; what is kept is scaled up. Nothing is dropped without a key.
        skip: what makes one output of a layer's input and its output, around every layer:
            `rnnjax.merge.add` is the residual connection, `rnnjax.merge.concatenate` the dense
            one. The input is taken before dropout. None means no skip connections. Where the
            first layer changes the width, put it outside:
            `stack(lstm(64), stack(lstm(64), lstm(64), skip=rnnjax.merge.add))`.

    Returns:
        A layer whose params and carry are tuples with one entry a layer.

    Raises:
        TypeError: for what is neither cell, layer nor function.
        ValueError: for no layers, a rate out of range, or dropout with nothing between layers.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> layer = rnnjax.stack(rnnjax.bidirectional(rnnjax.lstm(5)), rnnjax.gru(4), dropout=0.2)
        >>> params = layer.init(jax.random.key(0), in_features=3)
        >>> carry, ys = layer.apply(params, jnp.ones((7, 2, 3)), key=jax.random.key(1))
        >>> ys.shape, carry[1].h.shape
        ((7, 2, 4), (2, 4))
    """
    if not layers:
        _checks.refuse("stack", "layers", "be at least one", "none", "give a cell or a layer")
    inner = tuple(as_layer("stack", layer) for layer in layers)
    rate = _checks.rate("stack", "dropout", dropout)
    if rate and len(inner) == 1:
        way_out = "add a layer, or wrap the cell in rnnjax.input_dropout"
        _checks.refuse("stack", "dropout", "be 0 where one layer has no gap", rate, way_out)
    if skip is not None:
        _checks.merge("stack", "skip", skip)
    noisy = bool(rate) or any(layer.noisy for layer in inner)

    def widths(in_features):
        out = [in_features]
        for index, layer in enumerate(inner):
            out.append(_after(index, layer, out[-1], skip))
        return out

    def init(key, in_features):
        _checks.prng_key("stack.init", key)
        keys = jax.random.split(key, len(inner))
        triples = zip(inner, keys, widths(in_features), strict=False)
        return tuple(layer.init(k, width) for layer, k, width in triples)

    def run(params, sequence, carry, *, key, method):
        carries = (None,) * len(inner) if carry is None else carry
        if skip is None and (key is None or not noisy):
            done = run_in_one_call(inner, params, sequence, carries, method=method)
            if done is not None:
                return done
        keys = [None] * len(inner) if key is None else jax.random.split(key, len(inner))
        num_lead = 1 + num_batch_axes(in_spec(params), sequence)
        out = []
        for index, layer in enumerate(inner):
            below, layer_key = sequence.xs, keys[index]
            if in_spec(params) is not ANY_INPUT:
                _check_space(index, layer.in_spec(params[index]), below, num_lead)
            if layer_key is not None and rate and index:
                layer_key, key_drop = jax.random.split(layer_key)
                dropped = jax.tree.map(lambda x, k=key_drop: drop(k, x, rate, x.shape), below)
                sequence = sequence._replace(xs=dropped)
            new, ys = layer.run(
                params[index], sequence, carries[index], key=layer_key, method=method
            )
            if skip is not None:
                ys = skip(blank(below, sequence.mask), ys)
            out.append(new)
            sequence = sequence._replace(xs=ys)
        return tuple(out), sequence.xs

    def in_spec(params):
        return inner[0].in_spec(params[0])

    return Layer(
        name="stack",
        init=init,
        run=run,
        out_features=lambda in_features: widths(in_features)[-1],
        in_spec=in_spec,
        noisy=noisy,
    )


def _after(index: int, layer: Layer, in_features: Any, skip: Any) -> Any:
    """The width above a layer, with its skip connection."""
    width = layer.out_features(in_features)
    if skip is None:
        return width
    try:
        return merged_features(skip, in_features, width)
    except (TypeError, ValueError) as error:
        way_out = "put a layer that changes the width outside: stack(first, stack(..., skip=...))"
        wanted = f"fit layer {index}"
        got = f"{in_features} features below and {width} above"
        raise ValueError(f"stack: `skip` must {wanted}, got {got}; {way_out}.") from error


def _check_space(index: int, spec: Any, below: Any, num_lead: int) -> None:
    """Refuse to let a layer that reads axes of space take the batch for one of them."""
    space = num_feature_axes(spec) - 1
    got = max(jax.tree.leaves(below)[0].ndim - num_lead - 1, 0)
    if space > got:
        wanted, way_out = f"hand {space} axes of space to layer {index}", "put it further down"
        _checks.refuse("stack", "layers", wanted, got, way_out)


def deep(cell: Cell, *, num_layers: int, both_ways: bool, dropout: float) -> Layer:
    """The usual network of modules: `num_layers` times the same cell, maybe in both directions."""
    count = _checks.size("stack", "num_layers", num_layers)
    layer = bidirectional(cell) if both_ways else cell
    return stack(*(layer,) * count, dropout=dropout)
