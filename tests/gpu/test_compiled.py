"""The kernels compile for GPUs that are not there, and need no more registers than there are.

`targets/` tells the compiler what an A100, an H100 and an RTX 4090 have.
"""

import functools
import pathlib
import re
import subprocess

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

import rnnjax
from rnnjax.methods.gpu import layout

pytest.importorskip(
    "jax_plugins.xla_cuda12", reason="CUDA's plugin compiles for GPU: pip install -e .[gpu]"
)

# And their multiprocessors, and the bytes of weights that one is to hold.
TARGETS = {
    "a100": (108, layout.ROOM),
    "h100": (132, layout.ROOM),
    "rtx4090": (128, layout.SMALL_ROOM),
}
T, D = 12, 24
FEW_BYTES = 8  # of registers that may be put into memory

# Cell, options, dtype, B, H, lengths, both ways, slices: what is claimed, and the edges of what
# fits.
CASES = [
    ("lstm", {}, "float32", 3, 5, True, False, False),
    ("lstm", {}, "float32", 64, 64, False, False, False),  # the most units
    ("lstm", {}, "bfloat16", 4096, 128, True, False, False),
    ("gru", {}, "bfloat16", 64, 128, True, True, False),
    ("gru", {}, "float32", 8192, 64, False, False, False),
    ("multihead_lstm", {"num_heads": 8}, "bfloat16", 64, 768, True, False, False),
    ("multihead_gru", {"num_heads": 4}, "float32", 16, 256, False, False, False),
    ("lstm", {}, "float32", 64, 512, False, False, True),  # the most units
    ("lstm", {}, "bfloat16", 64, 768, True, False, True),
    ("lstm", {}, "bfloat16", 16, 1024, False, False, True),
    ("gru", {}, "float32", 512, 256, True, True, True),
    ("gru", {}, "float32", 16, 672, False, False, True),
    ("gru", {}, "bfloat16", 16, 1360, False, False, True),
    ("multihead_lstm", {"num_heads": 2}, "float32", 16, 512, False, False, True),
]


SMALL_CASES = [
    ("lstm", {}, "float32", 64, 64, True, False, False),
    ("gru", {}, "bfloat16", 64, 64, False, True, False),
    ("lstm", {}, "float32", 64, 256, False, False, True),
    ("lstm", {}, "bfloat16", 64, 512, True, False, True),
]
EVERY = [(target, case) for target in ("a100", "h100") for case in CASES]
EVERY += [("rtx4090", case) for case in SMALL_CASES]


@functools.cache
def device(target):
    text = (pathlib.Path(__file__).parent / "targets" / f"{target}.txtpb").read_text()
    topology = topologies.get_topology_desc(
        target, platform="cuda", topology="1x1x1", target_config=text
    )
    return topology.devices[0]


def program(target, name, options, dtype, batch, hidden, lengths, both, slices, dump):
    """Inference and a gradient in one program, compiled."""
    cell = getattr(rnnjax, name)(hidden, dtype=jnp.dtype(dtype), **options)
    layer = rnnjax.bidirectional(cell) if both else rnnjax.recurrent(cell)
    method = rnnjax.PallasGPU(TARGETS[target][0] if slices else 1)
    sharding = SingleDeviceSharding(device(target))
    place = functools.partial(
        jax.tree.map, lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
    )
    params = place(jax.eval_shape(lambda key: layer.init(key, D), jax.random.key(0)))
    xs = place(jax.ShapeDtypeStruct((T, batch, D), dtype))
    lengths = place(jax.ShapeDtypeStruct((batch,), jnp.int32)) if lengths else None

    def infer(params, xs, lengths):
        return layer.apply(params, xs, lengths=lengths, method=method)

    def loss(params, xs, lengths):
        out = jax.tree.leaves(infer(params, xs, lengths))
        return sum(leaf.astype(jnp.float32).sum() for leaf in out)

    def every(*point):
        return infer(*point), jax.grad(loss, argnums=(0, 1))(*point)

    lowered = jax.jit(every).lower(params, xs, lengths)
    return lowered.compile(compiler_options={"xla_dump_to": str(dump)}).as_text()


def spilled(dump):
    """Of each kernel of ours, how many bytes of registers the assembler puts into memory."""
    from nvidia import cuda_nvcc

    ptxas = pathlib.Path(cuda_nvcc.__path__[0]) / "bin" / "ptxas"
    found = []
    for path in dump.glob("*.ptx"):
        text = path.read_text()
        if re.search(r"\.entry (forwards|backwards)", text):
            arch = re.search(r"\.target (\w+)", text).group(1)
            command = [ptxas, "-v", "-arch", arch, path, "-o", dump / "out"]
            told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
            found += map(int, re.findall(r"(\d+) bytes spill stores", told))
    return found


@pytest.mark.parametrize("target, case", EVERY, ids=str)
def test_programs_for_gpu_have_the_kernels_and_registers_for_them(
    target, case, tmp_path, monkeypatch
):
    monkeypatch.setattr(layout, "room", lambda: TARGETS[target][1])
    jax.clear_caches()
    text = program(target, *case, dump=tmp_path)
    assert "__gpu$xla.gpu.triton" in text and "while(" not in text
    found = spilled(tmp_path)
    assert len(found) >= 3 and max(found) <= FEW_BYTES  # inference, forward and back


@pytest.mark.parametrize(
    "hidden, slices, most", [(64, False, FEW_BYTES), (256, True, 1024)], ids=str
)
def test_exact_products_compile(hidden, slices, most, tmp_path):
    """Slices keep three parts of what they multiply, and so spill some."""
    with jax.default_matmul_precision("highest"):
        program("a100", "lstm", {}, "float32", 64, hidden, True, False, slices, dump=tmp_path)
    assert max(spilled(tmp_path)) <= most
