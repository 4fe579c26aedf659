"""How a step is taken, checked before anything is traced."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rnnjax import _checks
from rnnjax._typing import Array, PyTree
from rnnjax.train.averaging import Averaging, check_averaging
from rnnjax.train.models import check_takes
from rnnjax.train.optimizers import check_optimizer


class Options(NamedTuple):
    """How a step is taken; the fields are arguments of `make_train_step`."""

    optimizer: optax.GradientTransformation
    averaging: Averaging | None = None
    penalty: Callable[[PyTree], Array] | None = None
    accumulate: int = 1
    compute_dtype: Any = None
    max_bad: int = 10


def check_options(function: str, options: Options) -> None:
    """Refuse options of the wrong kind."""
    check_optimizer(function, options.optimizer)
    _checks.size(function, "accumulate", options.accumulate)
    _checks.size(function, "max_bad", options.max_bad)
    check_averaging(function, options.averaging)
    caster(function, options.compute_dtype)
    if options.penalty is not None:
        such_as = "train.l2(1e-4)"
        check_takes(function, "penalty", options.penalty, ("params",), such_as=such_as)


def caster(function: str, dtype: Any) -> Callable[[PyTree], PyTree]:
    """What turns the floating leaves of a tree into a dtype; None leaves them."""
    if dtype is None:
        return lambda tree: tree
    dtype = _checks.float_dtype(function, "compute_dtype", dtype)
    if dtype == jnp.float16:
        way_out = "float16 overflows without a scaled loss"
        wanted = "be bfloat16, float32 or float64"
        _checks.refuse(function, "compute_dtype", wanted, dtype.name, way_out)
    _checks.usable_dtype(function, "compute_dtype", dtype)
    floating = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.floating)
    return lambda tree: jax.tree.map(lambda a: a.astype(dtype) if floating(a) else a, tree)
