"""What is done to the output, and leaves the recurrence as it is."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float, PyTree
from rnnjax.cells.base import Cell, value
from rnnjax.cells.norm import check_epsilon, layer_norm
from rnnjax.cells.wrappers.common import Beside, check_cell


@value
def with_carries(cell: Cell) -> Cell:
    """Make the output `(y, carry)`, for those who need the carry after every step.

    As every output, it is zero on invalid steps.

    Args:
        cell: any cell.

    Returns:
        A cell with the same params and carry, whose output is a pair.

    Raises:
        TypeError: if `cell` is no cell.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> cell = rnnjax.with_carries(rnnjax.lstm(5))
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> _, (ys, carries) = rnnjax.unroll(cell, params, jnp.ones((7, 2, 3)))
        >>> ys.shape, carries.c.shape
        ((7, 2, 5), (7, 2, 5))
    """
    check_cell("with_carries", cell)

    def step(params, carry, z):
        carry, y = cell.step(params, carry, z)
        return carry, (y, carry)

    return cell._replace(step=step, form=None, output_is_h=False)


@value
def residual(cell: Cell) -> Cell:
    r"""Add the input to the output.

    $$ y_t = \hat y_t + x_t $$

    The input is the one that this wrapper sees: of `residual(input_dropout(cell, rate))` nothing
    is dropped in the sum. With the fast methods, and for layers, use
    `rnnjax.stack(cell, skip=rnnjax.merge.add)`, which equals it.

    Args:
        cell: any cell that puts out one array as wide as its input.

    Returns:
        A cell with the same params and carry.

    Raises:
        TypeError: if `cell` is no cell.
        ValueError: where the widths of input and output differ.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> cell = rnnjax.residual(rnnjax.gru(3))
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> carry, ys = rnnjax.unroll(cell, params, jnp.ones((7, 2, 3)))
        >>> bool((ys[-1] == carry.h + 1).all())
        True

    Reference: He, Zhang, Ren & Sun, *Deep residual learning for image recognition* (2016).
    """
    check_cell("residual", cell)
    way_out = "put it around cells that keep the width, or use stack(..., skip=...)"

    def init(key, in_features):
        if isinstance(cell.out_features, int) and in_features != cell.out_features:
            wanted = f"be {cell.out_features}, the width of the output"
            _checks.refuse("residual.init", "in_features", wanted, in_features, way_out)
        return cell.init(key, in_features)

    def prepare(key, params, xs):
        params, within = cell.prepare(key, params, xs)  # type: ignore[misc]
        return params, Beside(within, xs)

    def project(params, xs):
        within, x = xs if isinstance(xs, Beside) else (xs, xs)
        return Beside(cell.project(params, within), x)

    def step(params, carry, z):
        carry, y = cell.step(params, carry, z.xs)
        got, wanted = shapes(z.other), shapes(y)
        if got != wanted:
            wanted = f"have the shape of the output, {wanted}, at each step"
            _checks.refuse("residual", "xs", wanted, got, way_out)
        return carry, y + z.other.astype(y.dtype)

    return cell._replace(
        init=init,
        prepare=None if cell.prepare is None else prepare,
        project=project,
        step=step,
        form=None,
        output_is_h=False,
    )


class LayerNormOutputsParams(NamedTuple):
    """Params of a cell whose outputs are normalised: its own, and a gain and shift a unit."""

    cell: PyTree
    scale: Float[Array, " H"]
    shift: Float[Array, " H"]


@value
def layer_norm_outputs(
    cell: Cell, *, epsilon: float = 1e-5, param_dtype: Any = jnp.float32
) -> Cell:
    r"""Normalise the outputs of every step over their features.

    $$ y_t = g \odot \frac{\hat y_t - \mu_t}{\sqrt{\sigma_t^2 + \epsilon}} + b $$

    with mean and variance over the features of one step and row, computed in float32 at least.
    The recurrence is untouched: it reads the state that is not normalised.

    Args:
        cell: any cell that puts out one array.
        epsilon: added to the variance, at least 1e-30.
        param_dtype: of $g$ (`scale`, ones at first) and $b$ (`shift`, zeros).

    Returns:
        A cell with the same carry, and params `LayerNormOutputsParams`, the cell's own in `cell`.

    Raises:
        TypeError: if `cell` is no cell, or an option of the wrong kind.
        ValueError: if `epsilon` is below 1e-30.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> cell = rnnjax.layer_norm_outputs(rnnjax.lstm(5))
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> _, ys = rnnjax.unroll(cell, params, jnp.ones((7, 2, 3)))
        >>> params.cell.w_hh.shape, bool(abs(ys.mean(-1)).max() < 1e-6)
        ((5, 20), True)

    Reference: Ba, Kiros & Hinton, *Layer normalization* (2016).
    """
    function = "layer_norm_outputs"
    check_cell(function, cell)
    dtype = _checks.float_dtype(function, "param_dtype", param_dtype)
    epsilon = check_epsilon(function, epsilon)
    if not isinstance(cell.out_features, int):
        way_out = "normalise what puts out one array"
        _checks.refuse(function, "cell", "put out one array", "a tree of outputs", way_out)

    def init(key, in_features):
        _checks.usable_dtype(f"{function}.init", "param_dtype", dtype)
        ones = jnp.ones(cell.out_features, dtype)
        return LayerNormOutputsParams(cell.init(key, in_features), ones, jnp.zeros_like(ones))

    def prepare(key, params, xs):
        within, xs = cell.prepare(key, params.cell, xs)  # type: ignore[misc]
        return params._replace(cell=within), xs

    def step(params, carry, z):
        carry, y = cell.step(params.cell, carry, z)
        return carry, layer_norm(y, params.scale, params.shift, epsilon=epsilon).astype(y.dtype)

    return cell._replace(
        init=init,
        init_carry=lambda params, like: cell.init_carry(params.cell, like),
        project=lambda params, xs: cell.project(params.cell, xs),
        step=step,
        prepare=None if cell.prepare is None else prepare,
        in_spec=lambda params: cell.in_spec(params.cell),
        form=None,
        output_is_h=False,
    )


def shapes(tree: PyTree) -> Any:
    """The shape of an array, or a tree of them."""
    return jax.tree.map(jnp.shape, tree)
