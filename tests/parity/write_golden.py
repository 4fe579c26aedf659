"""Write the golden files: `python tests/parity/write_golden.py`, with PyTorch and Keras installed.

The same files come out every time, up to the last bits of the peers.
"""

import os
import pathlib
import sys

if __name__ == "__main__":
    os.environ["KERAS_BACKEND"] = "jax"
    sys.path[:0] = [str(folder) for folder in pathlib.Path(__file__).resolve().parents[1:3]]

import jax
import jax.numpy as jnp
import numpy as np
from golden.cases import FOLDER, LAYERS, B, T, names, template
from parity.layouts import (
    keras_layer,
    keras_loaded,
    keras_weights,
    swap_two_gates,
    torch_vjp,
)

import rnnjax


def golden(name: str):
    """Draw the inputs of a golden file and let its peer compute the rest; asked for under x64."""
    # RandomState, whose stream is frozen; numbers of few bits, which compress well.
    rng = np.random.RandomState(sorted(LAYERS).index(name))
    draw = lambda a: np.round(64 * rng.normal(size=a.shape)) / 128
    given = jax.tree.map(draw, template(name))
    if name == "gru_reset_before":
        mask = rng.uniform(size=(T, B)) < 0.7
        mask[:, 1], mask[:, 2] = np.arange(T) < 4, False  # holes, padding, nothing at all
        given["valid"] = {"mask": mask}
        given["final"], given["ys"], given["grads"] = by_keras(given)
    else:
        given["valid"] = {"lengths": np.array([3, T, 1], np.int32)}
        given["final"], given["ys"], given["grads"] = by_torch(name, given)
    return given


def by_torch(name, given):
    """What a packed sequence gives; a single layer is a stack of one."""
    stacked = name.endswith("_2")
    pack = (lambda tree: tree) if stacked else lambda tree: (tree,)
    unpack = (lambda tree: tree) if stacked else lambda tree: tree[0]
    dcarry, dys = given["cotangents"]
    carry, ys, (dparams, dxs, dstart) = torch_vjp(
        pack(given["params"]),
        given["xs"],
        pack(given["carry"]),
        (pack(dcarry), dys),
        lengths=given["valid"]["lengths"],
        bidirectional=stacked,
        nonlinearity="relu" if name == "elman_relu" else "tanh",
    )
    return unpack(carry), ys, (unpack(dparams), dxs, unpack(dstart))


def by_keras(given):
    """What Keras's GRU with reset before gives, its outputs at masked steps zeroed."""
    params, mask = given["params"], given["valid"]["mask"]
    layer = keras_loaded(keras_layer(params), keras_weights(params, reset="before"), given["xs"])

    others = [v.value for v in layer.non_trainable_variables]

    def run(weights, xs, h):
        how = {"initial_state": [h], "mask": mask.T}
        (ys, final), _ = layer.stateless_call(weights, others, jnp.swapaxes(xs, 0, 1), **how)
        return final, jnp.where(mask[..., None], jnp.swapaxes(ys, 0, 1), 0)

    weights = [v.value for v in layer.trainable_variables]
    (final, ys), pull = jax.vjp(run, weights, given["xs"], given["carry"].h)
    dcarry, dys = given["cotangents"]
    dweights, dxs, dh = pull((dcarry.h, dys))
    dparams = rnnjax.GRUParams(*(swap_two_gates(g) for g in dweights))
    return rnnjax.GRUCarry(final), ys, (dparams, dxs, rnnjax.GRUCarry(dh))


def main():
    total = 0
    with jax.enable_x64(True):
        for name in LAYERS:
            path = FOLDER / f"{name}.npz"
            np.savez_compressed(path, allow_pickle=False, **names(golden(name)))
            total += path.stat().st_size
            print(path, path.stat().st_size)
    print(total, "bytes")


if __name__ == "__main__":
    main()
