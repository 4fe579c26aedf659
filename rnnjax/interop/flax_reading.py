"""From the trees and modules of Flax to cells and layers of ours; Linen and NNX alike."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.cells.base import Cell
from rnnjax.interop.arrays import Arrays
from rnnjax.interop.assemble import (
    as_params,
    cell_of,
    check_alike,
    one_layer,
    refuse_unused,
    stacked,
)
from rnnjax.interop.flax_trees import THEIRS, USUAL, Tree, read_cell
from rnnjax.interop.report import Converted
from rnnjax.sequence.layer import Layer, recurrent
from rnnjax.sequence.merge import concatenate


class Told(NamedTuple):
    """The activations that the user has named; None where not."""

    gate_activation: Callable[[Any], Any] | None
    activation: Callable[[Any], Any] | None


class Source:
    """Weights of Flax on their way here.

    Attributes:
        arrays: of all levels; with several, names begin with a level's number.
        tree_of: `names, arrays, start -> Tree | None`, which of its cells has these layers.
    """

    def __init__(
        self,
        function: str,
        trees: Any,
        told: Told,
        tree_of: Callable[[set[str], Arrays, str], Tree | None],
        dtype: Any,
    ):
        self.function, self.told, self.tree_of = function, told, tree_of
        for name, value in told._asdict().items():
            if value is not None:
                _checks.function(function, name, value)
        self.arrays = Arrays(function, "source", trees, dtype=dtype)
        self.assumed: dict[str, None] = {}  # options that nobody has told, in order

    def one(self, module: Any) -> Converted:
        """A cell, an RNN or a Bidirectional."""
        layer, params = self.level("", "", module)
        return self.converted(layer, params)

    def several(self, modules: Sequence[Any]) -> Converted:
        """A stack of them."""
        pairs = [self.level(f"{k}.", f"layers_{k}.", module) for k, module in enumerate(modules)]
        layers, params = zip(*pairs, strict=True)
        names = [f"source[{k}]" for k in range(len(pairs))]
        return self.converted(*stacked(self.function, names, layers, params))

    def converted(self, layer: Any, params: PyTree) -> Converted:
        """What is handed back, once all arrays are accounted for."""
        if self.assumed:
            said = ", ".join(self.assumed)
            self.arrays.notes.append(
                f"arrays alone: with Flax's own {said}, which they do not tell"
            )
        asked, gated = self.told.gate_activation, ("lstm", "gru", "mgu")
        refuse_unused(self.function, "gate_activation", asked, (layer, params), gated)
        report = self.arrays.finish()
        return Converted(layer, as_params(self.function, params), report)

    def names(self, start: str) -> set[str]:
        """What stands directly under a name."""
        rest = (n.removeprefix(start) for n in self.arrays.left if n.startswith(start))
        return {name.partition(".")[0] for name in rest}

    def level(self, start: str, target: str, module: Any) -> tuple[Cell | Layer, PyTree]:
        """One level and its params."""
        names = self.names(start)
        if "forward_rnn" in names:
            return self.both_ways(start, target, module)
        if "cell" not in names:
            return self.cell(start, target, module)
        cell, params = self.cell(f"{start}cell.", target, self.inside(module, "cell", "an RNN"))
        self.assume(module, "reverse")
        reverse = bool(getattr(module, "reverse", False))
        if reverse and not module.keep_order:
            way_out = "its outputs come in the order of reading; set keep_order=True"
            wanted = "have keep_order=True where it has reverse=True"
            self.refuse_module("", wanted, "keep_order=False", way_out)
        return recurrent(cell, reverse=reverse), params

    def both_ways(self, start: str, target: str, module: Any) -> tuple[Cell | Layer, PyTree]:
        """A Bidirectional, whose RNNs must be alike."""
        ways = []
        for way, name in (("[0]", "forward_rnn"), ("[1]", "backward_rnn")):
            inner = f"{start}{name}."
            end = "cell." if "cell" in self.names(inner) else ""
            rnn = self.inside(module, name, "a Bidirectional")
            cell = getattr(rnn, "cell", rnn)
            ways.append(self.cell(inner + end, target, cell, way))
        (cell, forward), (other, backward) = ways
        name = f"source['{start}backward_rnn']"
        check_alike(self.function, name, forward, backward)
        if cell is not other:
            way_out = "here both directions are one cell; build the two layers by hand"
            wanted = "have the activations of forward_rnn"
            _checks.refuse(self.function, name, wanted, "others", way_out)
        self.assume(module, "merge_fn")
        merge = getattr(module, "merge_fn", concatenate)
        if getattr(merge, "__name__", "") == "_concatenate":  # Flax's default
            merge = concatenate
        return one_layer(cell, (forward, backward), merge)

    def assume(self, module: Any, option: str) -> None:
        """Take note of an option that has its default because there is no module."""
        if module is None:
            self.assumed[option] = None

    def inside(self, module: Any, name: str, wanted: str) -> Any:
        """A module within a module, which must be what the tree says; None where it is unknown."""
        if module is not None and not hasattr(module, name):
            way_out = "give the module that has made the weights"
            got = type(module).__name__
            self.refuse_module("", f"be {wanted}, as the weights are", got, way_out)
        return getattr(module, name, None)

    def cell(self, start: str, target: str, module: Any, way: str = "") -> tuple[Cell, Any]:
        """One cell and its params of one direction."""
        names = self.names(start)
        tree = self.tree_of(names, self.arrays, start)
        if tree is None:
            name = f"source[{start.rstrip('.')!r}]" if start else "source"
            wanted = "hold the weights of a cell of Flax that is known here"
            way_out = "give the tree of the cell alone, or a list of such trees"
            _checks.refuse(self.function, name, wanted, sorted(names)[:8], way_out)
        self.check_module(tree, module)
        params = read_cell(self.arrays, start, tree, target, way)
        gate, squash = (self.activation(name, tree, module) for name in USUAL)
        if module is not None:
            self.note_module(params, target, module)
        return cell_of(params, gate_activation=gate, activation=squash), params

    def activation(self, name: str, tree: Tree, module: Any) -> Callable[[Any], Any]:
        """One activation: as told, as the module has it, or as usual."""
        told = getattr(self.told, name)
        theirs = THEIRS[name]
        said = getattr(module, theirs, None)
        if None not in (told, said) and told is not said:
            way_out = "leave it out"
            wanted = f"be the module's {theirs}"
            _checks.refuse(self.function, name, wanted, _checks.kind(told), way_out)
        if told is None and theirs in tree.functions:
            self.assume(module, theirs)
        found = said or told or USUAL[name]
        if tree.module == "MGUCell" and found is not USUAL[name]:
            way_out = "rnnjax.mgu has no other"
            wanted = "be the usual one for an MGUCell"
            _checks.refuse(self.function, name, wanted, _checks.kind(found), way_out)
        return found

    def check_module(self, tree: Tree, module: Any) -> None:
        """Refuse a module that is not the one of these weights, or that has no equal here."""
        if module is None:
            return
        name = type(module).__name__
        # The two share their weights in Linen, and are told apart by them in NNX.
        if name.removeprefix("Optimized") != tree.module.removeprefix("Optimized"):
            way_out = "give the module that has made the weights"
            self.refuse_module("", f"be a {tree.module}, as the weights are", name, way_out)
        if getattr(module, "residual", False):
            way_out = "no cell of rnnjax adds the state before the activation"
            self.refuse_module(name, "have residual=False", "residual=True", way_out)

    def note_module(self, params: Any, target: str, module: Any) -> None:
        """What the module says that weights and cells have no place for."""
        where = target.rstrip(".") or "the cell"
        dtype = getattr(module, "dtype", None)
        if dtype is not None and jnp.dtype(dtype) != params.w_ih.dtype:
            name = jnp.dtype(dtype).name
            self.arrays.notes.append(f"{where}: computes in {name} there, in its own dtype here")
        init = getattr(module, "carry_init", None)
        if init not in (None, jax.nn.initializers.zeros):
            self.arrays.notes.append(f"{where}: its carry_init is not zeros; give the carry")

    def refuse_module(self, name: str, wanted: str, got: Any, way_out: str) -> NoReturn:
        """Say what is wrong with a module."""
        argument = f"module {name}".strip()
        _checks.refuse(self.function, argument, wanted, got, way_out)
