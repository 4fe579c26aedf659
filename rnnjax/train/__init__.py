"""Training: pure steps, `fit`, losses and measures, checkpoints, observers."""

from rnnjax.train.checkpoints import CheckpointError as CheckpointError
from rnnjax.train.checkpoints import Checkpoints as Checkpoints
from rnnjax.train.checkpoints import CheckpointWarning as CheckpointWarning
from rnnjax.train.checkpoints import Restored as Restored
from rnnjax.train.checkpoints import latest_step as latest_step
from rnnjax.train.checkpoints import restore as restore
from rnnjax.train.checkpoints import save as save
from rnnjax.train.weights import load_weights as load_weights
from rnnjax.train.weights import save_weights as save_weights
