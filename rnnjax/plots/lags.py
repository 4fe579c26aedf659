"""The vanishing gradient, seen: how much an output depends on inputs of long ago."""

import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import _checks
from rnnjax._typing import Array, Float, Lengths, PyTree
from rnnjax.cells.base import Cell
from rnnjax.cells.dtypes import at_least_float32
from rnnjax.methods.base import keep
from rnnjax.methods.scan import Scan
from rnnjax.plots import style
from rnnjax.plots.arguments import check_concrete, check_some_steps
from rnnjax.sequence.arguments import Sequence, num_batch_axes
from rnnjax.sequence.masks import last_output, reverse_sequences
from rnnjax.sequence.unroll import check_call, unroll_checked

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DEEPEST = 1e-12  # of the largest norm: what is smaller is not drawn
UNITS_AT_ONCE = 16


def lag_norms(
    cell: Cell,
    params: PyTree,
    xs: Float[Array, "T *batch D"],
    *,
    lengths: Lengths | None = None,
) -> Float[Array, "T *batch"]:
    r"""Measure how much the last output depends on the input of k steps before.

    $$ n_k = \lVert \partial y_L / \partial x_{L-k} \rVert_F $$

    the Frobenius norm of the Jacobian, with L the last valid step of a row and a fresh carry at the
    first. It is exact: one backward pass for each output feature. For any loss of the last output,
    $\lVert \partial \mathcal L / \partial x_{L-k} \rVert$ is at most $n_k$ times the norm of its
    gradient at that output. All paths count, the cell state of an LSTM included, which the
    gradient for h alone would leave out.

    Args:
        cell: any cell with one array of floating inputs and one of outputs.
        params: from `cell.init`.
        xs: inputs, `(T, *batch, D)`, time first.
        lengths: valid steps of each row, `(*batch,)`; None means T.

    Returns:
        Norms, `(T, *batch)`, in float32 at least: `[k]` is that at lag k, and NaN where the row has
        no such step.

    Raises:
        TypeError: for an argument of the wrong kind, structure or dtype.
        ValueError: for a wrong shape, or concrete lengths outside 0..T.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> cell = rnnjax.elman(1, activation=lambda s: s, bias=False)
        >>> params = rnnjax.ElmanParams(w_ih=jnp.ones((1, 1)), w_hh=jnp.full((1, 1), 0.5))
        >>> rnnjax.plots.lag_norms(cell, params, jnp.ones((4, 1))).tolist()
        [1.0, 0.5, 0.25, 0.125]

    Reference: Pascanu, Mikolov & Bengio, *On the difficulty of training recurrent neural networks*
    (2013), section 2.
    """
    return checked_norms("lag_norms", cell, params, xs, lengths)


def gradient_by_lag(
    cells: Mapping[str, tuple[Cell, PyTree]],
    xs: Float[Array, "T *batch D"],
    *,
    lengths: Lengths | None = None,
) -> "Figure":
    r"""Draw how far back gradients reach, for one cell or several side by side.

    $\lVert \partial y_L / \partial x_{L-k} \rVert_F$ over the lag k: the numbers of `lag_norms`.
    Lines are geometric means over the rows, bands hold the middle 80 % of them. A line that falls
    steadily is a gradient that vanishes; one that rises, explodes. What is below a
    10^12th of the largest number is not drawn.

    Args:
        cells: by name, a cell and its params; all read the same `xs`.
        xs: inputs, `(T, *batch, D)`, time first.
        lengths: valid steps of each row, `(*batch,)`; None means T. A lag is drawn as far as there
            is a row that has it.

    Returns:
        The figure, transparent.

    Raises:
        TypeError: for an argument of the wrong kind.
        ValueError: for a wrong shape, or no valid step.
        ImportError: if matplotlib is missing.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> cells = {"LSTM": rnnjax.lstm(8), "GRU": rnnjax.gru(8)}
        >>> made = {name: (c, c.init(jax.random.key(0), 3)) for name, c in cells.items()}
        >>> figure = rnnjax.plots.gradient_by_lag(made, jnp.ones((20, 2, 3)))
        >>> list(text.get_text() for text in figure.axes[0].texts)
        ['LSTM', 'GRU']

    Reference: Pascanu, Mikolov & Bengio, *On the difficulty of training recurrent neural networks*
    (2013), section 2.
    """
    function = "gradient_by_lag"
    check_pairs(function, cells)
    check_concrete(function, "xs", xs)
    norms = {}
    for name, (cell, params) in cells.items():
        check_concrete(function, "params", params)
        found = np.asarray(checked_norms(function, cell, params, xs, lengths), np.float64)
        check_some_steps(function, xs, ~np.isnan(found))
        norms[name] = found.reshape(found.shape[0], -1)

    figure = style.new_figure(function, 6.8, 3.8)
    (axes,) = style.panels(figure, 1, 1)
    draw(axes, {name: by_lag(value) for name, value in norms.items()})
    rows = int((~np.isnan(next(iter(norms.values())))).any(0).sum())
    over = f"; mean and middle 80 % of {rows} rows" if rows > 1 else ""
    style.describe(
        axes,
        title=f"How far back gradients reach{over}",
        xlabel="lag k (steps back from the last)",
        ylabel="‖∂y(last) / ∂x(last - k)‖",
    )
    return figure


