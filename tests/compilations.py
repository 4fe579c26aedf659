"""Which programs are compiled."""

import contextlib
import logging

import jax


@contextlib.contextmanager
def compilations(name):
    """Those of programs with this name."""
    seen = []

    class Handler(logging.Handler):
        def emit(self, record):
            if record.getMessage().startswith(f"Compiling jit({name})"):
                seen.append(name)

    logger, handler = logging.getLogger("jax"), Handler()
    level, spread = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    try:
        with jax.log_compiles():
            yield seen
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = spread
