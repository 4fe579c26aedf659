"""Temporary memory of a gradient over a long sequence, by method, as the compiler states it.

Run: python benchmarks/memory.py
"""

import jax
import jax.numpy as jnp

import rnnjax
import turns

T, B, D, H = 100_000, 8, 16, 64
METHODS = (
    rnnjax.Scan(),
    rnnjax.Native(),
    rnnjax.Fused(),
    rnnjax.Fused(keep_gates=False),
    rnnjax.Chunked(100),
    rnnjax.Fused(segment=100),
    rnnjax.Chunked(250),
    rnnjax.Fused(segment=250),
)


def temporary_bytes(method: rnnjax.Method, with_outputs: bool) -> int:
    cell = rnnjax.lstm(H)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), D))
    xs = jax.ShapeDtypeStruct((T, B, D), jnp.float32)

    def loss(params, xs):
        carry, ys = rnnjax.unroll(cell, params, xs, method=method)
        return (ys**2).sum() if with_outputs else carry.h.sum()

    return turns.memory_of(jax.jit(jax.grad(loss)).lower(params, xs).compile())


def main():
    print(f"Gradient of an LSTM by its weights, T={T:,} B={B} D={D} H={H}, float32,")
    print(f"jax {jax.__version__} on {jax.default_backend()}; temporary memory in MiB:\n")
    print(f"{'method':<40}{'loss on the final carry':>26}{'loss on all outputs':>24}")
    for method in METHODS:
        try:
            last, every = (temporary_bytes(method, outputs) / 2**20 for outputs in (False, True))
        except ValueError as reason:  # Native, where it was not built
            print(f"{method!s:<40}{reason}")
            continue
        print(f"{method!s:<40}{last:>26,.1f}{every:>24,.1f}")
    outputs = T * B * H * 4 / 2**20
    print(f"\nThe outputs themselves are {outputs:,.1f} MiB, and so are their cotangents.")


if __name__ == "__main__":
    main()
