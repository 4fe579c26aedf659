"""How many numbers a call needs to work in: packed weights, and projected inputs of some steps."""

from rnnjax.methods.native.kinds import Kind

GROUP = 16  # units that stand side by side with all their gates
WIDE = 4 * GROUP  # units where a product is of one gate alone

PROJECTED = 2**18  # numbers: they stay in the cache until they are read
PROJECTED_ROWS = 128  # at least, so that weights are read for many rows at once


def packed_width(kind: Kind, hidden: int) -> int:
    """Numbers in a row of packed weights; the same as in native/problem.h."""
    by_gates, by_units = hidden + -hidden % GROUP, hidden + -hidden % WIDE
    if kind.gates == 1:
        return by_units
    if kind.two_products:
        return 2 * by_gates + by_units
    return kind.gates * by_gates


def forward_scratch(kind: Kind, sizes: dict[str, int]) -> int:
    """Weights and bias, what a step with two products hands on, and projected inputs."""
    steps, rows, inputs, hidden = (sizes[axis] for axis in "tbdh")
    width = packed_width(kind, hidden)
    projected = max(1, rows) * width
    together = max(1, PROJECTED // projected, PROJECTED_ROWS // max(1, rows))
    passed = 2 * rows * hidden if kind.two_products else 0
    return (inputs + 1 + hidden) * width + passed + min(steps, together) * projected


def backward_scratch(kind: Kind, sizes: dict[str, int]) -> int:
    """Weights turned around."""
    hidden = sizes["h"]
    return kind.gates * hidden * (hidden + -hidden % WIDE)
