"""Which params shrink, and penalties on the same ones."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, Float, PyTree
from rnnjax.cells.dtypes import promote
from rnnjax.sequence.penalties import check_weight

# What is no matrix, also with axes in front: both directions', one a gate, one a head.
VECTORS = {
    *("b", "b_hn", "bias"),
    *("scale", "scale_x", "scale_h", "scale_c", "shift", "shift_c"),  # gains and shifts
    *("p", "u", "v", "a"),  # peepholes and diagonal recurrences
    *("decay", "phase"),  # time constants
}
BRANCHES = {"initial", "statistics"}  # learned initial carries, moments of batch norm


def decays(params: PyTree) -> PyTree:
    """Say which params are weight matrices: the ones that weight decay and penalties act on.

    Biases, gains and shifts, peepholes, diagonal recurrences, time constants, initial carries and
    statistics are none, whatever axes they have in front. They are known by the names that
    rnnjax and Flax give them; of other names, what has two axes or more is a matrix.

    Args:
        params: of any cell or layer, an `nnx.State`, or another tree of arrays; abstract ones
            will do.

    Returns:
        True and False in the same structure, as Optax takes for a `mask`.

    Example:
        >>> import jax, rnnjax
        >>> from rnnjax import train
        >>> layer = rnnjax.bidirectional(rnnjax.gru(5))
        >>> train.decays(jax.eval_shape(lambda: layer.init(jax.random.key(0), in_features=3)))
        GRUParams(w_ih=True, w_hh=True, b=False, b_hn=False, initial=None)
    """
    return jax.tree_util.tree_map_with_path(is_matrix, params)


def is_matrix(path: tuple[Any, ...], leaf: Any) -> bool:
    """Whether a leaf is a weight matrix, by its names."""
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
        return False
    names = [str(getattr(key, "key", getattr(key, "name", ""))) for key in path]
    # What holds an array in Flax, a variable or a box of metadata, adds a name of its own.
    names = [name for name in names if name not in ("", "value")]
    if BRANCHES & set(names) or (names and names[-1] in VECTORS):
        return False
    return leaf.ndim >= 2


def l1(alpha: float) -> Callable[[PyTree], Float[Array, ""]]:
    r"""Make the penalty on absolute values of weight matrices, those that `decays` names.

    $$ \alpha \sum |w| $$

    Args:
        alpha: the weight of the penalty, at least 0.

    Returns:
        `params -> penalty`, one number in float32 at least.

    Raises:
        TypeError: if `alpha` is no number.
        ValueError: if it is negative or not finite.

    Example:
        >>> import jax.numpy as jnp, rnnjax
        >>> from rnnjax import train
        >>> float(train.l1(0.5)({"w": jnp.array([[1.0, -2.0]]), "b": jnp.ones(3)}))
        1.5
    """
    return penalty("l1", alpha, jnp.abs)


def l2(alpha: float) -> Callable[[PyTree], Float[Array, ""]]:
    r"""Make the penalty on squares of weight matrices, those that `decays` names.

    $$ \alpha \sum w^2 $$

    With plain gradient descent it is weight decay at the rate $2 \alpha$; with Adam it is not,
    and decay is the better one: `adamw(rate, weight_decay=...)`.

    Args:
        alpha: the weight of the penalty, at least 0.

    Returns:
        `params -> penalty`, one number in float32 at least.

    Raises:
        TypeError: if `alpha` is no number.
        ValueError: if it is negative or not finite.

    Example:
        >>> import jax.numpy as jnp, rnnjax
        >>> from rnnjax import train
        >>> float(train.l2(0.5)({"w": jnp.array([[1.0, -2.0]]), "b": jnp.ones(3)}))
        2.5
    """
    return penalty("l2", alpha, jnp.square)


def penalty(
    function: str, alpha: Any, of: Callable[[Array], Array]
) -> Callable[[PyTree], Float[Array, ""]]:
    """The weighted sum of a function of all weight matrices."""
    weight = check_weight(function, "alpha", alpha)

    def of_params(params: PyTree) -> Float[Array, ""]:
        pairs = zip(jax.tree.leaves(params), jax.tree.leaves(decays(params)), strict=True)
        matrices = [a for a, is_decayed in pairs if is_decayed]
        dtype = widest(matrices)
        return weight * sum((of(a.astype(dtype)).sum() for a in matrices), jnp.zeros((), dtype))

    return of_params


def widest(leaves: list[Array]) -> Any:
    """The dtype in which numbers of all leaves are added up."""
    return functools.reduce(promote, (a.dtype for a in leaves), jnp.dtype("float32"))
