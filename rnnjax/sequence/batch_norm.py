"""Train a cell that normalises over the batch: run it with the moments of its batch."""

from typing import Any

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Lengths, PyTree
from rnnjax.cells.base import Cell
from rnnjax.cells.batch_norm import BatchNormForm, BatchNormStatistics, OfBatch
from rnnjax.cells.wrappers.common import Beside
from rnnjax.methods.base import Method, keep, zeros_like
from rnnjax.sequence.arguments import Sequence, num_batch_axes
from rnnjax.sequence.masks import reverse_sequences
from rnnjax.sequence.unroll import check_call, check_start, unroll_checked


def unroll_batch_norm(
    cell: Cell,
    params: PyTree,
    xs: Array,
    carry: PyTree = None,
    *,
    lengths: Lengths | None = None,
    reverse: bool = False,
    key: Any = None,
    momentum: float = 0.9,
    method: Method | None = None,
) -> tuple[PyTree, tuple[Array, BatchNormStatistics]]:
    r"""Run a batch-norm cell over `xs` as one trains it, with the statistics of this batch.

    $$ \text{statistics}' = m \cdot \text{statistics} + (1 - m) \cdot \text{of the batch} $$

    At every step, mean and (biased) variance are those of the valid rows, over all batch axes.
    Put the new statistics into the params after the update: so whatever an optimizer did to the
    old ones, weight decay too, is undone. Their gradient is zero.

    All rows must stand at the same step, so there are no masks with holes and no resets here; a
    carry that is given must come from as many steps for every row that goes on. Padded rows drop
    out at their end. With `reverse` every row begins at its last valid step, and drops out once
    its first is read. A row that is left alone is normalised to zero, and has no variance: such
    steps, and those without a valid row, leave their statistics as they are. Steps after the last
    of `max_steps` share its place, averaged by their rows.

    Under `shard_map`, `pmap` or a `vmap` over rows, a batch is what one call sees.

    Args:
        cell: from `batch_norm_lstm`, bare or in `input_dropout` or `drop_connect`.
        params: from `cell.init`.
        xs: inputs, `(T, *batch, D)`, time first, with at least one batch axis.
        carry: where to begin, such as the last carry of an earlier segment; None means
            `cell.init_carry`.
        lengths: valid steps of each row, `(*batch,)`; None means T.
        reverse: read each row from its last valid step to its first; `ys[t]` answers `xs[t]`.
        key: switches on the noise of the cell, if it has any; None means no noise.
        momentum: m, the share of the old statistics, from 0 to 1, as in Keras and Flax;
            PyTorch's is 1 - m.
        method: as for `unroll`; `Scan` and `Chunked` serve.

    Returns:
        The final carry, and a pair: the outputs `ys`, `(T, *batch, H)`, and the new statistics.

    Raises:
        TypeError: as `unroll`.
        ValueError: as `unroll`, and for a cell that has no batch normalisation, inputs
            without a batch axis, or a `momentum` outside 0..1.

    Example:
        >>> import jax, jax.numpy as jnp, optax, rnnjax
        >>> cell, optimizer = rnnjax.batch_norm_lstm(5, max_steps=7), optax.sgd(1.0)
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> xs = jax.random.normal(jax.random.key(1), (7, 8, 3))
        >>> def loss(params, xs):
        ...     _, (ys, statistics) = rnnjax.unroll_batch_norm(cell, params, xs)
        ...     return jnp.mean((ys[-1] - 0.1) ** 2), statistics
        >>> @jax.jit
        ... def train(params, state, xs):
        ...     slope, statistics = jax.grad(loss, has_aux=True)(params, xs)
        ...     updates, state = optimizer.update(slope, state)
        ...     params = optax.apply_updates(params, updates)
        ...     return params._replace(statistics=statistics), state
        >>> state = optimizer.init(params)
        >>> for _ in range(30):
        ...     params, state = train(params, state, xs)
        >>> _, ys = rnnjax.unroll(cell, params, xs)  # inference, each row by itself
        >>> bool(jnp.mean((ys[-1] - 0.1) ** 2) < 0.001)
        True

    Reference: Cooijmans et al., *Recurrent batch normalization* (2017).
    """
    function = "unroll_batch_norm"
    sequence = check_call(function, cell, params, xs, lengths, None, None, reverse)
    check_batch(function, cell, params, sequence)
    momentum = check_momentum(function, momentum)
    carry = check_start(function, cell, params, sequence, carry, key)
    xs = reverse_sequences(sequence.xs, lengths) if reverse else sequence.xs
    weights = params
    if key is not None and cell.prepare is not None:
        weights, xs = cell.prepare(key, params, xs)
    valid = sequence.mask
    if valid is None:
        valid = jnp.ones_like(xs[..., 0], dtype=bool)
    inputs = Beside(keep(valid, xs, zeros_like(xs)), jnp.expand_dims(valid, -1))
    carry, (ys, of_batch) = unroll_checked(
        function,
        cell.form.training,
        weights,
        Sequence(inputs, None, None),
        carry,
        reverse=False,
        key=None,
        method=method,
    )
    ys = reverse_sequences(ys, lengths) if reverse else ys
    return carry, (ys, averaged(params.statistics, of_batch, momentum))


def check_batch(function: str, cell: Cell, params: PyTree, sequence: Sequence) -> None:
    """Refuse cells without statistics, and inputs that are one row."""
    if not isinstance(cell.form, BatchNormForm):
        way_out = "run others, and wrappers around one, with rnnjax.unroll"
        wanted, got = "be a batch_norm_lstm", "a cell that is none, or has been changed"
        _checks.refuse(function, "cell", wanted, got, way_out)
    if num_batch_axes(cell.in_spec(params), sequence) == 0:
        way_out = "give all rows at once, without vmap: statistics are taken over them"
        got = sequence.xs.shape
        _checks.refuse(function, "xs", "have at least one batch axis, (T, *batch, D)", got, way_out)


def check_momentum(function: str, momentum: Any) -> float:
    """The share of what was before."""
    momentum = _checks.real(function, "momentum", momentum)
    if not 0.0 <= momentum <= 1.0:
        way_out = "0.0 takes the statistics of the batch as they are"
        _checks.refuse(function, "momentum", "lie in 0 <= momentum <= 1", momentum, way_out)
    return momentum


@jax.jit
def averaged(old: BatchNormStatistics, batch: OfBatch, momentum: float) -> BatchNormStatistics:
    """Running averages after one more batch, whose steps lead its arrays."""
    num_slots = old.x.mean.shape[0]
    slot = jnp.clip(batch.count, 0, num_slots - 1).astype(jnp.int32)
    rows = jnp.where(batch.rows > 1, batch.rows, 0)
    total = jnp.zeros(num_slots, rows.dtype).at[slot].add(rows)
    share = jnp.expand_dims(rows / jnp.maximum(total[slot], 1), 1)
    seen = jnp.expand_dims(total > 0, 1)

    def leaf(old: Array, new: Array) -> Array:
        new = jnp.zeros_like(old).at[slot].add((share.astype(new.dtype) * new).astype(old.dtype))
        return jnp.where(seen, momentum * old + (1 - momentum) * new, old)

    return jax.tree.map(leaf, jax.lax.stop_gradient(old), batch.statistics)
