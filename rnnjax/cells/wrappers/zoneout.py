"""Zoneout: units that stand still now and then."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.cells.base import Cell, value
from rnnjax.cells.wrappers.common import (
    check_h,
    check_output,
    map_states,
    with_noise_beside,
)

Rates: TypeAlias = float | tuple[tuple[str, float], ...]
"""One for all leaves, or names and rates."""


def zoneout(
    cell: Cell, rates: float | Mapping[str, float] | tuple[float, ...], *, expectation: bool = False
) -> Cell:
    r"""Let units of the carry keep their old value, each with some probability at every step.

    $$ c_t = k \odot c_{t-1} + (1 - k) \odot \hat c_t, \qquad k \sim \text{Bernoulli}(p) $$

    where $\hat c_t$ is what the cell within makes of $c_{t-1}$. Every leaf of the carry draws its
    own $k$, for every step, row and unit; nothing is scaled. The output goes the way of `h`: where
    `h` keeps its old value, that is the output.

    No fast method runs it. Without a key and without `expectation` it equals the bare cell, whose
    params are the same, so that evaluation may take that.

    Args:
        cell: any cell whose output is the leaf `h` of its carry.
        rates: p, `0 <= p < 1`: one for every leaf but integers and a `count` of steps, or a
            mapping or NamedTuple by name, such as `{"h": 0.05, "c": 0.5}` or
            `LSTMCarry(h=0.05, c=0.5)`; leaves that are not named move freely. Name them where
            leaves belong together, as c, n and m of an sLSTM do.
        expectation: what happens without a key: True mixes old and new with weights p and
            1 - p, as the paper evaluates; False leaves the cell as it is.

    Returns:
        A cell with the same params and carry.

    Raises:
        TypeError: if `cell` is no cell, or a rate no number.
        ValueError: for a rate out of range, a name that the carry lacks, or a cell whose output
            is not its `h`.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> cell = rnnjax.zoneout(rnnjax.lstm(5), {"h": 0.05, "c": 0.5})
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> xs = jnp.ones((7, 2, 3))
        >>> _, ys = rnnjax.unroll(cell, params, xs, key=jax.random.key(1))
        >>> ys.shape
        (7, 2, 5)

    Reference: Krueger et al., *Zoneout: regularizing RNNs by randomly preserving hidden
    activations* (2017).
    """
    check_output("zoneout", cell)
    _checks.flag("zoneout", "expectation", expectation)
    named = rates._asdict() if hasattr(rates, "_asdict") else rates  # type: ignore[union-attr]
    if not isinstance(named, Mapping):
        return _zoneout(cell, _checks.rate("zoneout", "rates", named), expectation)
    pairs = ((str(name), named[name]) for name in sorted(named, key=str))
    checked = tuple((name, _checks.rate("zoneout", f"rates[{name!r}]", p)) for name, p in pairs)
    return _zoneout(cell, checked, expectation)


@value
def _zoneout(cell: Cell, rates: Rates, expectation: bool) -> Cell:
    """The same with rates that can be hashed."""

    def init_carry(params, like):
        carry = cell.init_carry(params, like)
        rate_of_leaves(rates, carry)
        return carry

    def draw(key, num_steps, carry):
        leaves, structure = jax.tree.flatten(carry)
        keys = jax.tree.unflatten(structure, list(jax.random.split(key, len(leaves))))

        def leaf(rate, key, like):
            if not rate:
                return None
            kept = jax.random.bernoulli(key, rate, (num_steps, *like.shape))
            return kept | jnp.zeros_like(like, bool)[None]  # sharded as the carry

        return jax.tree.map(leaf, rate_of_leaves(rates, carry), keys, carry)

    def loud(noise, old, new, y):
        check_h("zoneout", new, y)

        def leaf(kept, old, new):
            return new if kept is None else jnp.where(kept, old, new)

        carry = jax.tree.map(leaf, noise, old, new, is_leaf=lambda kept: kept is None)
        return carry, leaf(noise.h, old.h.astype(y.dtype), y)

    def quiet(old, new, y):
        check_h("zoneout", new, y)
        if not expectation:
            return new, y
        rate = rate_of_leaves(rates, new)

        def leaf(rate, old, new):
            return rate * old + (1 - rate) * new if rate else new

        return jax.tree.map(leaf, rate, old, new), leaf(rate.h, old.h.astype(y.dtype), y)

    return with_noise_beside(cell, draw, loud, quiet)._replace(init_carry=init_carry)


def rate_of_leaves(rates: Rates, carry: PyTree) -> Any:
    """A rate for every leaf of the carry; zero for what has no name, or only counts."""
    spread = lambda rate, tree: map_states(lambda a: rate, lambda a: 0.0, tree)
    if not isinstance(rates, tuple):
        return spread(rates, carry)
    by_name, fields = dict(rates), getattr(carry, "_fields", ())
    for name in by_name:
        if name not in fields or name == "count":
            wanted = f"name leaves of {_checks.describe(carry)}"
            way_out = "a single rate is for all of them"
            _checks.refuse("zoneout", "rates", wanted, repr(name), way_out)
    return carry._make(spread(by_name.get(n, 0.0), a) for n, a in zip(fields, carry, strict=True))
