"""How a cell or layer was made, so that it can be described, stored and exported."""

import inspect
from collections.abc import Callable
from typing import Any


class Recipe:
    """The factory that made a cell or layer, and all options that it was given.

    Two recipes are equal when they are the same object, so options need not be hashable.

    Attributes:
        factory: its name, such as `lstm` or `stack`.
        options: by name, those left out with their defaults; what is given as `*layers` is one
            tuple.
        made: the value itself, which does not know its recipe.
        may_be_kept: whether no option holds a function from inside another one.
    """

    __slots__ = ("factory", "made", "may_be_kept", "options")

    def __init__(self, factory: str, options: dict[str, Any], made: Any, may_be_kept: bool):
        self.factory, self.options, self.made = factory, options, made
        self.may_be_kept = may_be_kept


def recipe_of(thing: Any) -> Recipe | None:
    """The recipe of a cell or layer; None for what no factory has made as it now is.

    A value of which somebody has replaced a field is another function, whose recipe is unknown.
    """
    recipe = getattr(thing, "recipe", None)
    if recipe is None:
        return None
    same = (a is b for a, b in zip(thing._replace(recipe=None), recipe.made, strict=True))
    return recipe if all(same) else None


def with_recipe(
    factory: Callable[..., Any], signature: inspect.Signature, *args: Any, **kwargs: Any
) -> Any:
    """What a factory makes of all its options, with its recipe."""
    options = dict(signature.bind(*args, **kwargs).arguments)
    made = factory(*args, **kwargs)._replace(recipe=None)
    name = factory.__name__.lstrip("_")
    return made._replace(recipe=Recipe(name, options, made, may_be_kept(signature, options)))


def may_be_kept(signature: inspect.Signature, options: dict[str, Any]) -> bool:
    """Whether no option holds a function from inside another one, defaults aside.

    Such a function may hold much, and be another one at each call.
    """
    return all(
        option is signature.parameters[name].default or _outlives(option)
        for name, option in options.items()
    )


def _outlives(option: Any) -> bool:
    recipe = getattr(option, "recipe", None)
    if isinstance(recipe, Recipe):
        return recipe.may_be_kept
    if isinstance(option, tuple):
        return all(map(_outlives, option))
    return "<" not in getattr(option, "__qualname__", "")
