"""Recurrent weights in the order in which the compiled loops read them.

Columns stand in groups of 16. A panel is what one tile of the product needs: the gates of 16
units, or 64 units of one gate. What is missing in the last panel is zero.
"""

import jax.numpy as jnp

from rnnjax._typing import Array, Float

GROUP = 16
WIDE = 4 * GROUP


def pack_gates(w: Float[Array, "H G"], gates: int) -> Float[Array, "panels H width"]:
    """The gates of 16 units a panel: `[panel, k, gate * 16 + unit]`."""
    depth, hidden = w.shape[0], w.shape[1] // gates
    w = _pad(w.reshape(depth, gates, hidden), GROUP).reshape(depth, gates, -1, GROUP)
    return w.transpose(2, 0, 1, 3).reshape(-1, depth, gates * GROUP)


def pack_columns(w: Float[Array, "K H"]) -> Float[Array, "panels K 64"]:
    """64 columns a panel: `[panel, k, column]`."""
    w = _pad(w, WIDE).reshape(w.shape[0], -1, WIDE)
    return w.transpose(1, 0, 2)


def _pad(w: Array, multiple: int) -> Array:
    missing = -w.shape[-1] % multiple
    return jnp.pad(w, [(0, 0)] * (w.ndim - 1) + [(0, missing)]) if missing else w
