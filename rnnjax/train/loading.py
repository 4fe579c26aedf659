"""What a run has left in its checkpoints, for those who do not train on."""

from pathlib import Path
from typing import Any

import jax

from rnnjax.data.batch import Batch
from rnnjax.data.checks import as_batch
from rnnjax.train.checkpoints import CheckpointError, check_folder, fill, find
from rnnjax.train.evaluation import Trained
from rnnjax.train.history import History
from rnnjax.train.modules import as_model


def load_best(folder: str | Path, model: Any, batch: Batch | tuple) -> Trained:
    """Read the weights of a run's best epoch; the last ones are those with which `fit` resumes.

    Args:
        folder: that the run had for its checkpoints.
        model: that was trained. An NNX module holds the weights afterwards.
        batch: a batch, or a tuple of arrays, which lends its shapes.

    Returns:
        What `evaluate` and `predict` take, with the history of the run so far. Which epoch is best,
        `monitor` of `fit` decides.

    Raises:
        CheckpointError: if there is no sound checkpoint, or no epoch was over when it was written.
        TypeError: for weights of another dtype, or what is no model.
        ValueError: for those of another model.

    Warns:
        CheckpointWarning: naming each checkpoint that was damaged and passed over.
    """
    function = "load_best"
    functions = as_model(function, model)
    like = jax.eval_shape(functions.init, jax.random.key(0), as_batch(function, batch))
    found = find(function, check_folder(function, folder))
    if found.record.get("best_epoch") is None:
        raise CheckpointError(f"{function}: no epoch was over when {found.path} was written.")
    best = fill(function, found, like, part="best")
    if functions.store is not None:
        functions.store(best)
    return Trained(model, best.params, best.buffers, History(found.record["history"]))
