"""What runs an LSTM or GRU on an accelerator, one program each, and what limits them all."""

import functools
import importlib.util
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax

SCANS = {"Scan()": rnnjax.Scan(), "Scan(unroll=8)": rnnjax.Scan(unroll=8)}
REFERENCE, FLAX, TORCH = "Scan()", "Flax scan", "PyTorch"


def methods() -> dict[str, rnnjax.Method]:
    """Those for this platform; on a CPU all, to see that they work."""
    here = jax.default_backend()
    processors = jax.devices()[0].core_count if here == "gpu" else 1
    gpu = {"Cudnn()": rnnjax.Cudnn(), "PallasGPU()": rnnjax.PallasGPU(processors)}
    tpu = {"PallasTPU()": rnnjax.PallasTPU()}
    kernels = {"gpu": gpu, "tpu": tpu}.get(here, gpu | tpu)
    return kernels | {"Fused()": rnnjax.Fused()} | SCANS


class Task(NamedTuple):
    """One thing to compute, with the numbers that all get.

    Attributes:
        name: lstm or gru.
        dtype: of products and outputs; parameters are float32.
        training: whether the gradient of a loss by weights and inputs is asked for.
        cell: as rnnjax has it.
        params: of it.
        xs: inputs, `(T, B, H)`.
        v: the loss is the sum of outputs times `v`.
    """

    name: str
    dtype: str
    training: bool
    cell: rnnjax.Cell
    params: Any
    xs: jax.Array
    v: jax.Array

    @property
    def arguments(self) -> tuple[Any, ...]:
        """Of a JAX program for it."""
        return self.params, self.xs, self.v


class Program(NamedTuple):
    """A contender that is ready.

    Attributes:
        seconds: `calls -> seconds` that so many calls take in a row.
        result: of one call, arrays by name; what all contenders share.
    """

    seconds: Callable[[int], float]
    result: Callable[[], dict[str, np.ndarray]]


def task(name: str, dtype: str, sizes: tuple[int, int, int], *, training: bool) -> Task:
    """T, B and H with D = H, from a fixed seed."""
    steps, batch, hidden = sizes
    cell = getattr(rnnjax, name)(hidden, dtype=jnp.dtype(dtype))
    keys = jax.random.split(jax.random.key(0), 3)
    params = cell.init(keys[0], hidden)
    xs = jax.random.normal(keys[1], (steps, batch, hidden)).astype(dtype)
    v = jax.random.normal(keys[2], xs.shape)
    return Task(name, dtype, training, cell, params, xs, v)


def timed_jax(run: Callable[..., Any], arguments: Any) -> Callable[[int], float]:
    """Seconds of calls in a row, until the device is done."""

    def seconds(calls: int) -> float:
        begin = time.perf_counter()
        for _ in range(calls):
            out = run(*arguments)
        jax.block_until_ready(out)
        return time.perf_counter() - begin

    return seconds


def in_jax(outputs: Callable[[Any, Any], Any], asked: Task, params: Any) -> Program:
    """A program of outputs, `params, xs -> ys`, or of the gradient of a loss on them."""

    def loss(params: Any, xs: Any, v: Any) -> Any:
        return (outputs(params, xs).astype(jnp.float32) * v).sum()

    infer = lambda params, xs, v: outputs(params, xs)
    function = jax.grad(loss, argnums=(0, 1)) if asked.training else infer
    arguments = (params, asked.xs, asked.v)
    run = jax.jit(function).lower(*arguments).compile()

    def result() -> dict[str, np.ndarray]:
        out = run(*arguments)
        if not asked.training:
            return {"outputs": as_float(out)}
        weights, inputs = out
        found = {"gradient of inputs": as_float(inputs)}
        if isinstance(weights, type(asked.params)):
            named = weights._asdict().items()
            found |= {f"gradient of {k}": as_float(a) for k, a in named if a is not None}
        return found

    return Program(timed_jax(run, arguments), result)


def as_float(x: Any) -> np.ndarray:
    """For comparing."""
    return np.asarray(x.astype(jnp.float32))


def ours(method: rnnjax.Method, asked: Task) -> Program:
    """rnnjax by one of its methods."""
    outputs = lambda params, xs: rnnjax.unroll(asked.cell, params, xs, method=method)[1]
    return in_jax(outputs, asked, asked.params)