def check_pairs(function: str, cells: Any) -> None:
    """Cells with their params, by name."""
    way_out = 'give {"LSTM": (cell, params)}'
    wanted = "map names to pairs of a cell and its params"
    if not isinstance(cells, Mapping) or not cells:
        got = _checks.kind(cells) if not isinstance(cells, Cell) else "a Cell"
        _checks.refuse(function, "cells", wanted, got, way_out, error=TypeError)
    for name, pair in cells.items():
        if type(pair) is not tuple or len(pair) != 2:
            got = f"{_checks.describe(pair)} for {name!r}"
            _checks.refuse(function, "cells", wanted, got, way_out, error=TypeError)


def checked_norms(function: str, cell: Any, params: Any, xs: Any, lengths: Any) -> Array:
    """`lag_norms`; `function` is what messages name."""
    sequence = check_call(function, cell, params, xs, lengths, None, None, False)
    like = sequence.xs
    if not (hasattr(like, "dtype") and jnp.issubdtype(like.dtype, jnp.floating)):
        got, way_out = _checks.describe(xs), "gradients are those for one array of floating inputs"
        if hasattr(like, "dtype"):
            got = like.dtype.name
        _checks.refuse(function, "xs", "be one floating array", got, way_out, error=TypeError)
    if sequence.mask is not None:
        lengths = sequence.mask.sum(0, dtype=jnp.int32)  # clipped where traced
    return norms(cell, params, sequence, lengths)


@functools.partial(jax.jit, static_argnums=0)
def norms(cell: Cell, params: Any, sequence: Sequence, lengths: Any) -> Array:
    """The norms of checked arguments, `(T, *batch)`; compiled once for each cell and shape."""
    batch_axes = num_batch_axes(cell.in_spec(params), sequence)

    def last(xs: Array) -> Array:
        _, ys = unroll_checked(
            "lag_norms",
            cell,
            params,
            sequence._replace(xs=xs),
            None,
            reverse=False,
            key=None,
            method=Scan(),
        )
        y = last_output(ys, lengths)
        return y.reshape(*y.shape[:batch_axes], math.prod(y.shape[batch_axes:]))

    y, pull = jax.vjp(last, sequence.xs)

    def of_unit(unit: Array) -> Array:
        # Rows do not read one another, so that one pass serves them all.
        (dx,) = pull(jnp.zeros_like(y).at[..., unit].set(1))
        dx = dx.astype(at_least_float32(dx.dtype))
        return norm(dx, tuple(range(1 + batch_axes, dx.ndim)))

    units = jnp.arange(y.shape[-1], dtype=jnp.int32)
    by_time = norm(jax.lax.map(of_unit, units, batch_size=UNITS_AT_ONCE), 0)
    out = reverse_sequences(by_time, lengths)
    nan = jnp.full_like(out, jnp.nan)
    return out if sequence.mask is None else keep(sequence.mask, out, nan)


def norm(a: Array, axis: int | tuple[int, ...]) -> Array:
    """The Euclidean norm of numbers whose squares may vanish."""
    most = jnp.abs(a).max(axis, keepdims=True, initial=0)
    scaled = a / jnp.where(most == 0, 1, most)
    return jnp.sqrt((scaled**2).sum(axis)) * most.squeeze(axis)


def by_lag(values: np.ndarray) -> np.ndarray:
    """Geometric mean, and 10th and 90th percentile, of the rows `(T, B)` that have each lag."""
    out = np.full((3, len(values)), np.nan)
    for lag, row in enumerate(values):
        there = row[~np.isnan(row)]
        if there.size:
            with np.errstate(divide="ignore"):
                out[0, lag] = np.exp(np.log(there).mean())
            out[1:, lag] = np.quantile(there, (0.1, 0.9))
    return out


def draw(axes: "Axes", lines: dict[str, np.ndarray]) -> None:
    """A line with its band for each cell, down to what can be told from nothing."""
    every = np.concatenate([part.ravel() for part in lines.values()])
    every = every[np.isfinite(every) & (every > 0)]
    highest = every.max(initial=0) or 1.0
    floor = highest * DEEPEST
    lowest = every[every > floor].min(initial=highest)
    # Limits first: without a positive number a logarithmic axis finds none.
    axes.set(yscale="log", ylim=(lowest / 1.5, highest * 1.5))
    axes.set_xlim(0, max(1, *(part.shape[1] - 1 for part in lines.values())))
    ends = []
    for number, (name, (middle, low, high)) in enumerate(lines.items()):
        look, lag = style.line_style(number), np.arange(len(middle))
        marker = "o" if len(lag) <= 12 else None
        axes.plot(lag, middle, linewidth=2, marker=marker, markersize=4, **look)
        axes.fill_between(lag, low, high, color=look["color"], alpha=0.2, linewidth=0)
        shown = style.line_name(name, number)
        ends.append((0, end_of(middle, floor), shown, look["color"]))
    style.whole_ticks(axes.xaxis)
    style.label_ends(axes, ends)


def end_of(middle: np.ndarray, floor: float) -> float:
    """How high a line ends: at the floor if it falls through it."""
    finite = middle[np.isfinite(middle)]
    return max(finite[-1], floor) if finite.size else floor
