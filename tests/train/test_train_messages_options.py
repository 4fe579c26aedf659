"""Bad models, losses and options are refused in one sentence, by `fit` and by all beside it."""

import jax
import jax.numpy as jnp
import optax
import pytest
from fits import (
    KEY,
    LABELS,
    LINEAR,
    MODEL,
    ROWS,
    SGD,
    STEPS,
    TAGGER,
    TRAINED,
    XS,
    check,
    fit,
    rate,
)
from messages import TYPE, VALUE, table

from rnnjax import train

A_KEY = "make one with jax.random.key(seed)."
A_BOOL = "give a bool."
A_COUNT = "give the width or count that is meant."
A_LOSS = "give one such as train.cross_entropy, or a function of outputs and targets."
A_METRIC = "give one such as train.accuracy, or a function of outputs and targets."
NO_LOSS = "put it among the metrics, and give a loss such as train.cross_entropy."
A_LIST = "put it into a list, such as [train.accuracy]."
CALL_IT = "call it first, as in train.f1(5), where it makes a measure."
ONE_VALUE = "take the mean over features, and give every sequence or step one value."
RENAME = 'rename one of them with ._replace(name="...").'
MEANT = "give validation data, or the metric that is meant."
AN_OPTIMIZER = "make one with train.adamw(1e-3) or optax.adam(1e-3)."
OF_FUNCTIONS = "make one of functions with train.from_functions."
A_SHARDING = 'such as NamedSharding(mesh, PartitionSpec("data")).'
RESERVED = "['epoch', 'loss', 'scale', 'seconds', 'skipped', 'step', 'tokens']"
AVERAGES = "must be ema(...), nt_asgd(...) or None"
SUCH_PARTS = "give (xs, targets), or rnnjax.data.Batch(xs, targets, lengths)."
PARTS = "must be a Batch or a tuple of 2 to 5 arrays"


def sharding(count, *axes):
    mesh = jax.make_mesh((count,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))


