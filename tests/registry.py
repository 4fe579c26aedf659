"""What the properties run over: a new cell, method or option is one line here."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from rnnjax import testing
from rnnjax.methods.base import Call
from rnnjax.methods.native.library import why_not_loaded

LOADED = why_not_loaded() is None
"""Whether the compiled library is here."""


class Entry(NamedTuple):
    """A factory of the hidden width, and the oracle of its cells.

    `space` are the axes of an input but the last; a `square` cell is as wide as its inputs;
    `possible` makes random numbers a carry that the cell can have.
    """

    make: Callable[..., rnnjax.Cell]
    oracle: testing.Oracle
    space: tuple[int, ...] = ()
    square: bool = False
    possible: Callable = lambda carry: carry

    def __call__(self, hidden, **options):
        return self.make(hidden, **options)


def entry(factory, oracle, *, space=(), square=False, **options):
    return Entry(functools.partial(factory, **options), oracle, space, square)


def hgrn(hidden, **options):
    """Two numbers of each complex one."""
    return rnnjax.hgrn(2 * hidden, **options)


def slstm(**options):
    """Two heads; n is above 0 in every carry."""
    made = entry(two_heads(rnnjax.slstm), testing.slstm(**options), **options)
    return made._replace(possible=lambda carry: carry._replace(n=0.5 + jnp.abs(carry.n)))


def two_heads(factory):
    """Two heads, each as wide as the hidden width that is asked for."""
    return lambda hidden, **options: factory(2 * hidden, num_heads=2, **options)


def mlstm_of_two_heads(hidden, **options):
    """Twice as wide as told, so that two heads share any width."""
    return rnnjax.mlstm(2 * hidden, num_heads=2, key_features=3, **options)


CELLS = {
    "lstm": entry(rnnjax.lstm, testing.lstm()),
    "lstm, no bias": entry(rnnjax.lstm, testing.lstm(), bias=False),
    "lstm, learned carry": entry(rnnjax.lstm, testing.lstm(), learned_carry=True),
    "gru": entry(rnnjax.gru, testing.gru()),
    "gru, reset before": entry(rnnjax.gru, testing.gru(reset="before"), reset="before"),
    "gru, learned carry": entry(rnnjax.gru, testing.gru(), learned_carry=True),
    "elman": entry(rnnjax.elman, testing.elman()),
    "elman, relu": entry(
        rnnjax.elman, testing.elman(activation=testing.relu), activation=jax.nn.relu
    ),
    "min gru": entry(rnnjax.min_gru, testing.min_gru(), learned_carry=True),
    "min lstm": entry(rnnjax.min_lstm, testing.min_lstm()),
    "rg-lru": entry(rnnjax.rg_lru, testing.rg_lru(), square=True, num_heads=2),
    "lru": entry(rnnjax.lru, testing.lru(), state_features=3),
    "hgrn": entry(hgrn, testing.hgrn(lower_bound=0.3), lower_bound=0.3, learned_carry=True),
    "sru": entry(rnnjax.sru, testing.sru(), learned_carry=True),
    "sru, gates read the carry": entry(rnnjax.sru, testing.sru(), gates_read_carry=True),
    "qrnn": entry(rnnjax.qrnn, testing.qrnn()),
    "qrnn, ifo, of 3": entry(
        rnnjax.qrnn, testing.qrnn(pooling="ifo"), pooling="ifo", kernel_size=3
    ),
    "qrnn, f, of 1": entry(rnnjax.qrnn, testing.qrnn(pooling="f"), pooling="f", kernel_size=1),
    "peephole lstm": entry(rnnjax.peephole_lstm, testing.peephole_lstm(), learned_carry=True),
    "coupled lstm": entry(rnnjax.coupled_lstm, testing.coupled_lstm(), learned_carry=True),
    "projected lstm": entry(
        rnnjax.projected_lstm, testing.projected_lstm(), out_features=2, learned_carry=True
    ),
    "mgu": entry(rnnjax.mgu, testing.mgu()),
    "mgu, reset before": entry(
        rnnjax.mgu, testing.mgu(reset="before"), reset="before", learned_carry=True
    ),
    "indrnn": entry(rnnjax.indrnn, testing.indrnn(), learned_carry=True),
    "mogrifier lstm": entry(rnnjax.mogrifier_lstm, testing.mogrifier_lstm(), learned_carry=True),
    "mogrifier lstm, low rank": entry(
        rnnjax.mogrifier_lstm, testing.mogrifier_lstm(), rounds=2, rank=2
    ),
    "batch norm lstm": entry(
        rnnjax.batch_norm_lstm,
        testing.batch_norm_lstm(epsilon=1.0),
        max_steps=4,
        epsilon=1.0,
        learned_carry=True,
    ),
    "layer norm lstm": entry(
        rnnjax.layer_norm_lstm,
        testing.layer_norm_lstm(epsilon=1.0),
        epsilon=1.0,
        learned_carry=True,
    ),
    "layer norm gru": entry(
        rnnjax.layer_norm_gru,
        testing.layer_norm_gru(epsilon=1.0),
        epsilon=1.0,
        learned_carry=True,
    ),
    "multihead lstm": entry(
        two_heads(rnnjax.multihead_lstm), testing.multihead_lstm(), learned_carry=True
    ),
    "multihead gru": entry(
        two_heads(rnnjax.multihead_gru), testing.multihead_gru(), learned_carry=True
    ),
    "slstm": slstm(),
    "slstm, exponential forget": slstm(exponential_forget=True),
    "para gru": entry(rnnjax.para_gru, testing.para_gru(), learned_carry=True),
    "para lstm": entry(rnnjax.para_lstm, testing.para_lstm(), learned_carry=True),
    "conv lstm": entry(
        rnnjax.conv_lstm,
        testing.conv_lstm((3, 2)),
        space=(4, 3),
        kernel_size=(3, 2),
        peepholes=True,
        learned_carry=True,
    ),
    "conv lstm, lines": entry(
        rnnjax.conv_lstm, testing.conv_lstm((3,)), space=(4,), kernel_size=(3,)
    ),
    "conv lstm, volumes": entry(
        rnnjax.conv_lstm,
        testing.conv_lstm((2, 3, 1)),
        space=(2, 3, 2),
        kernel_size=(2, 3, 1),
        bias=False,
    ),
    "mlstm": entry(rnnjax.mlstm, testing.mlstm()),
    "mlstm, 2 heads": entry(mlstm_of_two_heads, testing.mlstm(num_heads=2, key_features=3)),
    "conv gru": entry(
        rnnjax.conv_gru,
        testing.conv_gru((2, 3)),
        space=(3, 4),
        kernel_size=(2, 3),
        learned_carry=True,
    ),
    "conv gru, reset before": entry(
        rnnjax.conv_gru,
        testing.conv_gru((3,), reset="before"),
        space=(4,),
        kernel_size=(3,),
        reset="before",
    ),
}


@dataclasses.dataclass(frozen=True)
class InFloat32:
    """A method that knows float32 alone, for problems in any dtype."""

    method: rnnjax.Method

    def why_not(self, call):
        return None

    def run(self, call):
        wanted = jnp.result_type(call.carry.h)
        arrays = ("params", "xs", "carry", "fresh")
        single = {name: cast(getattr(call, name), jnp.float32) for name in arrays}
        carry, ys = self.method.run(call._replace(**single))
        return cast(carry, wanted), cast(ys, wanted)


def cast(tree, dtype):
    """Floating leaves in another dtype; what is no array stays."""

    def leaf(a):
        is_floating = isinstance(a, jax.Array) and jnp.issubdtype(a.dtype, jnp.floating)
        return a.astype(dtype) if is_floating else a

    return jax.tree.map(leaf, tree)


METHODS = {
    "scan": rnnjax.Scan(),
    "fused": rnnjax.Fused(),
    "fused, gates computed again": rnnjax.Fused(keep_gates=False),
    "fused, segments of 3": rnnjax.Fused(segment=3),
    "scan, unroll 3": rnnjax.Scan(unroll=3),
    "chunks of 4": rnnjax.Chunked(4),
    "linear, segments of 3": rnnjax.Linear(3),
    "associative": rnnjax.Associative(),
    "associative, chunks of 3": rnnjax.Associative(3),
    "newton": rnnjax.Newton(fallback="nan"),
}

# Those of one family of cells.
METHODS["chunkwise of 3"] = rnnjax.Chunkwise(3)

# The library is tested where it was built; `tests/native` says where it was not.
jax.devices()  # the backend must stand before the library is loaded
if LOADED:
    METHODS["native"] = InFloat32(rnnjax.Native())

# Those that run any cell, with or without a standard form.
GENERAL_METHODS = [name for name in METHODS if name.startswith(("scan", "chunks"))]

# T, B, D, H: unequal and unround.
T, B, D, H = 7, 3, 4, 5


def sequence_options(num_steps: int = T, batch: int = B) -> dict[str, dict]:
    """Every way to say which steps count: lengths with 0 and T, holes, restarts, all together."""
    rng = np.random.default_rng(7)
    lengths = np.linspace(num_steps, 0, batch).round().astype(np.int32)  # T first, 0 last
    holes = rng.random((num_steps, batch)) < 0.6
    resets = rng.random((num_steps, batch)) < 0.3
    return {
        "plain": {},
        "lengths": {"lengths": lengths},
        "mask": {"mask": holes},
        "resets": {"resets": resets},
        "all": {"lengths": lengths, "mask": holes, "resets": resets},
    }


def randomise(tree, seed: int, scale: float = 0.5):
    """Random values in every leaf, biases and learned carries too, in each leaf's dtype."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape) * scale, a.dtype), tree)


