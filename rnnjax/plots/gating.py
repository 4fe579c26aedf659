"""The numbers behind pictures of gates: what the gates of a plain LSTM or GRU do at every step."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Bool, Float, Lengths, PyTree
from rnnjax.cells.base import Cell
from rnnjax.cells.dtypes import at_least_float32
from rnnjax.cells.gates import GRUGates, LSTMGates, recording
from rnnjax.cells.gru import GRUForm
from rnnjax.cells.lstm import LSTMForm
from rnnjax.cells.wrappers import check_cell
from rnnjax.methods.base import keep
from rnnjax.methods.scan import Scan
from rnnjax.sequence.unroll import check_call, check_start, unroll_checked

GATES = ("i", "f", "o", "r", "z")  # what lies within 0..1


class SaturatedShares(NamedTuple):
    """At how large a share of the steps a gate's units are saturated.

    Attributes:
        low: below 0.1, `(H,)`.
        high: above 0.9, `(H,)`.
    """

    low: Float[Array, " H"]
    high: Float[Array, " H"]


def gate_values(
    cell: Cell,
    params: PyTree,
    xs: Float[Array, "T *batch D"],
    carry: PyTree = None,
    *,
    lengths: Lengths | None = None,
) -> LSTMGates | GRUGates:
    """Run a plain LSTM or GRU and return what its gates do, where `unroll` returns outputs.

    The values are those after sigmoid and tanh, and putting them into the equations of
    `LSTMGates` or `GRUGates` gives the outputs of `unroll`. In low precision `h` here is that of
    the carry, which is not rounded to the dtype of the outputs.

    Args:
        cell: from `lstm` or `gru`, with their own activations and without a wrapper that changes
            the mathematics.
        params: from `cell.init`.
        xs: inputs, `(T, *batch, D)`, time first.
        carry: where to begin; None means `cell.init_carry`.
        lengths: valid steps of each row, `(*batch,)`; None means T. At other steps every value
            is 0.

    Returns:
        `LSTMGates` or `GRUGates`, each array `(T, *batch, H)`.

    Raises:
        TypeError: for an argument of the wrong kind, structure or dtype.
        ValueError: for another cell, a wrong shape, or concrete lengths outside 0..T.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> cell = rnnjax.lstm(5)
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> values = rnnjax.plots.gate_values(cell, params, jnp.ones((7, 2, 3)))
        >>> values._fields, values.f.shape
        (('i', 'f', 'g', 'o', 'c', 'h'), (7, 2, 5))
    """
    return record("gate_values", cell, params, xs, carry, lengths=lengths)[0]


def forgetting_times(
    cell: Cell,
    params: PyTree,
    xs: Float[Array, "T *batch D"],
    *,
    lengths: Lengths | None = None,
) -> Float[Array, " H"]:
    r"""Say how long each unit of a plain LSTM or GRU keeps what it holds, in steps.

    $$ \tau = -1 / \text{mean} \log f_t $$

    over all valid steps of all rows, with the forget gate f of an LSTM or the update gate z of a
    GRU: after $\tau$ steps with gates like these, what a unit held has shrunk to 1/e. Only the
    direct path counts, and not what units write into one another.

    Args:
        cell: a plain `lstm` or `gru`, as for `gate_values`.
        params: from `cell.init`.
        xs: inputs, `(T, *batch, D)`, time first.
        lengths: valid steps of each row, `(*batch,)`; None means T.

    Returns:
        Steps, `(H,)`: infinite for a gate that rounds to 1 at every step, 0 for one that rounds to
        0 at any; NaN where no step is valid.

    Raises:
        TypeError: as `gate_values`.
        ValueError: as `gate_values`.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> cell = rnnjax.lstm(2)
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> bias = jnp.array([0.0, 0, 1, 5, 0, 0, 0, 0])  # of the forget gates: 1 and 5
        >>> params = jax.tree.map(jnp.zeros_like, params)._replace(b=bias)
        >>> rnnjax.plots.forgetting_times(cell, params, jnp.ones((7, 3))).round(1).tolist()
        [3.2..., 148.9...]

    Reference: Tallec & Ollivier, *Can recurrent neural networks warp time?* (2018), section 1.
    """
    return times_of(*record("forgetting_times", cell, params, xs, None, lengths=lengths))


def saturated_shares(
    cell: Cell,
    params: PyTree,
    xs: Float[Array, "T *batch D"],
    *,
    lengths: Lengths | None = None,
) -> dict[str, SaturatedShares]:
    """Say at how large a share of the steps each gate of each unit is nearly shut or open.

    Args:
        cell: a plain `lstm` or `gru`, as for `gate_values`.
        params: from `cell.init`.
        xs: inputs, `(T, *batch, D)`, time first.
        lengths: valid steps of each row, `(*batch,)`; None means T.

    Returns:
        For the gates i, f and o of an LSTM or r and z of a GRU: the shares of all valid steps of
        all rows at which it is below 0.1, and above 0.9; NaN where no step is valid.

    Raises:
        TypeError: as `gate_values`.
        ValueError: as `gate_values`.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> cell = rnnjax.gru(2, update_bias=5.0)
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> shares = rnnjax.plots.saturated_shares(cell, params, jnp.ones((7, 3)))
        >>> shares["z"].low.tolist(), shares["z"].high.tolist()
        ([0.0, 0.0], [1.0, 1.0])

    Reference: Karpathy, Johnson & Fei-Fei, *Visualizing and understanding recurrent networks*
    (2016), section 4.2.
    """
    return shares_of(*record("saturated_shares", cell, params, xs, None, lengths=lengths))


def record(
    function: str, cell: Any, params: Any, xs: Any, carry: Any, *, lengths: Any
) -> tuple[LSTMGates | GRUGates, Bool[Array, "T *batch"] | None]:
    """The gate values, and which steps are valid; `function` is what messages name."""
    check_cell(function, cell)
    if not isinstance(cell.form, LSTMForm | GRUForm):
        got = "one of other equations" if cell.form is None else f"one with {cell.form}"
        way_out = "give the cell that rnnjax.lstm or rnnjax.gru made, without wrappers"
        wanted = "be a plain LSTM or GRU"
        _checks.refuse(function, "cell", wanted, got, way_out)
    sequence = check_call(function, cell, params, xs, lengths, None, None, False)
    start = check_start(function, cell, params, sequence, carry, None)
    run = unroll_checked(
        function,
        recording(cell),
        params,
        sequence,
        start,
        reverse=False,
        key=None,
        method=Scan(),
    )
    return run[1], sequence.mask


def keeping_gate(values: LSTMGates | GRUGates) -> Float[Array, "T *batch H"]:
    """The gate that says how much of the state is kept."""
    return values.f if isinstance(values, LSTMGates) else values.z


def times_of(values: LSTMGates | GRUGates, valid: Any) -> Float[Array, " H"]:
    """Steps until what a unit held has shrunk to 1/e."""
    kept = keeping_gate(values)
    mean = mean_over_steps(jnp.log(kept.astype(at_least_float32(kept.dtype))), valid)
    return 1 / jnp.abs(mean)


def shares_of(values: LSTMGates | GRUGates, valid: Any) -> dict[str, SaturatedShares]:
    """By gate, the shares of steps at which it is saturated."""

    def share(flags: Array) -> Array:
        return mean_over_steps(flags.astype(jnp.float32), valid)

    gates = {name: a for name, a in values._asdict().items() if name in GATES}
    return {name: SaturatedShares(share(a < 0.1), share(a > 0.9)) for name, a in gates.items()}


def mean_over_steps(
    a: Float[Array, "T *batch H"], valid: Bool[Array, "T *batch"] | None
) -> Float[Array, " H"]:
    """The mean over all valid steps of all rows."""
    axes = tuple(range(a.ndim - 1))
    if valid is None:
        return a.mean(axes)
    return keep(valid, a, jnp.zeros_like(a)).sum(axes) / valid.sum(dtype=a.dtype)
