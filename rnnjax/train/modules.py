"""Flax modules as models, and what `fit` makes of whatever it is given."""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
from flax import nnx

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.cells.base import Cell, remembered
from rnnjax.data.batch import Batch
from rnnjax.linen.rnn import SequenceModule
from rnnjax.nnx.rnn import RNN
from rnnjax.sequence.layer import Layer
from rnnjax.train.models import Applied, Model, Weights, check_takes, from_layer

CallModule = Callable[[Any, Batch, PyTree, bool], tuple[PyTree, PyTree]]
"""`module, batch, carry, training -> carry, outputs`: how a module is called."""

SUCH_A_CALL = "lambda module, batch, carry, training: (None, module(batch.xs))"


def from_nnx(module: nnx.Module, *, call: CallModule | None = None) -> Model:
    """Make a model of an NNX module.

    Its `nnx.Param` variables are trained; all others, batch statistics and random streams, are
    buffers. `fit` begins with the weights that the module holds, and writes what it has learned
    back into it. While training, the module is as `.train()` leaves it; else as `.eval()` does.

    Args:
        module: any; it is not changed before training is over.
        call: `module, batch, carry, training -> carry, outputs`. None means
            `module(batch.xs, lengths=batch.lengths)`, without lengths where the batch has none,
            and what it returns are the outputs; an `rnnjax.nnx.RNN` gets carry and resets, too,
            and returns its own.

    Returns:
        A model whose params and buffers are nested dicts.

    Raises:
        TypeError: if `module` is none, or `call` cannot be called.

    Example:
        >>> import rnnjax
        >>> from flax import nnx
        >>> from rnnjax import train
        >>> model = train.from_nnx(rnnjax.nnx.LSTM(3, 8, rngs=nnx.Rngs(0)))
    """
    if not isinstance(module, nnx.Module):
        _refuse("from_nnx", "an nnx.Module", module)
    if call is None:
        call = _call_rnn if isinstance(module, RNN) else _call
    check_call("from_nnx", call)
    twin = nnx.clone(module)
    twin.eval()
    quiet, *_ = split(twin)
    twin.train()
    noisy, params, buffers = split(twin)

    def filled(template: Any, values: PyTree) -> Any:
        state = jax.tree.map(lambda leaf: leaf, template)  # a copy: the next call changes it
        nnx.replace_by_pure_dict(state, values)
        return state

    def init(key: Any, batch: Batch) -> Weights:
        _, held, beside = split(module)
        return Weights(nnx.to_pure_dict(held), nnx.to_pure_dict(beside))

    def apply(weights: Weights, batch: Batch, carry: PyTree, key: Any) -> Applied:
        graph = quiet if key is None else noisy
        made = nnx.merge(
            graph, filled(params, weights.params), filled(buffers, dict(weights.buffers))
        )
        carry, outputs = check_pair("from_nnx", call(made, batch, carry, key is not None))
        rest = nnx.to_pure_dict(split(made)[2])
        return Applied(outputs, carry, rest)

    def store(weights: Weights) -> None:
        nnx.update(module, filled(params, weights.params), filled(buffers, weights.buffers))

    return Model(type(module).__name__, init, apply, store)


