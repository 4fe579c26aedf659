"""What the properties run over: a new cell, method or option is one line here."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from rnnjax.methods.native.library import why_not_loaded

# Name -> factory of the hidden width; each must have an oracle in `rnnjax.testing`.
CELLS = {
    "lstm": rnnjax.lstm,
    "lstm, no bias": lambda h, **kw: rnnjax.lstm(h, bias=False, **kw),
    "lstm, learned carry": lambda h, **kw: rnnjax.lstm(h, learned_carry=True, **kw),
    "gru": rnnjax.gru,
    "gru, reset before": lambda h, **kw: rnnjax.gru(h, reset="before", **kw),
    "gru, learned carry": lambda h, **kw: rnnjax.gru(h, learned_carry=True, **kw),
    "elman": rnnjax.elman,
    "elman, relu": lambda h, **kw: rnnjax.elman(h, activation=jax.nn.relu, **kw),
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


def inputs(*shape: int, seed: int = 1, dtype=jnp.float32):
    """Distinct numbers at every index."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)
