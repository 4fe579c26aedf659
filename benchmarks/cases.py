"""What is measured: shapes, variants, the numbers every implementation gets, and their work.

Data come from a fixed seed, so that every process makes its own copy of the same numbers.
"""

import re
import zlib
from typing import NamedTuple

import numpy as np

CELLS = ("lstm", "gru")
MODES = ("inference", "training")
VARIANTS = ("plain", "bidirectional", "lengths", "two layers")
SHAPES = (
    (100, 1, 64, 64),
    (100, 32, 64, 64),
    (128, 32, 256, 256),
    (64, 64, 512, 512),
    (1000, 16, 128, 128),
    (32, 32, 1024, 1024),
)
ODD_SHAPES = ((777, 7, 1, 96), (50, 3, 17, 33), (200, 1, 1, 7), (33, 65, 100, 130))
STREAMING_SHAPES = ((1, 1, 64, 128), (10, 1, 64, 128), (1, 1, 64, 512))


class Case(NamedTuple):
    """One thing to compute: T steps, B rows, D input features, H hidden ones.

    Training is the loss `sum(ys * v)` and its gradient by all weights, not by the inputs.
    """

    cell: str
    mode: str
    T: int
    B: int
    D: int
    H: int
    variant: str

    @property
    def name(self) -> str:
        return f"{self.cell} {self.mode} {self.T},{self.B},{self.D},{self.H} {self.variant}"

    @property
    def num_gates(self) -> int:
        return 4 if self.cell == "lstm" else 3

    @property
    def num_layers(self) -> int:
        return 2 if self.variant == "two layers" else 1

    @property
    def num_directions(self) -> int:
        return 2 if self.variant == "bidirectional" else 1

    def in_features(self, layer: int) -> int:
        return self.H * self.num_directions if layer else self.D


class Weights(NamedTuple):
    """One direction of one layer in rnnjax's layout: gates i, f, g, o or r, z, n.

    `b_hn` of a GRU is zero here, since not every peer has it; None stands for "has none".
    """

    w_ih: np.ndarray  # (D, G)
    w_hh: np.ndarray  # (H, G)
    b: np.ndarray  # (G,)
    b_hn: np.ndarray | None = None  # (H,)


class Data(NamedTuple):
    """The numbers of a case; weights run over layers, and over directions within a layer."""

    weights: tuple[Weights, ...]
    xs: np.ndarray  # (T, B, D)
    lengths: np.ndarray | None  # (B,)
    v: np.ndarray  # (T, B, H_out), zero at padding


def grid(shapes: tuple[tuple[int, int, int, int], ...]) -> list[Case]:
    """Every cell, mode, shape and variant."""
    return [
        Case(cell, mode, *shape, variant)
        for cell in CELLS
        for mode in MODES
        for shape in shapes
        for variant in VARIANTS
    ]


def select(cases: list[Case], pattern: str) -> list[Case]:
    """The cases in whose name the regular expression is found."""
    return [case for case in cases if re.search(pattern, case.name)]


CASES = grid(SHAPES)
ODD = grid(ODD_SHAPES)
STREAMING = select(grid(STREAMING_SHAPES), "inference .* plain")
QUICK = [
    Case("lstm", "training", 9, 3, 5, 6, "lengths"),
    Case("gru", "inference", 9, 3, 5, 6, "plain"),
]


def make_lengths(case: Case) -> np.ndarray | None:
    """Valid steps of each row, uniform in 1..T, and T in the first row."""
    if case.variant != "lengths":
        return None
    lengths = np.random.default_rng(case.T + case.B).integers(1, case.T + 1, case.B)
    lengths[0] = case.T
    return lengths.astype(np.int32)


def valid_steps(case: Case, lengths: np.ndarray | None) -> np.ndarray:
    """True where a step is no padding, (T, B)."""
    steps = np.arange(case.T)[:, None]
    return steps < (np.full(case.B, case.T) if lengths is None else lengths)


def make_data(case: Case) -> Data:
    """Inputs, weights as PyTorch draws them, and a cotangent that makes gradients about 1."""
    rng = np.random.default_rng(zlib.crc32(f"{case.cell} {case[2:]}".encode()))
    scale, width = case.H**-0.5, case.num_gates * case.H

    def draw(*shape: int) -> np.ndarray:
        return rng.uniform(-scale, scale, shape).astype(np.float32)

    def draw_weights(in_features: int) -> Weights:
        b_hn = np.zeros(case.H, np.float32) if case.cell == "gru" else None
        return Weights(draw(in_features, width), draw(case.H, width), draw(width), b_hn)

    weights = tuple(
        draw_weights(case.in_features(layer))
        for layer in range(case.num_layers)
        for _ in range(case.num_directions)
    )
    lengths = make_lengths(case)
    xs = rng.standard_normal((case.T, case.B, case.D), np.float32)
    v = rng.standard_normal((case.T, case.B, case.num_directions * case.H), np.float32)
    v *= valid_steps(case, lengths)[..., None] / np.float32(np.sqrt(case.T * case.B))
    return Data(weights, xs, lengths, v)


def flops(case: Case) -> int:
    """Multiplications and additions of the matmuls that a case cannot do without.

    Forward: the input product and the recurrent one. Backward: the recurrent one again, for the
    carry; the gradients of both weights; and that of the inputs, above the first layer only.
    """
    steps = int(valid_steps(case, make_lengths(case)).sum())
    total = 0
    for layer in range(case.num_layers):
        given, recurrent = case.in_features(layer), case.H
        columns = given + recurrent
        if case.mode == "training":
            columns += recurrent + (given + recurrent) + (given if layer else 0)
        total += 2 * steps * columns * case.num_gates * case.H * case.num_directions
    return total
