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
    """

    __slots__ = ("factory", "made", "options")

    def __init__(self, factory: str, options: dict[str, Any], made: Any):
        self.factory, self.options, self.made = factory, options, made


def recipe_of(thing: Any) -> Recipe | None:
    """The recipe of a cell or layer; None for what no factory has made as it now is.

    A value of which somebody has replaced a field is another function, whose recipe is unknown.
    """
    recipe = getattr(thing, "recipe", None)
    if recipe is None or thing._replace(recipe=None) != recipe.made:
        return None
    return recipe


def with_recipe(factory: Callable[..., Any], given: inspect.BoundArguments) -> Any:
    """What a factory makes, with its recipe."""
    made = factory(*given.args, **given.kwargs)._replace(recipe=None)
    recipe = Recipe(factory.__name__.lstrip("_"), dict(given.arguments), made)
    return made._replace(recipe=recipe)
