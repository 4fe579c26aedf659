"""What a cell is: a value made of pure functions, in the manner of an Optax transformation."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

import jax
import jax.numpy as jnp

from rnnjax.cells.recipe import Recipe, may_be_kept, with_recipe

P = ParamSpec("P")
R = TypeVar("R")


class InputSpec(NamedTuple):
    """What one step's input looks like behind its batch axes.

    Attributes:
        shape: the trailing feature axes; None stands for any size.
        kind: the kind of dtype, such as `jnp.floating` or `jnp.integer`; `jnp.generic` is any.
        below: of tokens, how many there are; None where inputs are no tokens.
    """

    shape: tuple[int | None, ...] = (None,)
    kind: Any = jnp.floating
    below: int | None = None


ANY_INPUT = InputSpec(kind=jnp.generic)


def any_input(params: Any) -> InputSpec:
    """The `in_spec` of a cell that says nothing: one feature axis of any width and dtype."""
    return ANY_INPUT


class Cell(NamedTuple):
    """A recurrent cell: pure functions that know nothing of time, and its output width.

    A cell works on any leading batch axes, also none. It holds no weights. The first five
    fields make a cell; the others have defaults that suit most.

    Attributes:
        init: `key, in_features -> params`, a tree of arrays.
        init_carry: `params, like -> carry`; `like` is one step's input, `(*batch, D)`, and lends
            its batch axes, dtype and sharding.
        project: `params, xs -> zs`: all that does not need the carry, for any number of leading
            axes, so that one matmul serves all time steps.
        step: `params, carry, z -> carry, y`, of one step.
        out_features: H, the width of `y`; a tree of widths where `y` is a tree.
        prepare: `key, params, xs -> params, xs`: draws the noise of one whole sequence and puts
            it into what `project` and `step` read. It is called once a sequence, outside the
            loop, and only when a key is given. None means that the cell has no noise.
        in_spec: `params -> InputSpec`, or a tree of them for inputs that are a tree: what `xs`
            must look like, checked before anything is traced.
        form: what standard equations these are, for methods that restate them. None, also
            after every wrapper that changes the mathematics, keeps such methods away.
        output_is_h: whether `y` is the new carry's `h`, wherever the carry has a leaf `h` of its
            shape. A wrapper that moves `h` then moves the output with it. Those that change the
            output say False.
        recipe: the factory that made the cell, and its options; None where it is unknown.
    """

    init: Callable[..., Any]
    init_carry: Callable[[Any, Any], Any]
    project: Callable[[Any, Any], Any]
    step: Callable[[Any, Any, Any], tuple[Any, Any]]
    out_features: Any
    prepare: Callable[[Any, Any, Any], tuple[Any, Any]] | None = None
    in_spec: Callable[[Any], Any] = any_input
    form: Any = None
    output_is_h: bool = True
    recipe: Recipe | None = None


def fresh_carry(cell: Cell, params: Any, xs: Any) -> Any:
    """The initial carry for the batch axes of `xs`, also for T = 0 and NaN in the inputs."""

    def one_step(x):
        return jnp.zeros_like(x).sum(0).astype(x.dtype)

    return cell.init_carry(params, jax.tree.map(one_step, xs))


class DiagonalForm(NamedTuple):
    """The `form` of a cell whose units do not read one another in a step.

    Number j of the new carry depends on number j of the old carry, the params and `z` alone. The
    carry is one array `(*batch, H)`, or several of the same shape and dtype. `Newton` trusts this:
    a cell that says so wrongly gets wrong gradients.

    Attributes:
        hidden_features: H.
    """

    hidden_features: int


def remembered(count: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function return the same for equal arguments, for the last so many of them.

    Arguments that cannot be hashed make a new value each time.
    """

    def decorate(factory: Callable[P, R]) -> Callable[P, R]:
        @functools.lru_cache(maxsize=count)
        def cached(kinds: Any, args: Any, kwargs: Any) -> R:
            return factory(*args, **dict(kwargs))

        @functools.wraps(factory)
        def make(*args: P.args, **kwargs: P.kwargs) -> R:
            named = tuple(kwargs.items())
            try:
                hash((args, named))
            except TypeError:
                return factory(*args, **kwargs)
            return cached(kinds_of((args, named)), args, named)

        return make

    return decorate


def kinds_of(arguments: Any) -> Any:
    """Types, in tuples too: 3 and 3.0 and True are equal, and not the same option."""
    if type(arguments) is tuple:
        return tuple(map(kinds_of, arguments))
    return type(arguments)


def value(factory: Callable[P, R]) -> Callable[P, R]:
    """Return equal values for equal arguments, so that a jit cache meets the same cell again.

    `lstm(8) is lstm(8, bias=True)` then holds, and code that builds its cell in every call does not
    compile in every call. What is made knows its recipe.
    """
    signature = inspect.signature(factory)

    def make(*args: P.args, **kwargs: P.kwargs) -> R:
        return with_recipe(factory, signature, *args, **kwargs)

    for_long, briefly = remembered(1024)(make), remembered(16)(make)

    @functools.wraps(factory)
    def remember(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            given = signature.bind(*args, **kwargs)
        except TypeError:
            return factory(*args, **kwargs)  # which says what is wrong
        given.apply_defaults()
        keep = for_long if may_be_kept(signature, given.arguments) else briefly
        return keep(*given.args, **given.kwargs)

    return remember


# What is compiled is large, and holds whatever a model or a loss has captured.
program = remembered(8)
