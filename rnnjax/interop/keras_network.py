"""Layers of ours from those of Keras and their arrays."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from rnnjax.cells.base import Cell
from rnnjax.cells.elman import ElmanParams
from rnnjax.cells.gru import GRUParams
from rnnjax.cells.lstm import LSTMParams
from rnnjax.interop import keras_config, keras_fields, layouts
from rnnjax.interop.arrays import Arrays
from rnnjax.interop.assemble import cell_of, one_layer, stacked
from rnnjax.interop.keras_config import CELLS, FUNCTION, MERGES, NOISE, NUM_GATES, Source, Spec
from rnnjax.interop.keras_plan import Thing, option
from rnnjax.sequence.dense import DenseParams, dense
from rnnjax.sequence.embedding import EmbeddingParams, embedding
from rnnjax.sequence.layer import Layer, pointwise, recurrent

GRU_HOW = "z, r, h to r, z, n"


class Network:
    """Layers of ours, as they come out one by one."""

    def __init__(self, read: Source, arrays: Arrays):
        self.read, self.arrays = read, arrays
        self.layers: list[Any] = []
        self.trees: list[Any] = []
        self.places: list[str] = []  # how messages call the layers
        self.last: Spec | None = None  # the layer that handed on its last output only
        self.ended = ""  # why nothing may follow
        self.masked = False  # whether a layer below tells which steps to skip

    def add(self, thing: Thing) -> None:
        """Add what a layer becomes."""
        spec = thing.spec
        self.note_precision(spec)
        if spec.class_name in NOISE:
            rate = spec.config.get(NOISE[spec.class_name])
            self.note(spec, f"without {spec.class_name} {rate}, which is off at inference")
            return
        if spec.class_name == "Masking":
            value = spec.config.get("mask_value", 0.0)
            where = f"where all features are {value}, whatever the layers below skip"
            self.note(spec, f"skips steps {where}; give lengths=, or mask= that is False there")
            self.masked = True
            return
        if self.ended:
            way_out = "convert the layers up to there, and those above it by themselves"
            self.read.refuse_layer(spec, "have nothing below that ends", self.ended, way_out)
        if thing.cells:
            layer, tree = self.recurrent(thing)
        elif spec.class_name == "Embedding":
            layer, tree = self.embedding(thing)
        elif spec.class_name == "Dense":
            layer, tree = self.dense(thing)
        else:
            layer, tree = self.pointwise(spec), ()
        self.layers.append(layer)
        self.trees.append(tree)
        self.places.append(keras_config.place(spec.name))

    @property
    def target(self) -> str:
        """How names of ours begin in the report."""
        return f"layers_{len(self.layers)}." if self.read.whole else ""

    def note(self, spec: Spec, text: str) -> None:
        """Tell what else one should know about a layer, once for both directions."""
        note = f"{spec.name or spec.class_name}: {text}"
        if note not in self.arrays.notes:
            self.arrays.notes.append(note)

    def note_precision(self, spec: Spec) -> None:
        """Tell where Keras computes in another dtype than that of the weights."""
        argument = f"{keras_config.place(spec.name)}.config"
        name = keras_fields.policy_name(argument, spec.config.get("dtype"))
        if name.startswith("mixed_"):
            compute = name.removeprefix("mixed_")
            self.note(spec, f"computes in {compute} there; here in the dtype of weights and inputs")

    def activation(self, spec: Spec, option: str = "activation") -> Callable[..., Any]:
        """The function of JAX that a layer names, with a note where versions of Keras differ."""
        function = self.read.activation(spec, option)
        if function is jax.nn.hard_sigmoid and self.read.version != "3":
            text = "is taken as that of Keras 3, of slope 1/6; that of Keras 2 has slope 0.2"
            self.note(spec, f"{option} hard_sigmoid {text}")
        return function

    def embedding(self, thing: Thing) -> tuple[Layer, Any]:
        """A table of vectors."""
        w = self.arrays.take(
            thing.names[0],
            (thing.spec.config.get("input_dim"), thing.spec.config.get("output_dim")),
            target=f"{self.target}w",
            how="as it is",
        )
        if thing.spec.config.get("mask_zero"):
            self.note(thing.spec, "skips token 0; give lengths=, or mask=(tokens != 0)")
            self.masked = True
        return embedding(*w.shape, param_dtype=w.dtype), EmbeddingParams(w)

    def dense(self, thing: Thing) -> tuple[Layer, Any]:
        """A layer between or above the recurrent ones."""
        activation = self.activation(thing.spec)
        target, how = self.target, "as it is"
        shape = (None, thing.spec.config.get("units"))
        w: Any = self.arrays.take(thing.names[0], shape, target=f"{target}w", how=how)
        b: Any = None
        for name in thing.names[1:]:
            b = self.arrays.take(name, (w.shape[1],), target=f"{target}b", how=how)
        squash = None if activation is keras_config.linear else activation
        layer = dense(w.shape[1], activation=squash, bias=b is not None, param_dtype=w.dtype)
        return layer, DenseParams(w, b)

    def pointwise(self, spec: Spec) -> Layer:
        """A function of the features."""
        if spec.class_name == "Activation":
            return pointwise(self.activation(spec))
        usual = {"max_value": None, "negative_slope": 0.0, "threshold": 0.0, "axis": -1}
        unusual = {n: v for n, v in spec.config.items() if n in usual and v != usual[n]}
        if unusual:
            way_out = "write that function as a layer of its own"
            wanted = f"be {spec.class_name} with its usual options"
            self.read.refuse_layer(spec, wanted, unusual, way_out)
        return pointwise(jax.nn.relu if spec.class_name == "ReLU" else jax.nn.softmax)

    def recurrent(self, thing: Thing) -> tuple[Any, Any]:
        """Cells of one way or both, from their arrays."""
        spec = thing.spec
        if self.last is not None:
            way_out = "give return_sequences=True below"
            got = f"only the last output of {self.last.name!r}"
            self.read.refuse_layer(spec, "have a sequence to read", got, way_out)
        names = iter(thing.names)
        both = len(thing.cells) == 2
        many = thing.deep
        made = []
        for way, own in enumerate(thing.cells):
            end = f"[{way}]" if both else ""
            place = [f"{self.target}layers_{k}." if many else self.target for k in range(len(own))]
            made.append([self.cell(c, names, p, end) for c, p in zip(own, place, strict=True)])
        if spec.class_name not in CELLS and spec.class_name != "StackedRNNCells":
            self.ending(spec, thing)
        reverse = bool(spec.config.get("go_backwards"))
        alone = both or spec.class_name in CELLS
        ways = []
        for way in made:
            layers = [cell if alone else recurrent(cell, reverse=reverse) for cell, _ in way]
            trees = [params for _, params in way]
            within = [f"{keras_config.place(spec.name)}.cells[{k}]" for k in range(len(way))]
            join = stacked(FUNCTION, within, layers, trees) if many else (layers[0], trees[0])
            ways.append(join)
        trees = [tree for _, tree in ways]
        name = keras_config.place(spec.name)
        return one_layer(ways[0][0], trees, thing.merge, function=FUNCTION, name=name)

    def cell(self, spec: Spec, names: Any, target: str, end: str) -> tuple[Cell, Any]:
        """The cell of one set of arrays, and its params."""
        activation = self.activation(spec)
        gates: dict[str, Any] = {}
        if spec.class_name != "SimpleRNN":
            gates["gate_activation"] = self.activation(spec, "recurrent_activation")
        params = self.weights(spec, names, target, end)
        rates = {n: spec.config.get(n) for n in ("dropout", "recurrent_dropout")}
        for name, rate in rates.items():
            if rate:
                self.note(spec, f"without {name} {rate}, which is off at inference")
        reset = "after" if option(spec, "reset_after") else "before"
        return cell_of(params, activation=activation, reset=reset, **gates), params

    def weights(self, spec: Spec, names: Any, target: str, end: str) -> Any:
        """The params of one cell of one way."""
        gru = spec.class_name == "GRU"
        here = lambda *fields: ", ".join(f"{target}{field}{end}" for field in fields)
        how = GRU_HOW if gru else "as it is"
        units, count = spec.config.get("units"), NUM_GATES[spec.class_name]
        name, recurrent_name = next(names), next(names)
        w_hh: Any = self.arrays.take(recurrent_name, (units, None), target=here("w_hh"), how=how)
        wide = count * w_hh.shape[0]
        if w_hh.shape[1] != wide:
            wanted = f"have {count} times {w_hh.shape[0]} columns for {spec.class_name}"
            way_out = "give the arrays of one layer in the order of get_weights()"
            self.arrays.refuse(recurrent_name, wanted, w_hh.shape[1], way_out)
        w_ih: Any = self.arrays.take(name, (None, wide), target=here("w_ih"), how=how)
        # As Keras has them, kernel first.
        self.arrays.rows[-2:] = self.arrays.rows[:-3:-1]
        b: Any = None
        b_hn: Any = None
        after = gru and option(spec, "reset_after")
        if option(spec, "use_bias"):
            shape = (2, wide) if after else (wide,)
            fields = ("b", "b_hn") if after else ("b",)
            if after:
                how = f"rows summed, but for the last block; {GRU_HOW}"
            b = self.arrays.take(next(names), shape, target=here(*fields), how=how)
        if not gru:
            make = LSTMParams if spec.class_name == "LSTM" else ElmanParams
            return make(w_ih, w_hh, b)
        order: Any = lambda array: layouts.reorder(array, layouts.KERAS_GRU, layouts.GRU)
        if after and b is not None:
            rows = order(b)
            split = 2 * w_hh.shape[0]
            b_hn = rows[1, split:]
            b = rows[0] + np.concatenate([rows[1, :split], np.zeros_like(b_hn)])
            self.arrays.note_sum(here("b"), b)
        elif b is not None:
            b = order(b)
        return GRUParams(order(w_ih), order(w_hh), b, b_hn)

    def ending(self, spec: Spec, thing: Thing) -> None:
        """See what a layer hands on: a sequence, or its last output."""
        told = spec.inner("layer").config if thing.merge else spec.config
        if told.get("stateful"):
            self.note(spec, "is stateful there; here hand the carry on yourself")
        if told.get("return_sequences"):
            if self.masked and not thing.merge and not told.get("zero_output_for_mask"):
                text = "at skipped steps its output is the last one again there, and 0 here"
                self.note(spec, text)
            if told.get("go_backwards") and not thing.merge:
                wanted = "go forwards, or return its last output alone"
                got = "go_backwards, which leaves its outputs in the order of reading"
                self.read.refuse_layer(spec, wanted, got, "turn the sequences around yourself")
        elif not thing.merge:
            self.last = spec
            where = "ys[0]" if told.get("go_backwards") else "rnnjax.last_output(ys, lengths)"
            self.note(spec, f"hands on its last output only; take it at the end, {where}")
        else:
            self.ended = f"{spec.class_name} {spec.name!r} without return_sequences"
            text = "merges the last output of each way; take carry.h[0] and carry.h[1], or for "
            self.note(spec, f"{text}'concat' rnnjax.train.both_ends of the outputs")
        if thing.merge is MERGES[None]:
            self.ended = f"{spec.class_name} {spec.name!r} with two outputs"