@remembered(64)
def from_linen(module: nn.Module, *, call: CallModule | None = None) -> Model:
    """Make a model of a Linen module.

    Its collection `params` is trained; all others are buffers, and may change while training.

    Args:
        module: any.
        call: `module, batch, carry, training -> carry, outputs`. None means
            `module(batch.xs, lengths=batch.lengths)`, without lengths where the batch has none,
            and what it returns are the outputs; a module of `rnnjax.linen` gets carry, resets and
            `deterministic`, too, and returns its own carry. Modules with flags of their own for
            training need a `call`.

    Returns:
        A model whose params and buffers are the dicts of Linen. Its noise comes from the
        collection of keys `dropout`.

    Raises:
        TypeError: if `module` is none, or `call` cannot be called.

    Example:
        >>> import rnnjax
        >>> from rnnjax import train
        >>> model = train.from_linen(rnnjax.linen.LSTM(8, num_layers=2, dropout=0.2))
    """
    if not isinstance(module, nn.Module):
        _refuse("from_linen", "a linen.Module", module)
    if call is None:
        call = _call_sequence_module if isinstance(module, SequenceModule) else _call
    check_call("from_linen", call)

    def init(key: Any, batch: Batch) -> Weights:
        key_params, key_noise = jax.random.split(key)
        keys = {"params": key_params, "dropout": key_noise}
        variables = nn.unbox(nn.init(call, module)(keys, batch, None, False))
        return Weights(variables.pop("params", {}), variables)

    def apply(weights: Weights, batch: Batch, carry: PyTree, key: Any) -> Applied:
        kept = dict(weights.buffers)
        variables = {"params": weights.params, **kept}
        if key is None:
            said = nn.apply(call, module)(variables, batch, carry, False)
            carry, outputs = check_pair("from_linen", said)
            return Applied(outputs, carry, kept)
        run = nn.apply(call, module, mutable=list(kept))
        said, buffers = run(variables, batch, carry, True, rngs={"dropout": key})
        carry, outputs = check_pair("from_linen", said)
        return Applied(outputs, carry, kept | buffers)

    return Model(type(module).__name__, init, apply)


def as_model(function: str, thing: Any) -> Model:
    """A model as it is, and a cell, a layer or a Flax module as one."""
    if isinstance(thing, Model):
        return thing
    if isinstance(thing, (Cell, Layer)):
        return from_layer(thing)
    if isinstance(thing, nnx.Module):
        return from_nnx(thing)
    if isinstance(thing, nn.Module):
        return from_linen(thing)
    wanted = "be a model, a cell, a layer or a Flax module"
    way_out = "make one of functions with train.from_functions"
    if callable(thing):
        way_out = f"call it first, as in rnnjax.gru(64), or {way_out}"
    _checks.refuse(function, "model", wanted, _checks.kind(thing), way_out, error=TypeError)


def _refuse(function: str, wanted: str, got: Any) -> None:
    way_out = "fit takes cells, layers and both kinds of Flax modules as they are"
    _checks.refuse(function, "module", f"be {wanted}", _checks.kind(got), way_out, error=TypeError)


def check_call(function: str, call: Any) -> None:
    """Refuse what cannot be called as modules are."""
    names = ("module", "batch", "carry", "training")
    check_takes(function, "call", call, names, such_as=SUCH_A_CALL)


def check_pair(function: str, said: Any) -> tuple[PyTree, PyTree]:
    """What a call returns; an array with two rows is none."""
    if type(said) is not tuple or len(said) != 2:
        wanted, way_out = "return (carry, outputs)", "a carry of None hands nothing on"
        _checks.refuse(function, "call", wanted, _checks.describe(said), way_out, error=TypeError)
    return said


def split(module: nnx.Module) -> Any:
    """How a module is built, its parameters, and its other variables."""
    return nnx.split(module, nnx.Param, ...)


def _lengths(batch: Batch) -> dict[str, Any]:
    return {} if batch.lengths is None else {"lengths": batch.lengths}


def _call(module: Any, batch: Batch, carry: PyTree, training: bool) -> tuple[PyTree, PyTree]:
    told = _lengths(batch)
    if not _checks.accepts(module.__call__, (batch.xs,), told):
        function = "from_nnx" if isinstance(module, nnx.Module) else "from_linen"
        example = f"{type(module).__name__}(xs{', lengths=lengths' if told else ''})"
        wanted, way_out = f"be given for a module without {example}", f"such as {SUCH_A_CALL}"
        _checks.refuse(function, "call", wanted, None, way_out, error=TypeError)
    return None, module(batch.xs, **told)


def _call_rnn(module: Any, batch: Batch, carry: PyTree, training: bool) -> tuple[PyTree, PyTree]:
    return module(batch.xs, carry, lengths=batch.lengths, resets=batch.resets)


def _call_sequence_module(
    module: SequenceModule, batch: Batch, carry: PyTree, training: bool
) -> tuple[PyTree, PyTree]:
    # Linen refuses to be told twice, and to be told where there is no noise.
    told = module.deterministic is not None or not module.network().noisy
    return module(
        batch.xs,
        carry,
        lengths=batch.lengths,
        resets=batch.resets,
        deterministic=None if told else not training,
    )
