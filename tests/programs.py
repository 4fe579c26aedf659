"""What stands in a traced program."""

import jax


def walk(jaxpr, in_loop=False):
    """Every equation, also of the programs inside equations, and whether it stands in a loop."""
    for equation in jaxpr.eqns:
        yield equation, in_loop
        inside = in_loop or equation.primitive.name in ("scan", "while")
        for value in jax.tree.leaves(list(equation.params.values())):
            value = getattr(value, "jaxpr", value)
            if hasattr(value, "eqns"):
                yield from walk(value, inside)


def equations(jaxpr):
    """All of them; the printed text would show once what several of them share."""
    return [equation for equation, _ in walk(jaxpr)]
