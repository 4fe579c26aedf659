"""Layers of ours as those of Keras: their data and their arrays."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells.gru import GRUParams
from rnnjax.interop import layouts
from rnnjax.interop.assemble import Level, Reading, notes_of
from rnnjax.interop.keras_config import (
    ACTIVATIONS,
    FACTORIES,
    MERGES,
    activation_name,
    data_of,
    layer_name,
    linear,
)
from rnnjax.interop.report import Row
from rnnjax.sequence.parts import REASONS, Part, whole_parts

CLASSES = {factory: name for name, factory in FACTORIES.items()}
KINDS = (*CLASSES, "embedding", "dense", "pointwise", "bidirectional")


class Written:
    """Layers of Keras, as they come out one by one."""

    def __init__(self, reading: Reading):
        self.reading = reading
        self.layers: list[dict[str, Any]] = []
        self.weights: list[np.ndarray] = []
        self.rows: list[Row] = []

    def add(self, part: Part) -> None:
        """Write one part of a network."""
        start = f"{layer_name(len(self.layers))}." if self.reading.parts[0].name else ""
        match part.factory:
            case "embedding":
                made = self.embedding(part, start)
            case "dense":
                made = self.dense(part, start)
            case "pointwise":
                name = self.name_of(part, part.options["function"], "function")
                made = data_of("Activation", {"activation": name} | self.dtype())
            case "bidirectional":
                made = self.both_ways_of_many(part, start)
            case _:
                level = self.level(part)
                merge = self.merge_mode(part) if len(level.directions) == 2 else None
                cell = self.recurrent(level)
                ways = ("forward.", "backward.") if len(level.directions) == 2 else ("",)
                for k, (way, params) in enumerate(zip(ways, self.ways(level), strict=True)):
                    self.arrays(level, params, k, start + way)
                made = self.both_ways(cell, merge) if len(ways) == 2 else cell
        self.layers.append(made)

    def dtype(self) -> dict[str, str]:
        """Of a layer without weights: that of the weights below it, or else above it."""
        told = [layer["config"].get("dtype") for layer in self.layers]
        above = [
            leaf.dtype.name for leaf in jax.tree.leaves([p.params for p in self.reading.parts])
        ]
        names = [name for name in reversed(told) if name] + above
        return {"dtype": names[0]} if names else {}

    def level(self, part: Part) -> Level:
        """A recurrent part, if it is one that Keras can be."""
        if part.factory not in KINDS:
            got = REASONS.get(part.factory, part.factory)
            way_out = "convert the other layers without it"
            self.reading.refuse(part, f"be one of {list(KINDS)}", got, way_out)
        level = self.reading.level(part, tuple(CLASSES), usual=False)
        if part.reverse:
            way_out = "make it bidirectional, or turn the sequence around yourself"
            self.reading.refuse(part, "read forwards", "reverse=True", way_out)
        return level

    def ways(self, level: Level) -> tuple[Any, ...]:
        """The params of each way, without a learned initial carry."""
        return self.reading.without_initial(level)

    def merge_mode(self, part: Part) -> str | None:
        """Keras's name for what makes one output of both ways."""
        merge = part.options["merge"] if part.factory == "bidirectional" else part.merge
        for name, function in MERGES.items():
            if function is merge:
                if name is None and part is not self.reading.parts[-1]:
                    wanted, way_out = "make one output of both ways", "nothing can read a pair"
                    self.reading.refuse(part, wanted, "rnnjax.merge.pair", way_out)
                return name
        got = getattr(merge, "__name__", merge)
        wanted = "merge by concatenate, add, multiply, average or pair"
        self.reading.refuse(part, wanted, got, "merge after it")

    def name_of(self, part: Part, function: Any, option: str) -> str:
        """Keras's name of a function."""
        name = activation_name(function)
        if name is None:
            got = getattr(function, "__name__", function)
            way_out = f"Keras has {', '.join(ACTIVATIONS)}"
            self.reading.refuse(part, f"have as {option} one of Keras's", got, way_out)
        return name

    def recurrent(self, level: Level, *, cell: bool = False) -> dict[str, Any]:
        """The data of a recurrent layer, or of its cell."""
        part, own = level.part, level.directions[0]
        config = {
            "units": own.w_hh.shape[0],
            "activation": self.name_of(part, part.options["activation"], "activation"),
            "use_bias": own.b is not None,
            "dtype": own.w_ih.dtype.name,
        }
        if level.kind != "elman":
            gate = part.options["gate_activation"]
            config["recurrent_activation"] = self.name_of(part, gate, "gate_activation")
        if level.kind == "gru":
            config["reset_after"] = part.options["reset"] == "after"
        if cell:
            return data_of(CLASSES[level.kind] + "Cell", config)
        return data_of(CLASSES[level.kind], {**config, "return_sequences": True})

    def both_ways(self, layer: dict[str, Any], merge: str | None) -> dict[str, Any]:
        """A layer of Keras that reads both ways."""
        config = {"layer": layer, "merge_mode": merge, "dtype": layer["config"]["dtype"]}
        return data_of("Bidirectional", config)

    def both_ways_of_many(self, part: Part, start: str) -> dict[str, Any]:
        """A stack of cells that is read both ways as a whole."""
        inner = part.options["layer"]
        cells: list[dict[str, Any]] = []
        merge = self.merge_mode(part)
        for k, way in enumerate(("forward.", "backward.")):
            params = jax.tree.map(lambda a, k=k: a[k], part.params)
            levels = []
            for own in whole_parts(inner, params):
                name = f"{part.name}.{own.name}" if part.name else own.name
                own = own._replace(name=name)
                self.reading.notes += [n for n in notes_of(own) if n not in self.reading.notes]
                if own.merge is not None:
                    way_out = "stack bidirectional layers"
                    wanted = "read one way inside a bidirectional layer"
                    self.reading.refuse(own, wanted, "bidirectional", way_out)
                levels.append(self.level(own))
            cells = [self.recurrent(level, cell=True) for level in levels]
            for i, level in enumerate(levels):
                [params] = self.ways(level)
                self.arrays(level, params, k, f"{start}{way}cells_{i}.", f"[{k}]")
        dtype = cells[0]["config"]["dtype"]
        stacked = data_of("StackedRNNCells", {"cells": cells, "dtype": dtype})
        config = {"cell": stacked, "return_sequences": True, "dtype": dtype}
        return self.both_ways(data_of("RNN", config), merge)

    def arrays(self, level: Level, params: Any, way: int, start: str, end: str = "") -> None:
        """The arrays of one cell and way in Keras's order."""
        gru = isinstance(params, GRUParams)
        order = lambda a: layouts.reorder(a, layouts.GRU, layouts.KERAS_GRU) if gru else a
        how = "r, z, n to z, r, h" if gru else "as it is"
        here = lambda *fields: ", ".join(level.named(field, way) + end for field in fields)
        self.put(f"{start}kernel", order(params.w_ih), here("w_ih"), how)
        self.put(f"{start}recurrent_kernel", order(params.w_hh), here("w_hh"), how)
        if params.b is None:
            return
        b_hn = getattr(params, "b_hn", None)
        if b_hn is None:
            self.put(f"{start}bias", order(params.b), here("b"), how)
            return
        recurrent = np.zeros_like(params.b)
        recurrent[-b_hn.shape[0] :] = b_hn
        bias = np.stack([order(params.b), recurrent])  # whose last block is last in both orders
        self.put(f"{start}bias", bias, here("b", "b_hn"), f"a row each; {how}")

    def put(self, name: str, array: Any, target: str, how: str) -> None:
        """Add one array."""
        self.weights.append(np.ascontiguousarray(array))
        self.rows.append(Row(name, array.shape, target, how))

    def embedding(self, part: Part, start: str) -> dict[str, Any]:
        """A table of vectors."""
        w = part.params.w
        self.put(f"{start}embeddings", w, f"{part.name}.w" if part.name else "w", "as it is")
        config = {"input_dim": w.shape[0], "output_dim": w.shape[1], "dtype": w.dtype.name}
        return data_of("Embedding", config)

    def dense(self, part: Part, start: str) -> dict[str, Any]:
        """A layer between or above the recurrent ones."""
        w, b = part.params
        activation = part.options["activation"]
        here = f"{part.name}." if part.name else ""
        config = {
            "units": w.shape[1],
            "activation": self.name_of(part, activation or linear, "activation"),
            "use_bias": b is not None,
            "dtype": jnp.dtype(w.dtype).name,
        }
        self.put(f"{start}kernel", w, f"{here}w", "as it is")
        if b is not None:
            self.put(f"{start}bias", b, f"{here}b", "as it is")
        return data_of("Dense", config)
