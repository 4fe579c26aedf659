"""The method for cuDNN."""

import dataclasses
from typing import Any

import jax

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.cells.lstm import LSTMForm
from rnnjax.methods import manual
from rnnjax.methods.base import Call, TogetherMethod, scan_steps
from rnnjax.methods.cudnn import library
from rnnjax.methods.dtypes import dtypes_of

# The names of precisions, in JAX's words, that TF32 falls short of.
FULL = {
    "highest",
    "float32",
    "F32_F32_F32",
    "F64_F64_F64",
    "TF32_TF32_F32_X3",
    "BF16_BF16_F32_X6",
    "BF16_BF16_F32_X9",
}


@dataclasses.dataclass(frozen=True)
class Cudnn(TogetherMethod):
    """Run the whole sequence in one call of cuDNN, on an NVIDIA GPU.

    For the plain LSTM in float32, by `jax.experimental.rnn`: forward and back, both directions of
    a bidirectional layer in one call, and in one call all layers of a stack, where they are LSTMs
    of one width, all in one direction or all in both with their outputs concatenated, and nothing
    stands between them: no dropout that is on, no skip connection. Other stacks run layer by
    layer. Weights are put into cuDNN's order once a call. Rows of length 0, which cuDNN does not
    bear, make a step that nobody sees.

    Padding must come last, as `lengths` say it: cuDNN knows no masks and no resets. It reads
    65,535 steps at most. Where there are several GPUs it runs inside `shard_map`, each with its
    own rows: `jit` would let every GPU run all of them. A `vmap` over sequences brings more rows,
    one over weights runs one network after the other, and so does a gradient that is taken inside
    of `vmap`, which runs forwards once more.

    What such a machine runs on its CPU, or lowers for another platform, has JAX's reference in its
    place, a plain scan.

    Numbers are those of `Scan`, up to the order of summation and to TF32, see `precision`. First
    derivatives in reverse mode only: forward mode and second derivatives raise a TypeError, and
    `Scan` serves them.

    Attributes:
        precision: of products. `jax.lax.Precision.HIGHEST`, or "highest" or "float32", keeps them
            in float32; any other allows TF32, which rounds their inputs to 10 bits, as it does
            in the products of `Scan` on these GPUs. None takes `jax.default_matmul_precision`,
            whose own default allows it.

    Raises:
        ValueError: if `precision` is none of `jax.lax.Precision`, nor the name of one.

    Reference: Appleyard, Kocisky & Blunsom, *Optimizing performance of recurrent neural
    networks on GPUs* (2016).
    """

    precision: jax.lax.Precision | str | None = None

    def __post_init__(self) -> None:
        if self.precision is None:
            return
        try:
            jax.lax.Precision(self.precision)
        except (TypeError, ValueError):
            way_out = "give jax.lax.Precision.HIGHEST, 'high', or None for JAX's default"
            wanted = "be a jax.lax.Precision or the name of one"
            _checks.refuse("Cudnn", "precision", wanted, repr(self.precision), way_out)

    def why_not(self, call: Call) -> str | None:
        """No such GPU, or another cell, dtype or kind of padding."""
        reason = library.why_not_here() or manual.why_not_explicit()
        if reason is not None:
            return reason
        if not isinstance(call.cell.form, LSTMForm):
            return "it knows the plain LSTM alone"
        if not manual.rows_are_here():
            return "where there are several GPUs it runs inside shard_map alone"
        others = sorted({str(dtype) for dtype in frozenset().union(*dtypes_of(call))} - {"float32"})
        if others:
            return f"it computes in float32, and here is {others[0]}"
        if call.resets is not None:
            return "it knows no resets"
        if call.mask is not None and call.lengths is None:
            return "padding must come last, as lengths say it, and here is a mask"
        if not all(isinstance(size, int) for size in call.xs.shape):
            return "it must know the sizes of its inputs"
        if call.num_steps > library.MOST_STEPS:
            return f"it reads {library.MOST_STEPS:,} steps at most, and here are {call.num_steps:,}"
        return None

    def run_together(
        self, calls: tuple[Call, ...], stack: PyTree = None
    ) -> list[tuple[PyTree, PyTree]]:
        """Run calls that differ in weights, carry and direction alone."""
        del stack  # cuDNN has its own order
        if not calls[0].xs.size:
            return [scan_steps(call) for call in calls]  # nothing runs
        if sorted(call.reverse for call in calls) != [False, True]:
            return [self._run_alone(call) for call in calls]
        forwards, backwards = sorted(calls, key=lambda call: call.reverse)
        [carries], ys = self.run_stack(((forwards, backwards),))
        hidden = ys.shape[-1] // 2
        pairs = list(zip(carries, (ys[..., :hidden], ys[..., hidden:]), strict=True))
        return pairs if calls[0] is forwards else pairs[::-1]

    def _run_alone(self, call: Call) -> tuple[PyTree, PyTree]:
        [[carry]], ys = self.run_stack(((call,),))
        return carry, ys

    def is_here(self) -> bool:
        """Whether this machine has it at all, which costs less to ask than `why_not`."""
        return library.why_not_here() is None

    def runs_stack(self, levels: tuple[tuple[Call, ...], ...]) -> bool:
        """Of one width, and all in the same directions."""
        if any(self.why_not(call) is not None for level in levels for call in level):
            return False
        kinds = {
            tuple((call.reverse, call.params.w_hh.shape) for call in level) for level in levels
        }
        return len(kinds) == 1 and levels[0][0].xs.size > 0

    def run_stack(
        self, levels: tuple[tuple[Call, ...], ...]
    ) -> tuple[tuple[tuple[PyTree, ...], ...], PyTree]:
        """Run all layers at once."""
        from rnnjax.methods.cudnn.sequence import run_levels

        return run_levels(levels, full=self.in_float32)

    @property
    def in_float32(self) -> bool:
        """Whether products are taken in float32, not in TF32."""
        if self.precision is None:
            config: Any = jax.config
            return config.jax_default_matmul_precision in FULL
        return jax.lax.Precision(self.precision) == jax.lax.Precision.HIGHEST
