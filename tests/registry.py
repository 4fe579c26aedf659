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


class Entry(NamedTuple):
    """A factory of the hidden width, the oracle of its cells, and axes of an input but the last."""

    make: Callable[..., rnnjax.Cell]
    oracle: testing.Oracle
    space: tuple[int, ...] = ()

    def __call__(self, hidden, **options):
        return self.make(hidden, **options)


def entry(factory, oracle, *, space=(), **options):
    return Entry(functools.partial(factory, **options), oracle, space)


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
    "peephole lstm": entry(rnnjax.peephole_lstm, testing.peephole_lstm(), learned_carry=True),
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
}

# Those that compute in any dtype.
EXACT = dict(METHODS)

# The library is tested where it was built; `tests/native` says where it was not.
jax.devices()  # the backend must stand before the library is loaded
if why_not_loaded() is None:
    METHODS["native"] = InFloat32(rnnjax.Native())

# Those that run any cell, with or without a standard form.
GENERAL_METHODS = [name for name in METHODS if not name.startswith(("fused", "native"))]

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


def make(name: str, *, seed: int = 0, dtype=jnp.float32, features: int = D, hidden: int = H):
    """A cell of the registry and parameters with every leaf random."""
    cell = CELLS[name](hidden, param_dtype=dtype)
    return cell, randomise(cell.init(jax.random.key(seed), features), seed)


@functools.cache
def serves(method: str, name: str) -> bool:
    """Whether a method runs a cell."""
    found = METHODS[method]
    found = found.method if isinstance(found, InFloat32) else found
    cell, params = make(name)
    xs = jax.ShapeDtypeStruct((T, B, *CELLS[name].space, D), jnp.float32)
    return found.why_not(Call(cell, params, xs, None, None, None, None, False)) is None


# Where a cell has a form, loops of its own read every option; else they all share one loop.
PLAIN_CELLS = [name for name, entry in CELLS.items() if entry(H).form is None]
FORMED_CELLS = [name for name in CELLS if name not in PLAIN_CELLS]


def inputs_of(name: str, num_steps: int, batch: int, features: int, **options):
    """Inputs for a cell of the registry."""
    return inputs(num_steps, batch, *CELLS[name].space, features, **options)


def inputs(*shape: int, seed: int = 1, dtype=jnp.float32):
    """Distinct numbers at every index."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)