def random_params(thing, features: int = D, seed: int = 0):
    """Random values in every leaf of the params of a cell or layer."""
    return randomise(jax.eval_shape(lambda: thing.init(jax.random.key(0), features)), seed)


def random_carry(thing, params, x, seed: int, scale: float = 0.5):
    """Random values in every leaf of a carry of a cell or layer."""
    return randomise(jax.eval_shape(thing.init_carry, params, x), seed, scale)


def possible_carry(name: str, thing, params, x, seed: int):
    """The same, of a cell of the registry that can only be in some of these states."""
    return CELLS[name].possible(random_carry(thing, params, x, seed))


def make(name: str, *, seed: int = 0, dtype=jnp.float32, features: int = D, hidden: int = H):
    """A cell of the registry and parameters with every leaf random."""
    cell = sized(name, features, hidden, param_dtype=dtype)
    return cell, random_params(cell, features, seed)


def sized(name: str, features: int, hidden: int, **options):
    """A cell of the registry for inputs of so many features."""
    entry = CELLS[name]
    return entry(features if entry.square else hidden, **options)


@functools.cache
def abstract(name: str):
    """A cell of the registry, and the shapes of params and carry: for tests that are collected."""
    cell = sized(name, D, H)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), D))
    xs = jax.ShapeDtypeStruct((B, *CELLS[name].space, D), jnp.float32)
    return cell, params, jax.eval_shape(cell.init_carry, params, xs)


