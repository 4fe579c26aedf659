"""Networks of which the library runs a step, or some steps, in one call: without XLA, on NumPy."""

import ctypes
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.methods.native.kinds import GRU_AFTER, Kind
from rnnjax.methods.native.library import library
from rnnjax.methods.native.packing import Packed, aligned, halves, pack, pack_bias

# As in native/problem.h.
DENSE, EMBEDDING, ACTIVATION = 16, 17, 18
TOGETHER = 16  # steps
ACTIVATIONS = {
    None: 0,
    jnp.tanh: 1,
    jax.nn.tanh: 1,
    jax.lax.tanh: 1,
    jax.nn.relu: 2,
    jax.nn.sigmoid: 3,
    jax.lax.logistic: 3,
    jax.nn.silu: 4,
}

FLOAT32 = np.dtype(np.float32)


def knows(activation: Any) -> bool:
    """Whether the library has this function."""
    try:
        return activation in ACTIVATIONS
    except TypeError:  # one that cannot be hashed
        return False


class StepLayer(NamedTuple):
    """A layer as the library takes it.

    Attributes:
        kind: the number of a cell, or one of those above.
        inputs: the width of its inputs.
        outputs: the width of its outputs, and of each leaf of its carry.
        leaves: of its carry.
        matrices: packed, of x and of h, and then those of a candidate that waits.
        bias: packed.
        candidate_bias: of a GRU.
        activation: of dense layers, and of those that are nothing else.
    """

    kind: int
    inputs: int
    outputs: int
    leaves: int = 0
    matrices: tuple[Packed, ...] = ()
    bias: np.ndarray | None = None
    candidate_bias: np.ndarray | None = None
    activation: int = 0


def fits_recurrent(kind: Kind, params: Any, width: int | None) -> bool:
    """Whether params have the shapes of a cell that reads inputs of a width, None of any."""
    (inputs, columns), (hidden, _) = (halves(w)[0].shape for w in (params.w_ih, params.w_hh))
    wanted = kind.gates * hidden
    biases = [(params.b, wanted)] + ([(params.b_hn, hidden)] if kind == GRU_AFTER else [])
    return (
        width in (None, inputs)
        and columns == halves(params.w_hh)[0].shape[1] == wanted
        and all(b is None or b.shape == (n,) for b, n in biases)
    )


def fits_dense(params: Any, width: int | None) -> bool:
    """The same for a dense layer."""
    inputs, outputs = halves(params.w)[0].shape
    return width in (None, inputs) and (params.b is None or params.b.shape == (outputs,))


def recurrent(kind: Kind, params: Any) -> StepLayer:
    """A cell of the library."""
    matrices = [halves(params.w_ih), halves(params.w_hh)]
    inputs, hidden = (len(values) for values, _ in matrices)
    first = 2 if kind.two_products else kind.gates
    # Columns of the candidate of a GRU that resets first stand apart: its product waits.
    parts = [(slice(0, first * hidden), first)]
    if kind.two_products:
        parts.append((slice(first * hidden, None), 1))
    bias = np.zeros(kind.gates * hidden) if params.b is None else np.asarray(params.b)
    packed = [pack(columns(matrix, part), gates) for part, gates in parts for matrix in matrices]
    biases = [pack_bias(bias[part], hidden, gates) for part, gates in parts]
    if kind == GRU_AFTER:
        b_hn = np.zeros(hidden) if params.b_hn is None else np.asarray(params.b_hn)
        biases.append(aligned(np.pad(b_hn.astype(np.float32), (0, -hidden % 16))))
    leaves = 2 if kind.has_c else 1
    candidate = biases[1] if biases[1:] else None
    return StepLayer(kind.number, inputs, hidden, leaves, tuple(packed), biases[0], candidate)


def columns(matrix: tuple[np.ndarray, np.ndarray | None], part: slice) -> Any:
    """Some columns of values and scales."""
    values, scales = matrix
    return values[:, part] if scales is None else (values[:, part], scales[part])


def dense(params: Any, activation: Any) -> StepLayer:
    """A dense layer; the activation is one of those above."""
    inputs, outputs = halves(params.w)[0].shape
    bias = pack_bias(params.b, outputs, 1)
    matrices = (pack(params.w, 1),)
    return StepLayer(DENSE, inputs, outputs, 0, matrices, bias, activation=ACTIVATIONS[activation])


def embedding(params: Any) -> StepLayer:
    """Vectors of tokens."""
    values, scales = halves(params.w)
    table = Packed(aligned(values), None if scales is None else aligned(scales), len(values))
    count, width = values.shape
    return StepLayer(EMBEDDING, count, width, matrices=(table,))


def elementwise(activation: Any, width: int) -> StepLayer:
    """An activation alone."""
    return StepLayer(ACTIVATION, width, width, activation=ACTIVATIONS[activation])


class _Weights(ctypes.Structure):
    _fields_ = (
        ("values", ctypes.c_void_p),
        ("scales", ctypes.c_void_p),
        ("rows", ctypes.c_int64),
        ("stored", ctypes.c_int32),
    )


class _Layer(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_int32),
        ("activation", ctypes.c_int32),
        ("inputs", ctypes.c_int64),
        ("outputs", ctypes.c_int64),
        ("weights", _Weights * 4),
        ("bias", ctypes.c_void_p),
        ("candidate_bias", ctypes.c_void_p),
    )


