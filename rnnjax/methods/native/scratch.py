"""How many numbers a call needs to work in: packed weights, and projected inputs of some steps."""

from rnnjax.methods.native.kinds import Kind

GROUP = 16  # units that stand side by side with all their gates
WIDE = 4 * GROUP  # units where a product is of one gate alone

LEAST_ROWS = 24  # of inputs that are projected together: weights are read once for all of them
MANY_WEIGHTS = 128 * 1024
TILE_ROWS = 6  # that read the weights together
PASSING_WEIGHTS = 2 * 1024 * 1024  # of inputs: more are packed a panel at a time, for each chunk
PASSING_ROWS = 512  # of a chunk then


def packed_width(kind: Kind, hidden: int) -> int:
    """Numbers in a row of packed weights; the same as in native/problem.h."""
    by_gates, by_units = hidden + -hidden % GROUP, hidden + -hidden % WIDE
    if kind.gates == 1:
        return by_units
    if kind.two_products:
        return 2 * by_gates + by_units
    return kind.gates * by_gates


def packs(steps: int, rows: int, hidden: int, width: int) -> bool:
    """Whether weights are packed, or read where they stand; the same as in native/problem.h."""
    uses = steps * -(-rows // TILE_ROWS)
    many = hidden * width > MANY_WEIGHTS
    return hidden % WIDE != 0 or (uses > 2 if many else rows > 1 and uses > 12)


def forward_scratch(kind: Kind, sizes: dict[str, int]) -> int:
    """Bias and packed weights, what a step with two products hands on, and projected inputs.

    Those of one step, or of so many that they are a sixteenth of the weights: more was no faster.
    Many weights of inputs are not kept but packed anew, for the rows of several steps.
    """
    steps, rows, inputs, hidden = (sizes[axis] for axis in "tbdh")
    width = packed_width(kind, hidden)
    together = max(LEAST_ROWS, (inputs + hidden) // 16)
    passed = 2 * rows * hidden if kind.two_products else 0
    packed = 1 + (inputs + hidden if packs(steps, rows, hidden, width) else 0)
    if packed > 1 and inputs * width > PASSING_WEIGHTS:
        packed, together = packed - inputs, PASSING_ROWS
    together //= max(1, rows)
    return packed * width + passed + min(steps, max(1, together)) * rows * width


def backward_scratch(kind: Kind, sizes: dict[str, int]) -> int:
    """Weights turned around."""
    hidden = sizes["h"]
    return kind.gates * hidden * (hidden + -hidden % WIDE)
