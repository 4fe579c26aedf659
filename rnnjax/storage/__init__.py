"""Files: written whole or not at all, and read without running code."""

from rnnjax.storage.description import build as build
from rnnjax.storage.description import describe as describe
from rnnjax.storage.model_files import Loaded as Loaded
from rnnjax.storage.model_files import load as load
from rnnjax.storage.model_files import save as save
from rnnjax.storage.weights import load_arrays as load_arrays
from rnnjax.storage.weights import load_weights as load_weights
from rnnjax.storage.weights import save_weights as save_weights