MEASURES = {
    "no loss": (
        lambda: fit(loss=None),
        TYPE,
        f"fit: `loss` must be a measure, got NoneType None; {A_LOSS}",
    ),
    "loss by name": (
        lambda: fit(loss="cross_entropy"),
        TYPE,
        f"fit: `loss` must be a measure, got str 'cross_entropy'; {A_LOSS}",
    ),
    "loss as a class": (
        lambda: fit(loss=train.Measure),
        TYPE,
        f"fit: `loss` must be a measure, got type {train.Measure!r}; {A_LOSS}",
    ),
    "what makes a loss": (
        lambda: fit(loss=train.smoothed_cross_entropy),
        TYPE,
        f"fit: `loss` must take outputs, targets, got smoothed_cross_entropy(smoothing); {CALL_IT}",
    ),
    "loss of one argument": (
        lambda: fit(loss=lambda outputs: outputs),
        TYPE,
        f"fit: `loss` must take outputs, targets, got <lambda>(outputs); {CALL_IT}",
    ),
    "loss that is better higher": (
        lambda: fit(loss=train.accuracy),
        VALUE,
        f"fit: `loss` must be better where it is lower, got 'accuracy'; {NO_LOSS}",
    ),
    "loss of counts": (
        lambda: fit(loss=train.confusion(2)),
        TYPE,
        f"fit: `loss` must add up to a Mean, got an array of shape (2, 2); {NO_LOSS}",
    ),
    "loss for each feature": (
        lambda: fit(loss=lambda outputs, targets: outputs),
        VALUE,
        "<lambda>: `values` must return (6,) for sequences or (6, 5) for steps, got (6, 2); "
        f"{ONE_VALUE}",
    ),
    "loss that is one number": (
        lambda: fit(loss=lambda outputs, targets: outputs.mean()),
        VALUE,
        "<lambda>: `values` must return (6,) for sequences or (6, 5) for steps, got (); "
        f"{ONE_VALUE}",
    ),
    "complex loss": (
        lambda: fit(loss=lambda outputs, targets: outputs.sum(-1) + 0j),
        TYPE,
        "<lambda>: `values` must be real, got complex64; "
        "take the absolute value, or the real part.",
    ),
    "metric by name": (
        lambda: fit(metrics=["accuracy"]),
        TYPE,
        f"fit: `metrics` must hold measures, got str 'accuracy'; {A_METRIC}",
    ),
    "name of a metric": (
        lambda: fit(metrics="accuracy"),
        TYPE,
        f"fit: `metrics` must be a list of measures, got str 'accuracy'; {A_LIST}",
    ),
    "metric without a list": (
        lambda: fit(metrics=train.accuracy),
        TYPE,
        f"fit: `metrics` must be a list of measures, got a Measure; {A_LIST}",
    ),
    "metrics None": (
        lambda: fit(metrics=None),
        TYPE,
        f"fit: `metrics` must be a list of measures, got NoneType None; {A_LIST}",
    ),
    "what makes a metric": (
        lambda: fit(metrics=[train.f1]),
        TYPE,
        f"fit: `metrics` must take outputs, targets, got f1(num_classes, average); {CALL_IT}",
    ),
    "a metric twice": (
        lambda: fit(metrics=[train.accuracy, train.accuracy]),
        VALUE,
        f"fit: `metrics` must have a name each, got 'accuracy' twice; {RENAME}",
    ),
    "a metric called loss": (
        lambda: fit(metrics=[train.accuracy._replace(name="loss")]),
        VALUE,
        f"fit: `metrics` must have other names than {RESERVED}, got 'loss'; {RENAME}",
    ),
    "a metric called val_loss": (
        lambda: fit(metrics=[train.accuracy._replace(name="val_loss")]),
        VALUE,
        "fit: `metrics` must have names without val_ in front, got 'val_loss'; "
        'rename it with ._replace(name="...").',
    ),
    "evaluate, one measure": (
        lambda: train.evaluate(TRAINED, ROWS, train.accuracy),
        TYPE,
        f"evaluate: `measures` must be a list of measures, got a Measure; {A_LIST}",
    ),
    "make_train_step, name": (
        lambda: train.make_train_step(MODEL, "mse", SGD),
        TYPE,
        f"make_train_step: `loss` must be a measure, got str 'mse'; {A_LOSS}",
    ),
    "make_eval_step, name": (
        lambda: train.make_eval_step(MODEL, ["accuracy"]),
        TYPE,
        f"make_eval_step: `measures` must hold measures, got str 'accuracy'; {A_METRIC}",
    ),
    "find_rate, counts": (
        lambda: rate(loss=train.confusion(2)),
        TYPE,
        f"find_rate: `loss` must add up to a Mean, got an array of shape (2, 2); {NO_LOSS}",
    ),
    "mean_of a measure": (
        lambda: train.mean_of(train.accuracy),
        TYPE,
        "mean_of: `function` must be a function, got a Measure; pass the function itself, such as "
        "lambda outputs, targets: abs(outputs - targets).",
    ),
    "mean_of, name": (
        lambda: train.mean_of(jnp.subtract, name=3),
        TYPE,
        'mean_of: `name` must be a word, got int 3; give one such as "edit_distance".',
    ),
    "mean_of, value": (
        lambda: train.mean_of(jnp.subtract, value=2.0),
        TYPE,
        "mean_of: `value` must be a function, got float 2.0; "
        "pass the function itself, such as jnp.exp.",
    ),
    "mean_of, check": (
        lambda: train.mean_of(jnp.subtract, check=True),
        TYPE,
        "mean_of: `check` must be a function, got bool True; pass the function itself, such as "
        "lambda function, outputs, batch: None.",
    ),
    "mean_of, order": (
        lambda: train.mean_of(jnp.subtract, higher_is_better=1),
        TYPE,
        f"mean_of: `higher_is_better` must be True or False, got int 1; {A_BOOL}",
    ),
}

