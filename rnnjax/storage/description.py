"""Cells and layers as plain JSON: which factory made them, and of which options."""

import inspect
import numbers
from typing import Any, NoReturn

import jax.numpy as jnp

from rnnjax import _checks
from rnnjax.cells.base import Cell
from rnnjax.cells.initializers import Chrono, chrono
from rnnjax.cells.recipe import recipe_of
from rnnjax.sequence.layer import Layer
from rnnjax.storage.header import brief, short
from rnnjax.storage.leaves import Source
from rnnjax.storage.vocabulary import (
    ALIASES,
    COUNTED,
    DTYPES,
    FACTORIES,
    FUNCTIONS,
    WITHOUT_ARRAYS,
    is_dtype,
    is_initialiser,
)

FORMAT = 1
MOST_PARTS = 1_000  # cells and layers, those within others too, and the heads and rounds of all
MOST_VALUES = 100_000  # in lists, of which factories take a few each
MOST_LEVELS = 64  # of what stands within another
LARGE = 2**31
KEEP = "keep it in code, and its params by rnnjax.save_weights"
MEND = "mend it, or make another with rnnjax.describe"


def describe(layer: Cell | Layer) -> dict[str, Any]:
    """Describe a cell or layer in plain JSON, of which `build` makes it again.

    The description names the factory and all of its options, defaults too, so that it means the
    same when a default changes. Dtypes, activations and merges stand by name. Initialisers are
    left out: they say where params start, not what the layer does. What is built again has the
    default ones.

    Args:
        layer: made by the factories of rnnjax, such as `lstm`, `zoneout` or `stack`.

    Returns:
        Nested dicts, lists, numbers and words. The outermost one has the number of its format.

    Raises:
        TypeError: for what is neither cell nor layer.
        ValueError: for a cell or layer that no factory has made as it is, a function that has no
            name in descriptions, such as a lambda, or more than 1000
            layers, heads and rounds together.

    Example:
        >>> import jax, rnnjax
        >>> rnnjax.describe(rnnjax.pointwise(jax.nn.relu))
        {'format': 1, 'factory': 'pointwise', 'options': {'function': {'function': 'jax.nn.relu'}}}
    """
    return described("describe", layer)


def build(description: dict[str, Any]) -> Cell | Layer:
    """Make the cell or layer that `describe` has described.

    Factories and functions are looked up in a fixed table of names: nothing else is ever called.

    Args:
        description: from `describe`, or as read from JSON.

    Returns:
        A cell or layer with the same equations and options, and the default initialisers.

    Raises:
        TypeError: for what is no dict.
        ValueError: for anything that is no description, naming the place.

    Example:
        >>> import rnnjax
        >>> layer = rnnjax.stack(rnnjax.bidirectional(rnnjax.lstm(8)), rnnjax.dense(2))
        >>> rnnjax.build(rnnjax.describe(layer)) is layer
        True
    """
    if not isinstance(description, dict):
        got = _checks.kind(description)
        _checks.refuse("build", "description", "be a dict", got, MEND, error=TypeError)
    return built(Source("build", "the description", MEND), description)


def described(function: str, layer: Any) -> dict[str, Any]:
    """The same, for messages of any function."""
    if not isinstance(layer, (Cell, Layer)):
        way_out = "build it with rnnjax.lstm(...), rnnjax.stack(...) and the like"
        wanted = "be a cell or layer"
        _checks.refuse(function, "layer", wanted, _checks.kind(layer), way_out, error=TypeError)
    return {"format": FORMAT, **_Writer(function).thing("layer", layer, 0)}


def built(source: Source, description: dict[str, Any]) -> Cell | Layer:
    """The same, for a description from anywhere; `source` says from where."""
    tree = dict(description)
    number = tree.pop("format", None)
    if type(number) is not int or number != FORMAT:
        source.refuse("format", f"be {FORMAT}, which this version of rnnjax reads", short(number))
    return _Builder(source).thing("", tree, 0)


