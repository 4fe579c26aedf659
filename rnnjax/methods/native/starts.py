"""Where the carries stand that steps began with: most are outputs, and so are not kept again."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from rnnjax._typing import Array
from rnnjax.methods.native.call import ABSENT

RESTARTED = -2  # as in native/problem.h


class Starts(NamedTuple):
    """Of one network.

    Attributes:
        origins: `(T, B)`, the step whose output it is; -1 where a row began, or does not count,
            and -2 where it was restarted.
        outputs: `(T, B, H)`.
        first: what rows began with, and were restarted with if they were, `(1 or 2, B, H)`.
        c: `(T, B, H)`, of an LSTM.
    """

    origins: Array
    outputs: Array
    first: Array
    c: Array | None

    @property
    def h(self) -> Array:
        """What each step began with, `(T, B, H)`."""
        origins = self.origins[..., None]
        earlier = jnp.take_along_axis(self.outputs, jnp.maximum(origins, 0), 0)
        first = jnp.where(origins == RESTARTED, self.first[-1], self.first[0])
        return jnp.where(origins < 0, first, earlier)


def starts_of(every: list[Starts], n: int) -> list[Any]:
    """Those of a network as the library takes them: the outputs of all are the first one's."""
    # As the forward call returned them, side by side: XLA copies nothing.
    outputs = jnp.concatenate([starts.outputs for starts in every], axis=-1) if n == 0 else ABSENT
    return [every[n].origins, outputs, every[n].first]