OPTIONS = {
    "key as a seed": (
        lambda: fit(key=0),
        TYPE,
        f"fit: `key` must be one random key, got int 0; {A_KEY}",
    ),
    "keys": (
        lambda: fit(key=jax.random.split(KEY)),
        TYPE,
        f"fit: `key` must be one random key, got key<fry> of shape (2,); {A_KEY}",
    ),
    "what makes an optimizer": (
        lambda: fit(optimizer=optax.adam),
        TYPE,
        f"fit: `optimizer` must be an Optax optimizer, got the function adam; {AN_OPTIMIZER}",
    ),
    "a rate": (
        lambda: fit(optimizer=1e-3),
        TYPE,
        f"fit: `optimizer` must be an Optax optimizer, got float 0.001; {AN_OPTIMIZER}",
    ),
    "accumulate": (
        lambda: fit(batch_size=3, accumulate=2),
        VALUE,
        "fit: `accumulate` must divide the batch size 3, got 2; every part has as many rows.",
    ),
    "accumulate 0": (
        lambda: fit(accumulate=0),
        VALUE,
        f"fit: `accumulate` must be at least 1, got 0; {A_COUNT}",
    ),
    "accumulate with a carry": (
        lambda: fit(TAGGER, STEPS, stateful=True, accumulate=2),
        VALUE,
        "fit: `accumulate` must be 1 with a carry, got 2; make the batch smaller.",
    ),
    "stateful without resets": (
        lambda: fit(TAGGER, STEPS._replace(resets=None), stateful=True),
        VALUE,
        "fit: `resets` must say where streams begin in stateful training, got None; "
        "rnnjax.data.windows makes such batches.",
    ),
    "stateful without a carry": (
        lambda: fit(LINEAR, STEPS._replace(targets=LABELS), stateful=True),
        VALUE,
        "fit: `stateful` must be False for functions, which hands no carry on, got True; "
        "give a cell or a layer, or a call= that returns the carry.",
    ),
    "stateful as a number": (
        lambda: fit(stateful=1),
        TYPE,
        f"fit: `stateful` must be True or False, got int 1; {A_BOOL}",
    ),
    "float16": (
        lambda: fit(compute_dtype=jnp.float16),
        VALUE,
        "fit: `compute_dtype` must be bfloat16, float32 or float64, got float16; "
        "float16 overflows without a scaled loss.",
    ),
    "dtype of integers": (
        lambda: fit(compute_dtype=jnp.int32),
        TYPE,
        "fit: `compute_dtype` must be a floating dtype, got int32; give one such as jnp.float32.",
    ),
    "what makes an average": (
        lambda: fit(averaging=train.ema),
        TYPE,
        f"fit: `averaging` {AVERAGES}, got the function ema; call one of them.",
    ),
    "average as a decay": (
        lambda: fit(averaging=0.99),
        TYPE,
        f"fit: `averaging` {AVERAGES}, got float 0.99; call one of them.",
    ),
    "penalty as a number": (
        lambda: fit(penalty=1e-4),
        TYPE,
        "fit: `penalty` must be a function, got float 0.0001; "
        "pass the function itself, such as train.l2(1e-4).",
    ),
    "penalty of nothing": (
        lambda: fit(penalty=lambda: 0.0),
        TYPE,
        "fit: `penalty` must take params, got <lambda>(); pass one such as train.l2(1e-4).",
    ),
    "penalty of every weight": (
        lambda: fit(penalty=lambda params: params.head.w),
        VALUE,
        "fit: `penalty` must return one number, got (4, 2); take the sum or the mean.",
    ),
    "max_bad 0": (
        lambda: fit(max_bad=0),
        VALUE,
        f"fit: `max_bad` must be at least 1, got 0; {A_COUNT}",
    ),
    "callbacks": (
        lambda: fit(callbacks=[print]),
        TYPE,
        "fit: `callbacks` must hold train.Callback objects, got the function print; "
        "such as train.EarlyStopping(patience=5).",
    ),
    "callbacks None": (
        lambda: fit(callbacks=None),
        TYPE,
        "fit: `callbacks` must hold train.Callback objects, got NoneType None; "
        "such as train.EarlyStopping(patience=5).",
    ),
    "callback as a class": (
        lambda: fit(callbacks=train.EarlyStopping),
        TYPE,
        f"fit: `callbacks` must hold train.Callback objects, got type {train.EarlyStopping!r}; "
        "such as train.EarlyStopping(patience=5).",
    ),
    "monitor of a callback": (
        lambda: fit(callbacks=[train.EarlyStopping(2, monitor="val_loss")]),
        VALUE,
        f"EarlyStopping: `monitor` must be one of ['loss'], got 'val_loss'; {MEANT}",
    ),
    "monitor of a table": (
        lambda: fit(
            metrics=[train.confusion(2)], callbacks=[train.ReduceOnPlateau(monitor="confusion")]
        ),
        VALUE,
        f"ReduceOnPlateau: `monitor` must be one of ['loss'], got 'confusion'; {MEANT}",
    ),
    "resume from nowhere": (
        lambda: fit(resume=True),
        VALUE,
        "fit: `resume` must be False without checkpoints, got True; "
        "say where they are with checkpoints=.",
    ),
    "checkpoints": (
        lambda: fit(checkpoints=3),
        TYPE,
        "fit: `checkpoints` must be a folder or Checkpoints(...), got int 3; give a path.",
    ),
    "progress": (
        lambda: fit(progress="yes"),
        TYPE,
        f"fit: `progress` must be True, False or None, got str 'yes'; {A_BOOL}",
    ),
    "sharding by an axis": (
        lambda: fit(sharding="data"),
        TYPE,
        f"fit: `sharding` must be a NamedSharding, got str 'data'; {A_SHARDING}",
    ),
    "sharding of steps": (
        lambda: fit(sharding=sharding(2, "data", None)),
        VALUE,
        f"fit: `sharding` must spread rows and nothing else, got {sharding(2, 'data', None).spec}; "
        f"{A_SHARDING}",
    ),
    "sharding that leaves rows over": (
        lambda: fit(sharding=sharding(4, "data")),
        VALUE,
        "fit: `sharding` must divide the batch's 6 rows, got 4 parts; "
        "choose a batch size that is a multiple of them.",
    ),
    "evaluate, float16": (
        lambda: train.evaluate(TRAINED, ROWS, [train.accuracy], compute_dtype=jnp.float16),
        VALUE,
        "evaluate: `compute_dtype` must be bfloat16, float32 or float64, got float16; "
        "float16 overflows without a scaled loss.",
    ),
    "make_train_step, penalty": (
        lambda: train.make_train_step(MODEL, train.cross_entropy, SGD, penalty=0.1),
        TYPE,
        "make_train_step: `penalty` must be a function, got float 0.1; "
        "pass the function itself, such as train.l2(1e-4).",
    ),
    "make_train_step, optimizer": (
        lambda: train.make_train_step(MODEL, train.cross_entropy, optax.sgd),
        TYPE,
        "make_train_step: `optimizer` must be an Optax optimizer, got the function sgd; "
        f"{AN_OPTIMIZER}",
    ),
    "make_eval_step, dtype": (
        lambda: train.make_eval_step(MODEL, [train.accuracy], compute_dtype="half precision"),
        TYPE,
        "make_eval_step: `compute_dtype` must be a floating dtype, got str 'half precision'; "
        "give one such as jnp.float32.",
    ),
    "init_state, key": (
        lambda: train.init_state(MODEL, SGD, ROWS, key=7),
        TYPE,
        f"init_state: `key` must be one random key, got int 7; {A_KEY}",
    ),
    "init_state, batch": (
        lambda: train.init_state(MODEL, SGD, XS, key=KEY),
        TYPE,
        f"init_state: `batch` {PARTS}, got an array of shape (6, 5, 3); {SUCH_PARTS}",
    ),
    "init_state, averaging": (
        lambda: train.init_state(MODEL, SGD, ROWS, key=KEY, averaging=0.9),
        TYPE,
        f"init_state: `averaging` {AVERAGES}, got float 0.9; call one of them.",
    ),
}

REFUSED = table(measures=MEASURES, options=OPTIONS)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, any_promotion):
    check(REFUSED[name])