def _described(layer: StepLayer) -> _Layer:
    pointer = lambda a: None if a is None else a.ctypes.data
    matrices = (_Weights * 4)(
        *(_Weights(pointer(m.values), pointer(m.scales), m.rows, m.stored) for m in layer.matrices)
    )
    sizes = (layer.kind, layer.activation, layer.inputs, layer.outputs)
    return _Layer(*sizes, matrices, pointer(layer.bias), pointer(layer.candidate_bias))


class Network:
    """Layers one above the other, with weights packed once.

    Attributes:
        layers: from bottom to top; an embedding stands at the bottom alone.
        of_tokens: how many tokens the first layer knows; None where it reads floats.
        widths: of every leaf of the carry.
    """

    def __init__(self, layers: Sequence[StepLayer]):
        self.layers = tuple(layers)  # which hold the arrays
        first = self.layers[0]
        self.of_tokens = first.matrices[0].rows if first.kind == EMBEDDING else None
        self.widths = tuple(layer.outputs for layer in self.layers for _ in range(layer.leaves))
        self.table = (_Layer * len(self.layers))(*map(_described, self.layers))
        self.run = library().rnnjax_steps
        self.run.argtypes, self.run.restype = [ctypes.c_char_p], None
        self.rooms: list[Room] = []  # that no call works in now

    def plan(self, steps: int | None, batch: tuple[int, ...]) -> "Plan":
        """How calls of these sizes are made; None is a single step, whose arrays have no time."""
        return Plan(self, steps, batch)

    def take_room(self, numbers: int) -> "Room":
        """Somewhere to work in; other threads have others.

        One that is too small makes way for a larger one, so there are never more than calls at the
        same time, whatever their shapes.
        """
        try:
            room = self.rooms.pop()
        except IndexError:
            return Room(numbers)
        return room if room.numbers >= numbers else Room(numbers)


class Room:
    """An array to work in, and where it is."""

    __slots__ = ("address", "array", "numbers")

    def __init__(self, numbers: int):
        self.numbers, self.array = numbers, aligned(np.zeros(numbers, np.float32))
        self.address = self.array.ctypes.data


class Plan:
    """Calls of one shape.

    Attributes:
        shapes: of the leaves of a carry.
    """

    def __init__(self, network: Network, steps: int | None, batch: tuple[int, ...]):
        rows = int(np.prod(batch, dtype=np.int64))
        self.network, self.run_words = network, network.run
        self.shapes = tuple((*batch, n) for n in network.widths)
        time = () if steps is None else (steps,)
        self.out_shape = (*time, *batch, network.layers[-1].outputs)
        table, count = ctypes.addressof(network.table), len(network.layers)
        steps = 1 if steps is None else steps
        sizes = library().rnnjax_step_scratch
        sizes.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64]
        sizes.restype = ctypes.c_int64
        self.numbers = sizes(table, count, min(steps, TOGETHER), rows)
        self.head = (table, count, steps, rows)
        self.pack = struct.Struct(f"{8 + len(self.shapes)}q").pack
        # The leaves of a carry are one block; what is of one shape is cut into pieces sooner.
        self.even = len(set(network.widths)) == 1
        self.places = range(len(self.shapes))
        starts = np.cumsum([0, *(rows * n for n in network.widths)]).tolist()
        self.cuts = list(zip(map(slice, starts, starts[1:]), self.shapes, strict=True))
        self.block_shape = (len(self.shapes), *self.shapes[0]) if self.even else (starts[-1],)

    def fits(self, leaves: Sequence[Any]) -> bool:
        """Whether these are the leaves of a carry as the library takes them."""
        if len(leaves) != len(self.shapes):
            return False
        for leaf, shape in zip(leaves, self.shapes, strict=True):
            if type(leaf) is not np.ndarray or leaf.shape != shape:
                return False
            if leaf.dtype is not FLOAT32 and leaf.dtype != FLOAT32:  # that of a pickle is another
                return False
            if not leaf.flags.c_contiguous:
                return False
        return True

    def call(
        self, x: np.ndarray, leaves: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """The outputs, and the leaves of the new carry; who keeps outputs keeps no carry.

        What is given is contiguous, float32 (tokens int64) and of the plan's shapes.
        """
        room = self.network.take_room(self.numbers)
        y = np.empty(self.out_shape, FLOAT32)
        block = np.empty(self.block_shape, FLOAT32)
        end = address(block) if self.shapes else 0
        words = (address(x), address(y), room.address, end, *map(address, leaves))
        self.run_words(self.pack(*self.head, *words))
        self.network.rooms.append(room)
        if self.even:
            return y, [block[i] for i in self.places]  # half of what `list(block)` takes
        return y, [block[cut].reshape(shape) for cut, shape in self.cuts]


def address(
    array: np.ndarray,
    *,
    addressof: Any = ctypes.addressof,
    view: Any = ctypes.c_char.from_buffer,  # a third of the time of `array.ctypes.data`
) -> int:
    """Where an array begins."""
    try:
        return addressof(view(array))
    except (TypeError, ValueError):  # that which is read only, or has no elements
        return array.ctypes.data
