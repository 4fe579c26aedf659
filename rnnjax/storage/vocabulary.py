"""The words of descriptions: what may stand in one, and nothing else is ever looked up."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax import cells, sequence
from rnnjax.cells.minimal import identity
from rnnjax.sequence import merge

FACTORIES: dict[str, Callable[..., Any]] = {
    factory.__name__: factory
    for factory in (
        cells.batch_norm_lstm,
        cells.clip_carry,
        cells.conv_gru,
        cells.conv_lstm,
        cells.coupled_lstm,
        cells.drop_connect,
        cells.elman,
        cells.gru,
        cells.hgrn,
        cells.indrnn,
        cells.input_dropout,
        cells.layer_norm_gru,
        cells.layer_norm_lstm,
        cells.layer_norm_outputs,
        cells.lru,
        cells.lstm,
        cells.mgu,
        cells.min_gru,
        cells.min_lstm,
        cells.mlstm,
        cells.mogrifier_lstm,
        cells.multihead_gru,
        cells.multihead_lstm,
        cells.para_gru,
        cells.para_lstm,
        cells.peephole_lstm,
        cells.projected_lstm,
        cells.qrnn,
        cells.recurrent_dropout,
        cells.residual,
        cells.rg_lru,
        cells.slstm,
        cells.sru,
        cells.state_noise,
        cells.with_carries,
        cells.zoneout,
        sequence.bidirectional,
        sequence.dense,
        sequence.embedding,
        sequence.pointwise,
        sequence.quantized,
        sequence.recurrent,
        sequence.stack,
        sequence.tied_embedding,
    )
}

FUNCTIONS: dict[str, Callable[..., Any]] = {  # of several names for one, the first is written
    "identity": identity,
    "jax.numpy.tanh": jnp.tanh,
    "jax.numpy.sin": jnp.sin,
    "jax.numpy.cos": jnp.cos,
    "jax.numpy.abs": jnp.abs,
    "jax.numpy.square": jnp.square,
    "jax.numpy.maximum": jnp.maximum,
    "jax.numpy.minimum": jnp.minimum,
    "jax.nn.relu": jax.nn.relu,
    "jax.nn.relu6": jax.nn.relu6,
    "jax.nn.sigmoid": jax.nn.sigmoid,
    "jax.nn.hard_sigmoid": jax.nn.hard_sigmoid,
    "jax.nn.log_sigmoid": jax.nn.log_sigmoid,
    "jax.nn.hard_tanh": jax.nn.hard_tanh,
    "jax.nn.soft_sign": jax.nn.soft_sign,
    "jax.nn.softplus": jax.nn.softplus,
    "jax.nn.squareplus": jax.nn.squareplus,
    "jax.nn.sparse_plus": jax.nn.sparse_plus,
    "jax.nn.sparse_sigmoid": jax.nn.sparse_sigmoid,
    "jax.nn.silu": jax.nn.silu,
    "jax.nn.hard_silu": jax.nn.hard_silu,
    "jax.nn.mish": jax.nn.mish,
    "jax.nn.elu": jax.nn.elu,
    "jax.nn.celu": jax.nn.celu,
    "jax.nn.selu": jax.nn.selu,
    "jax.nn.gelu": jax.nn.gelu,
    "jax.nn.leaky_relu": jax.nn.leaky_relu,
    "jax.nn.glu": jax.nn.glu,
    "jax.nn.softmax": jax.nn.softmax,
    "jax.nn.log_softmax": jax.nn.log_softmax,
    "jax.nn.standardize": jax.nn.standardize,
    "jax.nn.identity": jax.nn.identity,
    "rnnjax.merge.concatenate": merge.concatenate,
    "rnnjax.merge.add": merge.add,
    "rnnjax.merge.multiply": merge.multiply,
    "rnnjax.merge.average": merge.average,
    "rnnjax.merge.pair": merge.pair,
}

DTYPES: dict[str, Any] = {
    "float64": jnp.float64,
    "float32": jnp.float32,
    "float16": jnp.float16,
    "bfloat16": jnp.bfloat16,
    "float8_e4m3fn": jnp.float8_e4m3fn,
    "float8_e5m2": jnp.float8_e5m2,
}

ALIASES: dict[str, Callable[..., Any]] = {  # other functions that do the same, by its word
    "jax.numpy.tanh": jax.lax.tanh,
    "jax.nn.sigmoid": jax.lax.logistic,
}

WITHOUT_ARRAYS = (  # of their own; all others have one at least
    "bidirectional",
    "clip_carry",
    "drop_connect",
    "input_dropout",
    "pointwise",
    "quantized",
    "recurrent",
    "recurrent_dropout",
    "residual",
    "stack",
    "state_noise",
    "tied_embedding",
    "with_carries",
    "zoneout",
)

COUNTED = ("rounds", "num_heads")  # options of which `init` makes so many arrays one by one


def is_dtype(factory: str, option: str) -> bool:
    """Whether an option is a dtype of JAX; that of `quantized` is a word."""
    return option in ("dtype", "param_dtype", "carry_dtype") and factory != "quantized"


def is_initialiser(option: str) -> bool:
    """Whether an option says only where params start, which changes no function."""
    return option.endswith("_init")
