"""Files: written whole or not at all, and read without running code."""

from rnnjax.storage.weights import load_weights as load_weights
from rnnjax.storage.weights import save_weights as save_weights
