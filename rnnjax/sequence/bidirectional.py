"""Both directions in one run."""

from collections.abc import Callable
from typing import Any

import jax

from rnnjax import _checks
from rnnjax.cells.base import Cell, value
from rnnjax.sequence.layer import Layer, as_layer
from rnnjax.sequence.merge import concatenate, merged_features
from rnnjax.sequence.unroll import by_turning_around


@value
def bidirectional(layer: Cell | Layer, *, merge: Callable[[Any, Any], Any] = concatenate) -> Layer:
    """Make a layer that reads every sequence both ways, with weights of their own.

    Params and carry lead with an axis of 2: forwards, then backwards. Both directions run side by
    side. On CPU `Native` and `Fused` let each read the sequence its own way; else, and with noise,
    they are one vmapped run, so a cell is one scan with one batched matmul. The backward half of
    a padded row begins at its own last valid step, and `ys[t]` answers `xs[t]` in both halves.

    `resets[t]` restarts either direction before it reads step t, as in `unroll`: backwards that
    cuts between t + 1 and t. For packed segments, whose two directions need different resets,
    run two `recurrent` layers and merge them.

    Args:
        layer: a cell, or a layer such as a stack.
        merge: what makes one output of the two halves: a function of `rnnjax.merge`, or any
            `(forward, backward) -> ys`.

    Returns:
        A layer. Its final carry holds, for both directions, the carry after the last step read.

    Raises:
        TypeError: if `layer` is neither cell nor layer, or `merge` no function.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> layer = rnnjax.bidirectional(rnnjax.lstm(5), merge=rnnjax.merge.average)
        >>> params = layer.init(jax.random.key(0), in_features=3)
        >>> carry, ys = layer.apply(params, jnp.ones((7, 4, 3)), lengths=[7, 5, 1, 0])
        >>> carry.h.shape, ys.shape
        ((2, 4, 5), (7, 4, 5))

    Reference: Schuster & Paliwal, *Bidirectional recurrent neural networks* (1997).
    """
    inner = as_layer("bidirectional", layer, argument="layer")
    _checks.merge("bidirectional", "merge", merge)

    def init(key, in_features):
        _checks.prng_key("bidirectional.init", key)
        return jax.vmap(lambda k: inner.init(k, in_features))(jax.random.split(key))

    def run(params, sequence, carry, *, key, method):
        keys = None if key is None else jax.random.split(key)
        if inner.run_both_ways is not None:
            carry, ways = inner.run_both_ways(params, sequence, carry, key=keys, method=method)
        else:
            one_way = lambda params, sequence, carry, key: inner.run(
                params, sequence, carry, key=key, method=method
            )
            carry, ways = by_turning_around(one_way, params, sequence, carry, keys)
        return carry, merge(*ways)

    def out_features(in_features):
        width = inner.out_features(in_features)
        return merged_features(merge, width, width)

    def in_spec(params):
        return inner.in_spec(jax.tree.map(lambda a: a[0], params))

    return Layer("bidirectional", init, run, out_features, in_spec, inner.noisy)
