"""From the weights of each layer and direction to a network of ours, and back."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.cells.base import Cell
from rnnjax.cells.coupled import CoupledLSTMParams, coupled_lstm
from rnnjax.cells.elman import ElmanParams, elman
from rnnjax.cells.gru import GRUParams, gru
from rnnjax.cells.lstm import LSTMParams, lstm
from rnnjax.cells.mgu import MGUParams, mgu
from rnnjax.cells.peephole import PeepholeLSTMParams, peephole_lstm
from rnnjax.cells.projected import ProjectedLSTMParams, projected_lstm
from rnnjax.sequence.arguments import check_params
from rnnjax.sequence.bidirectional import bidirectional
from rnnjax.sequence.layer import Layer
from rnnjax.sequence.merge import concatenate
from rnnjax.sequence.parts import REASONS, Part, parts_of, whole_parts
from rnnjax.sequence.stack import stack
from rnnjax.storage import leaves


def cell_of(
    params: Any,
    *,
    gate_activation: Callable[[Any], Any] = jax.nn.sigmoid,
    activation: Callable[[Any], Any] = jnp.tanh,
    reset: Literal["after", "before"] = "after",
) -> Cell:
    """The cell that these params, of one direction, belong to.

    They do not tell the activations of an Elman cell, an LSTM and a GRU, nor where a GRU resets;
    of other cells these are as usual, whatever is asked for.
    """
    width, dtype = params.w_hh.shape[-1], params.w_ih.dtype
    learned = params.initial is not None
    match params:
        case LSTMParams():
            return lstm(
                width // 4,
                bias=params.b is not None,
                gate_activation=gate_activation,
                activation=activation,
                learned_carry=learned,
                param_dtype=dtype,
            )
        case ProjectedLSTMParams():
            return projected_lstm(
                width // 4,
                out_features=params.w_hr.shape[1],
                learned_carry=learned,
                param_dtype=dtype,
            )
        case PeepholeLSTMParams():
            return peephole_lstm(width // 4, learned_carry=learned, param_dtype=dtype)
        case CoupledLSTMParams():
            return coupled_lstm(width // 3, learned_carry=learned, param_dtype=dtype)
        case GRUParams():
            return gru(
                width // 3,
                reset=reset,
                bias=params.b is not None,
                gate_activation=gate_activation,
                activation=activation,
                learned_carry=learned,
                param_dtype=dtype,
            )
        case MGUParams():
            return mgu(width // 2, learned_carry=learned, param_dtype=dtype)
        case ElmanParams():
            bias = params.b is not None
            return elman(
                width, activation=activation, bias=bias, learned_carry=learned, param_dtype=dtype
            )
    raise TypeError(type(params))


def one_layer(
    cell: Cell | Layer,
    directions: Sequence[Any],
    merge: Callable[[Any, Any], Any] = concatenate,
    *,
    function: str = "one_layer",
    name: str = "source",
) -> tuple[Cell | Layer, PyTree]:
    """A cell, or a bidirectional layer where there are two directions, and its params.

    `name` is what the caller calls the two directions, which must be alike.
    """
    if len(directions) == 1:
        return cell, directions[0]
    check_alike(function, name, *directions)
    both = jax.tree.map(lambda *ways: np.stack(ways), *directions)
    return bidirectional(cell, merge=merge), both


def check_alike(function: str, name: str, forwards: PyTree, backwards: PyTree) -> None:
    """Refuse two directions of other kinds, shapes or dtypes, by what differs first."""
    kinds = [jax.tree.structure(jax.tree.map(lambda _: 0, way)) for way in (forwards, backwards)]
    leaves = [
        {jax.tree_util.keystr(path).removeprefix("."): leaf for path, leaf in flat}
        for flat in map(jax.tree_util.tree_leaves_with_path, (forwards, backwards))
    ]
    names = list(dict.fromkeys([*leaves[0], *leaves[1]]))
    told = [[_checks.kind(way[n]) if n in way else "none" for way in leaves] for n in names]
    differ = [(n, *two) for n, two in zip(names, told, strict=True) if two[0] != two[1]]
    if not differ and kinds[0] == kinds[1]:
        return
    got = "params of two kinds"
    if type(forwards) is not type(backwards):
        got = f"{type(forwards).__name__} and {type(backwards).__name__}"
    elif differ:
        got = "{} {} and {}".format(*differ[0])
    way_out = "here both directions are one cell; build the two layers by hand"
    _checks.refuse(function, name, "hold two directions that are alike", got, way_out)


def stacked(
    function: str, names: Sequence[str], layers: Sequence[Cell | Layer], trees: Sequence[PyTree]
) -> tuple[Layer, PyTree]:
    """A stack of layers, each of which reads what the one below it hands on; and its params.

    `names` are what the caller calls them.
    """
    below: Any = None
    for k, (name, layer, params) in enumerate(zip(names, layers, trees, strict=True)):
        shape = getattr(layer.in_spec(params), "shape", ())
        reads = shape[-1] if shape else None
        if isinstance(below, int) and reads not in (None, below):
            wanted = f"read the {below} features of `{names[k - 1]}`"
            _checks.refuse(function, name, wanted, reads, "give the parts from bottom to top")
        width = layer.out_features
        below = width if isinstance(layer, Cell) else layer.out_features(below or reads)
    return stack(*layers), tuple(trees)


def as_params(function: str, params: PyTree) -> PyTree:
    """Params of NumPy as those of JAX, in the dtype that they have."""

    def leaf(array: np.ndarray) -> jax.Array:
        if array.dtype == np.float64 and not jax.config.read("jax_enable_x64"):
            way_out = 'call jax.config.update("jax_enable_x64", True), or give dtype="float32"'
            wish = "be of a dtype that JAX has switched on"
            _checks.refuse(function, "dtype", wish, "float64", way_out)
        return jnp.asarray(array)

    return jax.tree.map(leaf, params)


class Level(NamedTuple):
    """One recurrent part of a network of ours, read for another framework.

    Attributes:
        part: as it stands in the network.
        kind: the name of its factory.
        directions: params of each way, arrays of NumPy.
    """

    part: Part
    kind: str
    directions: tuple[Any, ...]

    @property
    def where(self) -> str:
        """How messages and reports name it."""
        return self.part.name or "the layer"

    def named(self, field: str, way: int) -> str:
        """The name of an array of ours in a report."""
        start = f"{self.part.name}." if self.part.name else ""
        return f"{start}{field}" + (f"[{way}]" if len(self.directions) > 1 else "")


def notes_of(part: Part) -> list[str]:
    """What a part has or does that weights alone do not tell."""
    where = part.name or "the layer"
    notes = [f"{where}: without {note}, which is off at inference" for note in part.notes]
    if part.small:
        notes.append(f"{where}: {part.small} weights, multiplied out to float32")
    if part.tied:
        notes.append(
            f"{where}: the matrix of {part.tied} again; here both are one, and trained as one"
        )
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(part.params)}
    for option, does in (("dtype", "computes"), ("carry_dtype", "keeps its carry")):
        wanted = part.options.get(option)
        if wanted is not None and dtypes and dtypes != {jnp.dtype(wanted)}:
            own = " and ".join(sorted(dtype.name for dtype in dtypes))
            name = jnp.dtype(wanted).name
            notes.append(f"{where}: {does} in {name} here; its weights are in {own}")
    return notes


def refuse_unused(
    function: str, name: str, value: Any, network: tuple[Any, Any], kinds: tuple[str, ...]
) -> None:
    """Refuse an option for cells of these kinds where the network has none of them."""
    if value is not None and not any(part.factory in kinds for part in parts_of(*network)):
        wanted = f"be None where no layer is {' or '.join(kinds)}"
        _checks.refuse(function, name, wanted, _checks.kind(value), "leave it out")


class Reading:
    """A network of ours, read for another framework; refuses what that one cannot hold."""

    def __init__(self, function: str, layer: Any, params: PyTree):
        self.function = function
        if not isinstance(layer, Cell | Layer):
            way_out = "give what made the params, such as rnnjax.lstm(8)"
            if hasattr(layer, "functional_params"):
                way_out = "give module.layer, and module.functional_params() as the params"
            got = _checks.kind(layer)
            wanted = "be a cell or a layer"
            _checks.refuse(function, "layer", wanted, got, way_out, error=TypeError)
        check_params(function, layer, params)
        leaves.check_arrays(function, leaves.named_leaves(function, "params", {"params": params}))
        host = jax.tree.map(np.asarray, params)
        self.parts = whole_parts(layer, host)
        self.notes = [note for part in self.parts for note in notes_of(part)]

    def levels(self, kinds: Sequence[str], *, usual: bool = True) -> list[Level]:
        """The parts, all of them cells of these kinds, with the usual activations or any."""
        return [self.level(part, kinds, usual=usual) for part in self.parts]

    def level(self, part: Part, kinds: Sequence[str], *, usual: bool = True) -> Level:
        """One part, if it is a cell of these kinds, with the usual activations or any."""
        if part.factory not in kinds or not isinstance(part.thing, Cell):
            got = REASONS.get(part.factory, part.factory)
            self.refuse(part, f"be one of {list(kinds)}", got, "convert it by hand")
        unusual = [
            name
            for name, common in (("gate_activation", jax.nn.sigmoid), ("activation", jnp.tanh))
            if part.factory != "elman" and part.options.get(name, common) is not common
        ]
        if usual and unusual:
            wanted = "have sigmoid gates and tanh, as there"
            self.refuse(part, wanted, f"another {unusual[0]}", "train with the usual ones")
        return Level(part, part.factory, part.directions)

    def forwards_only(self, part: Part, *, reset: str = "") -> None:
        """Refuse a direction that is only backward, other merges, and another place to reset."""
        if part.reverse:
            way_out = "make it bidirectional, or turn the sequence around yourself"
            self.refuse(part, "read forwards", "reverse=True", way_out)
        if part.merge not in (None, concatenate):
            got = getattr(part.merge, "__name__", part.merge)
            self.refuse(part, "concatenate its directions", got, "merge after it")
        own = part.options.get("reset", reset)
        if reset and own != reset:
            wanted = f"reset {reset} the product"
            self.refuse(part, wanted, f"reset={own!r}", "no weights make it equal")

    def refuse(self, part: Part, wanted: str, got: Any, way_out: str) -> NoReturn:
        """Say which part the other framework cannot hold, and why."""
        name = f"layer.{part.name}" if part.name else "layer"
        _checks.refuse(self.function, name, wanted, got, way_out)

    def without_initial(self, level: Level) -> tuple[Any, ...]:
        """Params of each way without a learned initial carry, which is noted as left out."""
        if getattr(level.directions[0], "initial", None) is None:
            return level.directions
        self.notes.append(
            f"{level.where}: the learned initial carry has no place there; give "
            "layer.init_carry(params, x) as the initial state"
        )
        return tuple(way._replace(initial=None) for way in level.directions)