def least_arrays(description: Any) -> int:
    """How many arrays there are at least, told without tracing anything."""
    if isinstance(description, dict):
        own = description.get("factory", "stack") not in WITHOUT_ARRAYS
        return own + sum(least_arrays(value) for value in description.values())
    if isinstance(description, (list, tuple)):
        return sum(least_arrays(value) for value in description)
    return 0


class _Writer:
    """Writes a description, and counts what is in it: the same layer may stand in many places."""

    def __init__(self, function: str):
        self.function, self.parts = function, 0

    def thing(self, path: str, thing: Cell | Layer, level: int) -> dict[str, Any]:
        self.count(1)
        if level > MOST_LEVELS:
            self.refuse("layer", f"be {MOST_LEVELS} levels deep at most", "more")
        recipe = recipe_of(thing)
        if recipe is None or recipe.factory not in FACTORIES:
            got = f"a {type(thing).__name__} of other functions"
            self.refuse(path, "be as a factory of rnnjax has made it", got)
        options = {}
        for name, value in recipe.options.items():
            at = f"{path}.{name}"
            if is_dtype(recipe.factory, name):
                options[name] = self.dtype(at, value)
            elif not is_initialiser(name):
                options[name] = self.value(at, name, value, level + 1)
        return {"factory": recipe.factory, "options": options}

    def value(self, path: str, name: str, value: Any, level: int) -> Any:
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, numbers.Real):
            return self.number(path, name, value)
        if isinstance(value, Chrono):
            return {"chrono": int(value.max_steps)}
        if isinstance(value, (Cell, Layer)):
            return self.thing(path, value, level)
        if isinstance(value, (tuple, list)):
            return [self.value(f"{path}[{i}]", "", v, level + 1) for i, v in enumerate(value)]
        for word, function in FUNCTIONS.items():
            if value is function or value is ALIASES.get(word):
                return {"function": word}
        wanted = "be a function that files can name, such as jax.nn.relu"
        self.refuse(path, wanted, _checks.kind(value))

    def number(self, path: str, name: str, value: numbers.Real) -> int | float:
        number = int(value) if isinstance(value, numbers.Integral) else float(value)
        if not abs(number) < LARGE:
            self.refuse(path, f"be below {LARGE}", number)
        self.count(number if name in COUNTED else 0)
        return number

    def dtype(self, path: str, value: Any) -> str | None:
        name = None if value is None else jnp.dtype(value).name
        if name is not None and name not in DTYPES:
            self.refuse(path, f"be one of {', '.join(DTYPES)}", name)
        return name

    def count(self, more: int | float) -> None:
        self.parts += max(more, 0)
        if self.parts > MOST_PARTS:
            self.refuse("layer", f"have {MOST_PARTS} layers, heads and rounds at most", "more")

    def refuse(self, path: str, wanted: str, got: Any) -> NoReturn:
        _checks.refuse(self.function, path, wanted, got, KEEP)