def flax(asked: Task) -> Program:
    """`nn.RNN` over the cell that Linen recommends."""
    from flax import linen as nn

    there = rnnjax.interop.rnnjax_to_linen(asked.cell, asked.params).weights["params"]
    kind = nn.OptimizedLSTMCell if asked.name == "lstm" else nn.GRUCell
    rnn = nn.RNN(kind(asked.xs.shape[-1], dtype=jnp.dtype(asked.dtype)), time_major=True)
    params = jax.device_put({"params": {"cell": there}})
    return in_jax(rnn.apply, asked, params)


def pytorch(asked: Task) -> Program:
    """`nn.LSTM` or `nn.GRU`, which call cuDNN where there is CUDA."""
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    there = rnnjax.interop.rnnjax_to_torch(asked.cell, asked.params).weights
    width, dtype = asked.xs.shape[-1], getattr(torch, asked.dtype)
    where = "cuda" if torch.cuda.is_available() else "cpu"
    if where == "cpu":
        torch.set_num_threads(1)  # more of them would spin in the turns of others
    module = getattr(torch.nn, asked.name.upper())(width, width)
    module.load_state_dict({name: torch.tensor(array) for name, array in there.items()})
    module = module.to(where, dtype)
    module.flatten_parameters()
    xs = torch.tensor(as_float(asked.xs)).to(where, dtype).requires_grad_(asked.training)
    v = torch.tensor(np.asarray(asked.v)).to(where)
    parameters = list(module.parameters())

    def run() -> Any:
        if not asked.training:
            with torch.inference_mode():
                return module(xs)[0]
        loss = (module(xs)[0].float() * v).sum()
        return torch.autograd.grad(loss, [xs, *parameters])[0]

    def seconds(calls: int) -> float:
        begin = time.perf_counter()
        for _ in range(calls):
            run()
        if where == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    name = "gradient of inputs" if asked.training else "outputs"
    return Program(seconds, lambda: {name: run().float().cpu().numpy()})


def contenders(asked: Task, *, anywhere: bool) -> dict[str, Callable[[], Program]]:
    """What builds each; `anywhere` takes PyTorch without CUDA as well."""
    found: dict[str, Callable[[], Program]] = {
        name: functools.partial(ours, method, asked) for name, method in methods().items()
    }
    if importlib.util.find_spec("flax"):
        found[FLAX] = functools.partial(flax, asked)
    if with_torch(anywhere=anywhere):
        found[TORCH] = functools.partial(pytorch, asked)
    return found


def with_torch(*, anywhere: bool) -> bool:
    """Whether PyTorch is here, with CUDA."""
    if not importlib.util.find_spec("torch"):
        return False
    import torch

    return anywhere or torch.cuda.is_available()


def limits(asked: Task, bandwidth: float) -> dict[str, Callable[[int], float]]:
    """Seconds that no program can do without, as `calls -> seconds`.

    The chain of products runs through all steps, each on what the one before gave, beside the
    hoisted ones; were the recurrent products free to be hoisted as well, they would take what
    the second limit says. A training step has each product three times, two of them in chains if
    recurrent. Memory: inputs, outputs, their cotangents and the weights, moved once each way.
    """
    steps, batch, hidden = asked.xs.shape
    w = asked.params.w_hh.astype(asked.dtype)
    times, chains = (3, 2) if asked.training else (1, 1)
    flat = asked.xs.reshape(-1, hidden)

    def chain(h: Any, w: Any) -> Any:
        step = lambda h, _: ((h @ w)[:, :hidden], None)
        return jax.lax.scan(step, h, length=steps, unroll=min(steps, 16))[0]

    lowered = {
        "chain": (jax.jit(chain), (asked.xs[0], w)),
        "hoisted": (jax.jit(lambda x, w: x @ w), (flat, w)),
    }
    chained, hoisted = (
        timed_jax(f.lower(*arrays).compile(), arrays) for f, arrays in lowered.values()
    )
    values = sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(asked.params))
    moved = asked.xs.nbytes * (5 if asked.training else 2) + values * (2 if asked.training else 1)
    return {
        "limit: products in a chain": lambda calls: (
            chains * chained(calls) + (2 * times - chains) * hoisted(calls)
        ),
        "limit: products at once": lambda calls: 2 * times * hoisted(calls),
        "limit: memory": lambda calls: calls * moved / bandwidth,
    }


def copy_bandwidth(size: int) -> float:
    """Bytes a second, read and written, of copying that many bytes; the best of several."""
    x = jnp.ones(size // 4, jnp.float32)
    run = jax.jit(lambda x: x + 1).lower(x).compile()
    seconds = timed_jax(run, (x,))
    seconds(1)
    return 2 * x.nbytes / min(seconds(1) for _ in range(10))
