"""What a program does in a step: forwards, and on the way back.

A step is `before`, at the end of which the program hands over what a recurrent product of all units
reads, and `after`, which has that product. `state` is what goes from one to the next.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax.methods.base import keep, zeros_like
from rnnjax.methods.gpu.place import Place
from rnnjax.methods.pallas.arrays import Backward, Forward, told
from rnnjax.methods.pallas.steps import KernelCell


class Operand(NamedTuple):
    """What a recurrent product reads.

    Attributes:
        load: `part, number of a summed part -> (tile, size)`.
        came: whether all programs have handed over, which is always true here; None where a
            program reads its own alone.
    """

    load: Callable[[int, int], Any]
    came: Any = None

    def sum(self, terms: list[Callable[[], Any]]) -> Any:
        """The sum of products.

        Each stands in a branch of its own, so that the compiler does not keep the operands of all
        of them, and parts of the weights, in registers and shared memory at a time.
        """
        total = terms[0]()
        for term in terms[1:]:
            if self.came is None:
                total = total + term()
            else:
                more = lambda total, term=term: total + term()
                total = jax.lax.cond(self.came, more, lambda total: total, total)
        return total


@dataclasses.dataclass(frozen=True)
class Program(abc.ABC):
    """Of one network: its refs, weights that are at hand, and where the program is.

    Attributes:
        cell: what runs.
        place: its rows and units.
        reverse: whether it begins with the last step.
        network: refs that it reads.
        out: refs that it writes.
        weights: those of `Place`.
        precision: of products.
    """

    cell: KernelCell
    place: Place
    reverse: bool
    network: Any
    out: Any
    weights: list[list[Any]]
    precision: Any

    @staticmethod
    @abc.abstractmethod
    def parts(cell: KernelCell) -> int:
        """How many arrays are handed over."""

    @staticmethod
    @abc.abstractmethod
    def load_weights(place: Place, network: Any) -> list[list[Any]]:
        """Those that it reads, once."""

    @property
    @abc.abstractmethod
    def memory(self) -> Any:
        """Refs that hold the state in the end."""

    @abc.abstractmethod
    def begin(self) -> Any:
        """The state that the first step takes."""

    @abc.abstractmethod
    def inputs(self, n: Any) -> tuple[Any, ...]:
        """What the n-th step reads."""

    @abc.abstractmethod
    def before(self, n: Any, state: Any, now: Any) -> tuple[Any, tuple[Any, ...]]:
        """The state before the product, and what is handed over for it."""

    @abc.abstractmethod
    def after(self, n: Any, state: Any, now: Any, operand: Operand) -> Any:
        """The state that the next step takes."""

    def time(self, n: Any) -> Any:
        """The step that is visited as the n-th; the last one stands for what comes after it."""
        last = self.place.layout.steps - 1
        n = jnp.minimum(n, last)
        return last - n if self.reverse else n

    def product(self, x: Any, w: Any) -> Any:
        """`x @ w`, inputs in the dtype of the weights."""
        options = {"precision": self.precision, "preferred_element_type": jnp.float32}
        return jnp.dot(x.astype(w.dtype), w, **options)

    def load_gates(self, ref: Any, t: Any) -> tuple[Any, ...]:
        """One array for each gate."""
        return tuple(self.place.load(ref, at=(t,), part=part) for part in range(self.cell.gates))

    def store_columns(self, refs: Any, t: Any, columns: Any) -> None:
        """One step's columns; what nobody wants has no ref."""
        for ref, parts in zip(refs, columns, strict=False):
            for part, value in enumerate(parts):
                self.place.store(ref, value, at=(t,), part=part)