class _Builder:
    """Makes what is described, and counts it; a dict or list of Python may stand in many places."""

    def __init__(self, source: Source):
        self.source, self.parts, self.values = source, 0, 0

    def thing(self, path: str, tree: dict[str, Any], level: int) -> Cell | Layer:
        at = f"{path}." if path else ""
        self.count(1)
        factory = self.name(f"{at}factory", tree.get("factory"), FACTORIES)
        options = tree.get("options")
        if set(tree) != {"factory", "options"} or not isinstance(options, dict):
            self.source.refuse(path or "description", "have factory and options", _keys(tree))
        known = {
            name: option
            for name, option in inspect.signature(factory).parameters.items()
            if not is_initialiser(name)
        }
        for name in options:
            if name not in known:
                self.source.refuse(f"{at}options", f"be those of {factory.__name__}", short(name))
        for name, option in known.items():
            if option.default is option.empty and name not in options:
                self.source.refuse(f"{at}options", f"have {name}", _keys(options))
        values = {}
        for name in (name for name in known if name in options):
            place, value = f"{at}options.{name}", options[name]
            if is_dtype(factory.__name__, name):
                values[name] = None if value is None else self.name(place, value, DTYPES)
            else:
                values[name] = self.value(place, name, value, level + 1)
        try:
            return _call(factory, known, values)
        except (TypeError, ValueError) as error:
            wanted = f"be what {factory.__name__} takes"
            self.source.refuse(f"{at}options", wanted, f'"{brief(error)}"')

    def value(self, path: str, name: str, value: Any, level: int) -> Any:
        if level > MOST_LEVELS:
            self.source.refuse("description", f"be {MOST_LEVELS} levels deep at most", "more")
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, (int, float)):
            return self.number(path, name, value)
        if isinstance(value, (list, tuple)):
            self.count_values(len(value))
            return tuple(self.value(f"{path}[{i}]", "", v, level + 1) for i, v in enumerate(value))
        if isinstance(value, dict) and set(value) == {"function"}:
            return self.name(f"{path}.function", value["function"], FUNCTIONS)
        if isinstance(value, dict) and set(value) == {"chrono"}:
            return self.chrono(f"{path}.chrono", value["chrono"])
        if isinstance(value, dict):
            return self.thing(path, value, level)
        wanted = "be a number, a word, a list or a description"
        self.source.refuse(path, wanted, f"a {type(value).__name__}")

    def number(self, path: str, name: str, value: int | float) -> int | float:
        if not abs(value) < LARGE:  # nor NaN
            self.source.refuse(path, f"be below {LARGE}", short(value))
        self.count(value if name in COUNTED else 0)
        return value

    def count(self, more: int | float) -> None:
        self.parts += max(more, 0)
        if self.parts > MOST_PARTS:
            wanted = f"have {MOST_PARTS} layers, heads and rounds at most"
            self.source.refuse("description", wanted, "more")

    def count_values(self, more: int) -> None:
        self.values += more
        if self.values > MOST_VALUES:
            wanted = f"have {MOST_VALUES} values in lists at most"
            self.source.refuse("description", wanted, "more")

    def chrono(self, path: str, max_steps: Any) -> Chrono:
        if type(max_steps) is not int or not 3 <= max_steps < LARGE:
            self.source.refuse(path, "be a whole number from 3", short(max_steps))
        return chrono(max_steps)

    def name(self, path: str, value: Any, names: dict[str, Any]) -> Any:
        if not isinstance(value, str) or value not in names:
            few = ", ".join(names) if len(names) < 10 else "the names that rnnjax.describe writes"
            self.source.refuse(path, f"be one of {few}", short(value))
        return names[value]


def _call(factory: Any, known: dict[str, inspect.Parameter], values: dict[str, Any]) -> Any:
    """Call a factory as one writes it, without defaults, so that equal values are one."""
    args, kwargs = [], {}
    for name, value in values.items():
        option = known[name]
        if option.kind is option.VAR_POSITIONAL:
            args.extend(value if isinstance(value, tuple) else (value,))
        elif option.kind is option.POSITIONAL_OR_KEYWORD:
            args.append(_by_name(value) if name == "rates" else value)
        elif type(value) is not type(option.default) or value != option.default:
            kwargs[name] = value
    return factory(*args, **kwargs)


def _by_name(rates: Any) -> Any:
    """The rates of `zoneout` as it takes them: one number, or by name."""
    if not isinstance(rates, tuple):
        return rates
    if not all(isinstance(p, tuple) and len(p) == 2 and isinstance(p[0], str) for p in rates):
        way_out = 'give one number, or pairs such as ["h", 0.1]'
        _checks.refuse("zoneout", "rates", "be pairs of names and numbers", short(rates), way_out)
    return dict(rates)


def _keys(tree: dict[Any, Any]) -> str:
    """The names in a dict, as far as they fit into a message."""
    return ", ".join(ascii(str(key)[:20]) for key in list(tree)[:5]) or "nothing"