@functools.cache
def serves(method: str, name: str) -> bool:
    """Whether a method runs a cell."""
    found = METHODS[method]
    found = found.method if isinstance(found, InFloat32) else found
    cell, params, _ = abstract(name)
    xs = jax.ShapeDtypeStruct((T, B, *CELLS[name].space, D), jnp.float32)
    return found.why_not(Call(cell, params, xs, None, None, None, None, False)) is None


def methods_for(name: str) -> list[str]:
    """The methods that run a cell."""
    return [method for method in METHODS if serves(method, name)]


def exact_methods(name: str) -> list:
    """The methods themselves, of those that run a cell in any dtype."""
    found = [METHODS[method] for method in methods_for(name)]
    return [method for method in found if not isinstance(method, InFloat32)]


# Cells with loops of their own, which read every option; others all share one loop.
OWN_LOOPS = [name for name in CELLS if serves("fused", name)]

# Those of which the compiled library has loops, where it was built.
COMPILED = [name for name in OWN_LOOPS if not name.startswith("multihead")]


# Of every kind of carry and of weights.
VARIED = (
    "lstm, learned carry",
    "gru, reset before",
    "elman, relu",
    "projected lstm",
    "multihead lstm",
    "indrnn",
    "lru",
    "qrnn",
    "slstm",
    "mlstm, 2 heads",
    "conv lstm, lines",
)


def inputs_of(name: str, num_steps: int, batch: int, features: int, **options):
    """Inputs for a cell of the registry."""
    return inputs(num_steps, batch, *CELLS[name].space, features, **options)


def inputs(*shape: int, seed: int = 1, dtype=jnp.float32):
    """Distinct numbers at every index."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)
