"""What all peers written in JAX have in common: they are compiled, called and measured alike."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cases import Case, Data, Weights
from peers import inference_results, training_results


class Network(NamedTuple):
    """How a peer runs a case."""

    params: Any
    forward: Callable[[Any, Any, Any], tuple[Any, Any]]  # params, xs, lengths -> carry, ys
    states: Callable[[Any], list[Any]]  # carry -> every layer's and direction's last h
    weights: Callable[[Any], list[Weights]]  # gradients in the peer's layout -> in ours
    time_major: bool = True


class JaxProgram:
    """A network compiled for one case; parameters and data are arguments, never constants."""

    def __init__(self, case: Case, data: Data, network: Network):
        # What an earlier case traced would shorten the first call of this one.
        jax.clear_caches()
        if jax.default_backend() != "cpu":  # no TF32, nor bfloat16 passes: float32 is compared
            jax.config.update("jax_default_matmul_precision", "highest")
        self.network, self.training = network, case.mode == "training"
        self.args = jax.block_until_ready(jax.device_put(self._arguments(data)))
        function = jax.jit(self._train if self.training else network.forward)
        start = time.perf_counter()
        self.compiled = function.lower(*self.args).compile()
        self.run()
        self.first_call_seconds = time.perf_counter() - start
        analysis = self.compiled.memory_analysis()
        self.temporary_bytes = None if analysis is None else analysis.temp_size_in_bytes

    def _arguments(self, data: Data) -> tuple[Any, ...]:
        xs, v = self._swapped(data.xs), self._swapped(data.v)
        args = (self.network.params, xs, data.lengths)
        return (*args, v) if self.training else args

    def _swapped(self, a: Any) -> Any:
        return a if self.network.time_major else np.ascontiguousarray(np.swapaxes(a, 0, 1))

    def _train(self, params: Any, xs: Any, lengths: Any, v: Any) -> Any:
        def loss(params):
            _, ys = self.network.forward(params, xs, lengths)
            return jnp.sum(ys * v)

        return jax.value_and_grad(loss)(params)

    def run(self) -> Any:
        return jax.block_until_ready(self.compiled(*self.args))

    def canonical(self, result: Any) -> dict[str, np.ndarray]:
        if self.training:
            loss, gradients = result
            return training_results(loss, self.network.weights(gradients))
        carry, ys = result
        return inference_results(self._swapped(ys), self.network.states(carry))


def device() -> tuple[str, str]:
    return jax.default_backend(), jax.devices()[0].device_kind


def join(gates: list[Any]) -> np.ndarray:
    """One array of all gates, where a peer has one for each."""
    return np.concatenate([np.asarray(gate) for gate in gates], axis=-1)
