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
from rnnjax.sequence.parts import Part, parts_of


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
    match params:
        case LSTMParams():
            return lstm(
                width // 4,
                bias=params.b is not None,
                gate_activation=gate_activation,
                activation=activation,
                param_dtype=dtype,
            )
        case ProjectedLSTMParams():
            return projected_lstm(width // 4, out_features=params.w_hr.shape[1], param_dtype=dtype)
        case PeepholeLSTMParams():
            return peephole_lstm(width // 4, param_dtype=dtype)
        case CoupledLSTMParams():
            return coupled_lstm(width // 3, param_dtype=dtype)
        case GRUParams():
            return gru(
                width // 3,
                reset=reset,
                bias=params.b is not None,
                gate_activation=gate_activation,
                activation=activation,
                param_dtype=dtype,
            )
        case MGUParams():
            return mgu(width // 2, param_dtype=dtype)
        case ElmanParams():
            bias = params.b is not None
            return elman(width, activation=activation, bias=bias, param_dtype=dtype)
    raise TypeError(type(params))


def one_layer(
    cell: Cell, directions: Sequence[Any], merge: Callable[[Any, Any], Any] = concatenate
) -> tuple[Cell | Layer, PyTree]:
    """A cell, or a bidirectional layer where there are two directions, and its params."""
    if len(directions) == 1:
        return cell, directions[0]
    both = jax.tree.map(lambda *ways: np.stack(ways), *directions)
    return bidirectional(cell, merge=merge), both


def as_params(function: str, params: PyTree, dtype: Any) -> PyTree:
    """Params of NumPy as those of JAX, in a dtype of choice; None keeps theirs."""
    wanted = None if dtype is None else _checks.float_dtype(function, "dtype", dtype)

    def leaf(array: np.ndarray) -> jax.Array:
        to = array.dtype if wanted is None else wanted
        if to == np.float64 and not jax.config.read("jax_enable_x64"):
            way_out = 'call jax.config.update("jax_enable_x64", True), or give dtype="float32"'
            wish = "be of a dtype that JAX has switched on"
            _checks.refuse(function, "dtype", wish, "float64", way_out)
        return jnp.asarray(array, to)

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


class Reading:
    """A network of ours, read for another framework; refuses what that one cannot hold."""

    def __init__(self, function: str, layer: Any, params: PyTree):
        self.function = function
        if not isinstance(layer, Cell | Layer):
            way_out = "give what made the params, such as rnnjax.lstm(8)"
            got = _checks.kind(layer)
            wanted = "be a cell or a layer"
            _checks.refuse(function, "layer", wanted, got, way_out, error=TypeError)
        check_params(function, layer, params)
        host = jax.tree.map(np.asarray, params)
        self.parts = parts_of(layer, host)
        self.notes = [
            f"{part.name or 'the layer'}: without {note}, which is off at inference"
            for part in self.parts
            for note in part.notes
        ]

    def levels(self, kinds: Sequence[str], *, usual: bool = True) -> list[Level]:
        """The parts, all of them cells of these kinds, with the usual activations or any."""
        return [self.level(part, kinds, usual=usual) for part in self.parts]

    def level(self, part: Part, kinds: Sequence[str], *, usual: bool = True) -> Level:
        """One part, if it is a cell of these kinds, with the usual activations or any."""
        if part.factory not in kinds or not isinstance(part.thing, Cell):
            got = part.factory or "a cell of your own"
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
