"""The implementations that take part, one file each, and what a worker asks of them."""

import functools
import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from cases import Case, Data, Weights


class Program(Protocol):
    """One case, compiled, run once, and ready to be timed."""

    @property
    def first_call_seconds(self) -> float:
        """Of tracing, compilation and first run."""
        ...

    @property
    def temporary_bytes(self) -> int | None:
        """As the compiler states it; None where it states nothing."""
        ...

    def run(self) -> Any:
        """One complete call that returns when it is done; nothing is converted for NumPy."""
        ...

    def canonical(self, result: Any) -> dict[str, np.ndarray]:
        """What `run` returned, in the names and layouts that all share."""
        ...


class Peer(NamedTuple):
    """What a file of this folder offers."""

    why_not: Callable[[Case], str | None]  # why it takes no part in a case, or None
    build: Callable[[Case, Data], Program]
    device: Callable[[], tuple[str, str]]  # cpu, gpu or tpu, and its name


class Entry(NamedTuple):
    """Where a peer is found, before anything heavy is imported."""

    label: str
    module: str
    needs: tuple[str, ...]  # what it imports
    in_jax: bool = True
    reset: str = "after"  # which GRU it is


PEERS = {
    "rnnjax": Entry("rnnjax", "ours", ("jax",)),
    "nnx": Entry("NNX", "flax_nnx", ("flax",)),
    "linen": Entry("Linen", "flax_linen", ("flax",)),
    "haiku": Entry("Haiku", "dm_haiku", ("haiku",), reset="before"),
    "equinox": Entry("Equinox", "eqx", ("equinox",)),
    "keras": Entry("Keras", "keras_jax", ("keras",)),
    "torch": Entry("PyTorch", "pytorch", ("torch",), in_jax=False),
    "ort": Entry("ONNX Runtime", "onnx_runtime", ("onnxruntime", "onnx"), in_jax=False),
}
HELPERS = {"reference": "reference", "matmul": "matmul"}  # take no part, but run in workers too


def entry(name: str) -> Entry:
    """Look a peer up by its name; `rnnjax:Scan` is rnnjax with a method asked for."""
    key, _, option = name.partition(":")
    if key not in PEERS or (option and key != "rnnjax"):
        raise ValueError(f"no peer is called {name!r}; there are {', '.join(PEERS)}")
    found = PEERS[key]
    return found._replace(label=f"{found.label} {option}") if option else found


def missing(name: str) -> str | None:
    """Which package keeps a peer from taking part, or None."""
    lacking = [m for m in entry(name).needs if importlib.util.find_spec(m) is None]
    return f"not installed: {', '.join(lacking)}" if lacking else None


def load(name: str) -> Peer:
    """Import a peer; what follows a colon is given to its `build`."""
    key, _, option = name.partition(":")
    module = importlib.import_module(f"peers.{HELPERS.get(key) or entry(name).module}")
    build = functools.partial(module.build, option=option) if option else module.build
    return Peer(module.why_not, build, module.device)


def inference_results(ys: Any, states: list[Any]) -> dict[str, np.ndarray]:
    """Outputs (T, B, H_out) and the last h of every layer and direction."""
    return {"ys": np.asarray(ys), "h": np.stack([np.asarray(h) for h in states])}


def training_results(loss: Any, gradients: list[Weights]) -> dict[str, np.ndarray]:
    """The loss, and every gradient by the name of its weight and the place of its layer."""
    named = {
        f"{name} {place}": np.asarray(leaf)
        for place, weights in enumerate(gradients)
        for name, leaf in weights._asdict().items()
        if leaf is not None
    }
    return {"loss": np.asarray(loss), **named}
