"""What calls cuDNN: the two functions of `jax.experimental.rnn`, and whether they are here."""

from typing import Any, NamedTuple

import jax

from rnnjax._typing import Array, Float, Int

MOST_STEPS = 65_535  # for more it fails
PLATFORMS = ("cuda",)  # what programs are lowered for, that call it

Weights = Float[Array, " W"]
Sequences = Float[Array, "B T D"]
Carries = Float[Array, "L B H"]


class Network(NamedTuple):
    """What is static about a call.

    Attributes:
        features: D.
        hidden: H.
        layers: how many stand above each other.
        both_ways: whether each of them reads both ways.
        full: whether products are taken in float32, not in TF32.
    """

    features: int
    hidden: int
    layers: int
    both_ways: bool
    full: bool

    @property
    def options(self) -> dict[str, Any]:
        """The same in JAX's words."""
        precision = jax.lax.Precision.HIGHEST if self.full else jax.lax.Precision.HIGH
        return {
            "input_size": self.features,
            "hidden_size": self.hidden,
            "num_layers": self.layers,
            "dropout": 0.0,
            "bidirectional": self.both_ways,
            "precision": precision,
        }


def why_not_here() -> str | None:
    """Why cuDNN cannot be called; starts the backend."""
    alone = "it runs on NVIDIA GPUs alone"
    if jax.default_backend() != "gpu":
        return alone
    if "rocm" in jax.devices()[0].client.platform_version:
        return alone
    from jax.experimental import rnn  # brings much that `import rnnjax` does not need

    # Without a plugin of JAX for CUDA the module is there, and this function is not.
    part = getattr(rnn, "gpu_rnn", None)
    if not hasattr(part, "compute_rnn_workspace_reserve_space_sizes"):
        return "this JAX comes without its part that calls cuDNN"
    return None


def forward(
    network: Network, w: Weights, xs: Sequences, h: Carries, c: Carries, lengths: Int[Array, " B"]
) -> tuple[Array, Array, Array, Array]:
    """Outputs, final `h` and `c`, and what cuDNN leaves for the way back."""
    from jax.experimental import rnn

    (ys, h, c), residuals = rnn.lstm_fwd(xs, h, c, w, lengths, **network.options)
    return ys, h, c, residuals[-1]


def backward(network: Network, dys: Array, dh: Array, dc: Array, *residuals: Array) -> Any:
    """Cotangents of `w`, `xs`, `h` and `c`; residuals are what `forward` took, and `ys`, `left`."""
    from jax.experimental import rnn

    w, xs, h, c, lengths, ys, left = residuals
    dxs, dh, dc, dw, _ = rnn.lstm_bwd(
        **network.options,
        residuals=(xs, h, c, w, lengths, ys, left),
        gradients=(dys, dh, dc),
    )
    return dw, dxs, dh, dc


def plain_forward(
    network: Network, w: Weights, xs: Sequences, h: Carries, c: Carries, lengths: Int[Array, " B"]
) -> tuple[Array, Array, Array]:
    """What cuDNN returns, by JAX's own reference: a scan."""
    from jax.experimental import rnn

    options = network.options
    del options["precision"]
    sizes = [options[name] for name in ("input_size", "hidden_size", "num_layers", "bidirectional")]
    weights = rnn.unpack_lstm_weights(w, *sizes)
    return rnn.lstm_ref(xs, h, c, *weights, lengths, *options.values())


def plain_backward(network: Network, dys: Array, dh: Array, dc: Array, *residuals: Array) -> Any:
    """Its cotangents of `w`, `xs`, `h` and `c`."""
    w, xs, h, c, lengths, *_ = residuals
    run = lambda w, xs, h, c: plain_forward(network, w, xs, h, c, lengths)
    return jax.vjp(run, w, xs, h, c)[1]((dys, dh, dc))
