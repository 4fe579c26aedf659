"""How time goes on for a program: in a loop on a GPU, or along the grid of an interpreter.

Programs that share a head's units hand parts over in memory, and wait for each other once a step.
An interpreter runs programs one after the other, where none can wait; so there each place of the
grid is one step, and the state stands in memory between them.
"""

from typing import Any, NamedTuple

import jax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from rnnjax.methods.gpu.kernels import Operand, Program


class Exchange(NamedTuple):
    """Where programs hand over, and count who has come.

    Attributes:
        handed: `(networks, 2, parts, B, H)`; steps take turns, so that nobody writes what others
            still read.
        counts: `(networks, heads, tiles)`, zero at first.
        network: the number of the program's.
    """

    handed: Any
    counts: Any
    network: int

    def put(self, program: Program, n: Any, own: tuple[Any, ...]) -> None:
        """Hand over this program's part."""
        for part, value in enumerate(own):
            program.place.store(self.handed, value, at=(self.network, n & 1, part))

    def take(self, program: Program, n: Any, came: Any = None) -> Operand:
        """What all have handed over."""
        place = program.place

        def load(part: int, number: int) -> Any:
            at = (self.network, n & 1, part)
            return place.handed(self.handed, at, *place.layout.summed[number])

        return Operand(load, came)

    def wait(self, program: Program, n: Any) -> Any:
        """Until all programs of this head and tile have handed over for the n-th step.

        All of them run at once, or this has no end. Each thread's writes stand before its
        program's count, which releases them; the count that is read acquires those of others.
        """
        place = program.place
        at = (self.network, place.head, place.tile)
        all_came = place.layout.slices * (n + 1)
        triton.debug_barrier()
        came = triton.atomic_add(self.counts, at, 1) + 1
        came = jax.lax.while_loop(
            lambda came: came < all_came, lambda _: triton.atomic_add(self.counts, at, 0), came
        )
        triton.debug_barrier()
        return came >= all_came


def run_all(program: Program, exchange: Exchange | None) -> None:
    """All steps in a loop; what the next one reads is on its way while one is computed."""

    def step(n: Any, carried: Any) -> Any:
        state, now = carried
        ahead = program.inputs(n + 1)
        state, own = program.before(n, state, now)
        operand = Operand(lambda part, number: own[part])
        if exchange is not None:
            exchange.put(program, n, own)
            operand = exchange.take(program, n, exchange.wait(program, n))
        return program.after(n, state, now, operand), ahead

    begin = program.begin(), program.inputs(0)
    state, _ = jax.lax.fori_loop(0, program.place.layout.steps, step, begin)
    save(program, state)


def run_one(program: Program, exchange: Exchange, n: Any) -> None:
    """What comes after the wait of one step and before that of the next, in an interpreter."""
    memory, place = program.memory, program.place

    def finish() -> None:
        operand = exchange.take(program, n - 1)
        state = place.load(memory)
        save(program, program.after(n - 1, state, program.inputs(n - 1), operand))

    def start() -> None:
        state, own = program.before(n, place.load(memory), program.inputs(n))
        save(program, state)
        exchange.put(program, n, own)

    pl.when(n == 0)(lambda: save(program, program.begin()))
    pl.when(n > 0)(finish)
    pl.when(n < place.layout.steps)(start)


def save(program: Program, state: Any) -> None:
    """Write the state to memory."""
    leaves = jax.tree.leaves(program.memory), jax.tree.leaves(state)
    for ref, value in zip(*leaves, strict=True):
        program.place.store(ref, value)
