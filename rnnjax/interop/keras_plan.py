"""What each layer of Keras becomes here, before any array is read."""

from typing import Any, NamedTuple

from rnnjax.interop import keras_config
from rnnjax.interop.keras_config import CELLS, MERGES, NOISE, NUM_GATES, Source, Spec

ALONE = "convert the layers below and above it by themselves"
OPTIONS = {
    "units": None,
    "use_bias": True,
    "reset_after": True,
    **keras_config.USUAL,
}


class Thing(NamedTuple):
    """A layer of Keras that becomes one of ours, or a note.

    Attributes:
        spec: the layer.
        names: of its arrays, in their order.
        cells: of a recurrent one, those of each way.
        merge: of a bidirectional one.
        deep: whether the cells of a way are a stack, be it of one.
    """

    spec: Spec
    names: tuple[str, ...] = ()
    cells: tuple[tuple[Spec, ...], ...] = ()
    merge: Any = ()
    deep: bool = False


def plan(read: Source, spec: Spec) -> list[Thing]:
    """What becomes of a layer; refuses those that have no equal here."""
    name = spec.class_name
    if name == "InputLayer":
        return []
    if name == "TimeDistributed":
        inner = spec.inner("layer")
        if inner.class_name not in ("Dense", "Activation", "ReLU", "Softmax", *NOISE):
            wanted = "have a Dense, an activation or noise inside"
            read.refuse_layer(spec, wanted, inner.class_name, ALONE)
        return plan(read, inner._replace(name=spec.name))
    if name in (*NOISE, "Masking", "Activation", "ReLU", "Softmax"):
        return [Thing(spec)]
    if name == "Embedding":
        return [Thing(spec, (f"{spec.start}embeddings",))]
    if name == "Dense":
        return [Thing(spec, array_names(spec, spec.start, ("kernel",)))]
    if name in (*NUM_GATES, *CELLS, "RNN", "StackedRNNCells"):
        return [recurrent_thing(read, spec, (spec,), ("",))]
    if name == "Bidirectional":
        ways = (spec.inner("layer"), spec.inner("backward_layer"))
        ways = (ways[0], ways[1] if ways[1].class_name else ways[0])
        return [recurrent_thing(read, spec, ways, ("forward.", "backward."))]
    way_out = ALONE
    if name == "Flatten":
        way_out = "here each step is answered by itself: pool with rnnjax.train.both_ends or others"
    if name == "Functional":
        way_out = "give its layers in order as a list"
    read.refuse_layer(spec, "be a layer that has an equal here", name or "no class_name", way_out)


def recurrent_thing(
    read: Source, spec: Spec, ways: tuple[Spec, ...], starts: tuple[str, ...]
) -> Thing:
    """A recurrent layer with the cells of each way."""
    cells, names = [], []
    deep = is_deep(ways[0])
    for way, start in zip(ways, starts, strict=True):
        own = cells_of(read, way._replace(name=spec.name))
        cells.append(tuple(own))
        for k, cell in enumerate(own):
            place = f"cells_{k}." if deep else ""
            begin = f"{spec.start}{start}{place}"
            names += array_names(cell, begin, ("kernel", "recurrent_kernel"))
    if len(ways) == 1:
        return Thing(spec, tuple(names), tuple(cells), deep=deep)
    mode = spec.config.get("merge_mode", "concat")
    if mode not in MERGES:
        read.refuse_layer(spec, f"merge by one of {list(MERGES)}", repr(mode), "see Keras's manual")
    if ways[0].config.get("go_backwards"):
        way_out = "exchange the two layers"
        read.refuse_layer(spec, "have a first layer that goes forwards", "go_backwards", way_out)
    same = lambda own: [(c.class_name, *(option(c, name) for name in OPTIONS)) for c in own]
    if same(cells[0]) != same(cells[1]) or deep != is_deep(ways[1]):
        way_out = "both directions are one cell here"
        wanted = "have the same options both ways"
        read.refuse_layer(spec, wanted, "a backward_layer of another kind", way_out)
    check_backward(read, spec)
    return Thing(spec, tuple(names), tuple(cells), MERGES[mode], deep)


def is_deep(spec: Spec) -> bool:
    """Whether a layer has a stack of cells."""
    if spec.class_name == "RNN":
        spec = spec.inner("cell")
    return spec.class_name == "StackedRNNCells"


def check_backward(read: Source, spec: Spec) -> None:
    """Refuse a backward layer that Keras refuses, too: it would be read as another network."""
    ahead, back = spec.inner("layer").config, spec.inner("backward_layer")
    if not back.class_name:
        return
    got = [
        f"{name}={back.config.get(name, False)}"
        for name, wanted in (
            ("go_backwards", True),
            ("return_sequences", bool(ahead.get("return_sequences"))),
        )
        if bool(back.config.get(name)) is not wanted
    ]
    if got:
        way_out = "give what get_config() of a Bidirectional returns"
        wanted = "have a backward_layer that goes backwards and returns what the other returns"
        read.refuse_layer(spec, wanted, ", ".join(got), way_out)


def option(cell: Spec, name: str) -> Any:
    """What a cell is told, or Keras's default."""
    return cell.config.get(name, OPTIONS[name])


def cells_of(read: Source, spec: Spec) -> list[Spec]:
    """The cells of a recurrent layer from bottom to top, by the names of layers."""
    if spec.class_name in NUM_GATES:
        return [spec]
    if spec.class_name in CELLS:
        return [spec._replace(class_name=CELLS[spec.class_name])]
    if spec.class_name == "RNN":
        return cells_of(read, spec.inner("cell")._replace(name=spec.name))
    if spec.class_name == "StackedRNNCells":
        inner = [keras_config.spec_of(cell, spec.name) for cell in spec.config.get("cells", ())]
        if not inner:
            read.refuse_layer(spec, "have cells", "none", "give what get_config() returns")
        return [one for cell in inner for one in cells_of(read, cell._replace(name=spec.name))]
    wanted = f"have cells among {[*CELLS]}"
    read.refuse_layer(spec, wanted, spec.class_name or "none", "write that cell in rnnjax")


def array_names(spec: Spec, start: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """The names of a layer's arrays, with that of its bias if it has one."""
    names = (*names, "bias") if spec.config.get("use_bias", True) else names
    return tuple(start + name for name in names)
