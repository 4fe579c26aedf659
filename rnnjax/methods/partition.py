"""The library on several devices: a batch that is sharded stays so.

XLA knows nothing of what stands in a call of the library, and would gather all arrays on every
device. Rows do not depend on each other, so each device runs its own.
"""

from collections.abc import Callable
from typing import Any

from jax.sharding import NamedSharding, PartitionSpec

from rnnjax._typing import Array
from rnnjax.methods import manual

ROWS = "b"


def over_rows(
    function: Callable[..., tuple[Array, ...]], operands: list[str], results: list[str]
) -> Callable[..., tuple[Array, ...]]:
    """Let `function` be cut along the axes that are called b, as `"t b g"` names them."""
    if manual.rows_are_here():
        return function
    # Here, since `import rnnjax` does without it.
    from jax.experimental.custom_partitioning import custom_partitioning

    names = [[axis.split() for axis in axes] for axes in (operands, results)]

    def shardings(mesh: Any, axis: Any, axes: list[list[str]]) -> tuple[NamedSharding, ...]:
        specs = [[axis if name == ROWS else None for name in array] for array in axes]
        return tuple(NamedSharding(mesh, PartitionSpec(*spec)) for spec in specs)

    def rows_axis(arg_shapes: Any) -> Any:
        for array, axes in zip(arg_shapes, names[0], strict=True):
            if ROWS in axes:
                spec = array.sharding.spec
                where = axes.index(ROWS)
                return spec[where] if where < len(spec) else None
        return None

    def partition(mesh: Any, arg_shapes: Any, result_shapes: Any) -> Any:
        del result_shapes
        axis = rows_axis(arg_shapes)
        return mesh, function, shardings(mesh, axis, names[1]), shardings(mesh, axis, names[0])

    every = dict.fromkeys(name for axes in names for array in axes for name in array)
    run = custom_partitioning(function)
    run.def_partition(
        partition=partition,
        sharding_rule=f"{', '.join(operands)} -> {', '.join(results)}",
        need_replication_factors=tuple(name for name in every if name != ROWS),
    )
    return run