class Forwards(Program):
    """The steps forwards; the state is the carry."""

    @staticmethod
    def parts(cell: KernelCell) -> int:
        """How many arrays are handed over."""
        return 1

    @staticmethod
    def load_weights(place: Place, network: Forward) -> list[list[Any]]:
        """Those that it reads, once."""
        return place.forward_weights(network.w_hh)

    @property
    def memory(self) -> Any:
        """Refs that hold the state in the end."""
        return self.out.carry

    def begin(self) -> Any:
        """The state that the first step takes."""
        return self.place.load(self.network.carry)

    def inputs(self, n: Any) -> tuple[Any, Any]:
        """What the n-th step reads."""
        t = self.time(n)
        return self.load_gates(self.network.zs, t), self.place.flags(self.network.flags, t)

    def before(self, n: Any, state: Any, now: Any) -> tuple[Any, tuple[Any, ...]]:
        """Where it begins; rows that restart count."""
        del n
        _, restart = told(now[1])
        if self.network.fresh is not None:
            state = keep(restart, self.place.load(self.network.fresh), state)
        return state, (state.h,)

    def after(self, n: Any, state: Any, now: Any, operand: Operand) -> Any:
        """The new carry; gates and outputs are written."""
        (zs, bits), t, start = now, self.time(n), state
        b_hn = self.place.bias(self.network.b_hn)
        new, kept = self.cell.forward(self.gates_of(operand), zs, start, b_hn)
        if self.out.columns is not None:
            self.store_columns(self.out.columns, t, kept)
            self.place.store(self.out.starts, start, at=(t,))
        y, (valid, _) = new.h, told(bits)
        if valid is not None:
            y, new = keep(valid, y, zeros_like(y)), keep(valid, new, start)
        self.place.store(self.out.ys, y, at=(t,))
        return new

    def gates_of(self, operand: Operand) -> list[Any]:
        """The recurrent product, gate by gate."""
        gates, block = [], self.place.layout.block
        for number, group in enumerate(self.place.layout.groups):
            total = operand.sum(
                [
                    lambda part=part, w=weights[number]: self.product(operand.load(0, part), w)
                    for part, weights in enumerate(self.weights)
                ]
            )
            gates += jax.lax.split(total, [block] * len(group), 1) if len(group) > 1 else [total]
        return gates


class Backwards(Program):
    """The steps back; the state is the cotangent of the carry, and of what restarts restore."""

    @staticmethod
    def parts(cell: KernelCell) -> int:
        """How many arrays are handed over."""
        return cell.gates

    @staticmethod
    def load_weights(place: Place, network: Backward) -> list[list[Any]]:
        """Those that it reads, once."""
        return place.backward_weights(network.w_hh)

    @property
    def memory(self) -> Any:
        """Refs that hold the state in the end."""
        return self.out.dcarry, self.out.dfresh

    def begin(self) -> Any:
        """The state that the first step takes."""
        dcarry = self.place.load(self.network.dcarry)
        return dcarry, None if self.out.dfresh is None else zeros_like(dcarry)

    def inputs(self, n: Any) -> tuple[Any, ...]:
        """What the n-th step reads."""
        t, (columns, *others) = self.time(n), self.network.columns
        rest = self.place.load((*others, self.network.dys), at=(t,))
        start = self.place.load(self.network.starts, at=(t,))
        return self.load_gates(columns, t), rest, start, self.place.flags(self.network.flags, t)

    def before(self, n: Any, state: Any, now: Any) -> tuple[Any, tuple[Any, ...]]:
        """Cotangents of the gates; those of the carry lack the product."""
        gates, (*others, dy), start, bits = now
        later, dfresh = state
        dnew = later._replace(h=later.h + dy.astype(later.h.dtype))
        valid, _ = told(bits)
        if valid is not None:
            dnew = keep(valid, dnew, zeros_like(dnew))
        dstart, deltas = self.cell.backward(gates, tuple(others), start, dnew)
        self.store_columns(self.out.deltas, self.time(n), deltas)
        if valid is not None:
            dstart = keep(valid, dstart, later)  # its deltas are zero, and so is the product
        return (dstart, dfresh), self.cell.operand(deltas)

    def after(self, n: Any, state: Any, now: Any, operand: Operand) -> Any:
        """The product is added, and restarts take what reaches them."""
        del n
        dstart, dfresh = state
        product = operand.sum(
            [
                lambda gate=gate, part=part, w=w: self.product(operand.load(gate, part), w)
                for gate, parts in enumerate(self.weights)
                for part, w in enumerate(parts)
            ]
        )
        dstart = dstart._replace(h=dstart.h + product)
        if dfresh is None:
            return dstart, None
        _, restart = told(now[-1])
        nothing = zeros_like(dstart)
        dfresh = jax.tree.map(jnp.add, dfresh, keep(restart, dstart, nothing))
        return keep(restart, nothing, dstart), dfresh
