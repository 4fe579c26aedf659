"""The golden files: which there are, and how trees become named arrays and back.

PyTorch and Keras made them, `python tests/parity/write_golden.py` writes them anew, and
`tests/sequence/test_golden.py` reads them, so that a machine with neither still checks parity.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax

FOLDER = pathlib.Path(__file__).parent
T, B, D, H = 6, 3, 3, 4

_lstm = rnnjax.lstm(H, param_dtype=jnp.float64)
_gru = rnnjax.gru(H, param_dtype=jnp.float64)
_elman = rnnjax.elman(H, activation=jax.nn.relu, param_dtype=jnp.float64)

LAYERS = {
    "lstm": rnnjax.recurrent(_lstm),
    "gru": rnnjax.recurrent(_gru),
    "elman_relu": rnnjax.recurrent(_elman),
    "lstm_bidirectional_2": rnnjax.stack(*[rnnjax.bidirectional(_lstm)] * 2),
    "gru_bidirectional_2": rnnjax.stack(*[rnnjax.bidirectional(_gru)] * 2),
    "gru_reset_before": rnnjax.recurrent(rnnjax.gru(H, reset="before", param_dtype=jnp.float64)),
}


def template(name: str):
    """The tree of a golden file, with shapes for leaves; asked for under x64.

    `valid` holds the lengths or the mask, `cotangents` those of `(carry, ys)` that `grads`,
    those of `(params, xs, carry)`, were pulled back from.
    """
    layer = LAYERS[name]
    params = jax.eval_shape(lambda: layer.init(jax.random.key(0), D))
    xs = jax.ShapeDtypeStruct((T, B, D), jnp.float64)
    carry = jax.eval_shape(layer.init_carry, params, jax.ShapeDtypeStruct((B, D), jnp.float64))
    ys = jax.ShapeDtypeStruct((T, B, layer.out_features(D)), jnp.float64)
    mask = jax.ShapeDtypeStruct((T, B), jnp.bool_)
    lengths = jax.ShapeDtypeStruct((B,), jnp.int32)
    return {
        "params": params,
        "xs": xs,
        "carry": carry,
        "valid": {"mask": mask} if name == "gru_reset_before" else {"lengths": lengths},
        "cotangents": (carry, ys),
        "final": carry,
        "ys": ys,
        "grads": (params, xs, carry),
    }


def names(tree) -> dict[str, np.ndarray]:
    """The leaves of a tree by their paths, such as `params.w_ih`."""
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(p, simple=True, separator="."): np.asarray(a) for p, a in leaves}


def load(name: str):
    """Read a golden file; asked for under x64."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        arrays = dict(file)

    def leaf(path, like):
        array = arrays.pop(jax.tree_util.keystr(path, simple=True, separator="."))
        assert (array.shape, array.dtype) == (like.shape, like.dtype)
        return array

    tree = jax.tree.map_with_path(leaf, template(name))
    assert not arrays, f"{name}.npz holds more than it should: {sorted(arrays)}"
    return tree
