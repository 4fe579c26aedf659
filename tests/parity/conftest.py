"""Settings for the parity tests: Keras computes with JAX."""

import os

os.environ["KERAS_BACKEND"] = "jax"  # read when keras is imported
