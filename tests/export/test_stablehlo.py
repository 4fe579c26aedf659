"""Programs of StableHLO: loaded and run without our code, at sizes they were not traced for."""

import re
import subprocess
import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from registry import inputs, random_carry, random_params

import rnnjax
from rnnjax.export import save, to_stablehlo

LAYER = rnnjax.stack(
    rnnjax.embedding(9, 4),
    rnnjax.bidirectional(rnnjax.lstm(5)),
    rnnjax.mlstm(4),
    rnnjax.recurrent(rnnjax.gru(3), reverse=True),
    rnnjax.dense(2),
    dropout=0.1,
)
PARAMS = random_params(LAYER, None)
TOKENS = np.random.default_rng(0).integers(0, 9, (6, 3)).astype(np.int32)
LENGTHS = np.array([6, 0, 4], np.int32)


@pytest.fixture(scope="module")
def program():
    return to_stablehlo(LAYER, PARAMS)


@pytest.fixture(scope="module")
def wanted():
    return LAYER.apply(PARAMS, jnp.asarray(TOKENS), lengths=LENGTHS)


def assert_equal(got, wanted):
    carry, ys = wanted
    wanted = rnnjax.params_to_dict(carry), ys
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_program_for_any_sizes_equals_the_layer(program, wanted):
    call = jax.export.deserialize(program).call
    assert_equal(call(TOKENS, LENGTHS), wanted)
    beyond = np.where(np.arange(6)[:, None] < LENGTHS, TOKENS, -1)  # tokens that there are not
    assert_equal(call(beyond, LENGTHS), wanted)
    assert_equal(call(TOKENS, LENGTHS + np.array([9, -9, 0], np.int32)), wanted)  # clipped


STRANGER = """
import sys
sys.modules["rnnjax"] = None  # it cannot be imported
import jax.export, numpy as np
program = jax.export.deserialize(open("net.stablehlo", "rb").read())
given = np.load("given.npz")
carry, ys = program.call(given["tokens"], given["lengths"])
np.savez("out.npz", ys=ys, c=carry["layers_1"]["c"], h=carry["layers_3"]["h"])
"""


def test_it_runs_where_rnnjax_is_not(program, wanted, tmp_path):
    save(tmp_path / "net.stablehlo", program)
    np.savez(tmp_path / "given.npz", tokens=TOKENS, lengths=LENGTHS)
    subprocess.run([sys.executable, "-I", "-c", STRANGER], cwd=tmp_path, check=True, timeout=300)
    carry, ys = wanted
    with np.load(tmp_path / "out.npz") as out:
        for got, want in ((out["ys"], ys), (out["c"], carry[1].c), (out["h"], carry[3].h)):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "rocm", "tpu"])
def test_every_platform_can_be_written_for_and_calls_nothing_of_ours(platform):
    cell = rnnjax.gru(3)
    exported = jax.export.deserialize(to_stablehlo(cell, random_params(cell, 4), platform=platform))
    assert exported.platforms == (platform,)
    called = set(re.findall(r"custom_call @(\w+)", exported.mlir_module()))
    assert called == {"shape_assertion"}  # of JAX: T and B are 1 at least


def test_a_program_for_tpu_of_known_sizes_has_the_kernels():
    cell = rnnjax.gru(3)
    program = to_stablehlo(
        cell, random_params(cell, 4), platform="tpu", num_steps=5, batch=2, vjp_order=1
    )
    exported = jax.export.deserialize(program)
    kernels = re.compile(r"kernel_name = \"(\w+)\"")
    assert set(kernels.findall(exported.mlir_module())) == {"forward_kernel"}
    assert "backward_kernel" in kernels.findall(exported.vjp().mlir_module())
    assert "while" not in exported.mlir_module()


def test_params_and_carry_as_arguments_and_the_batch_first():
    cell = rnnjax.lstm(3, learned_carry=True)
    params, xs = random_params(cell, 4), inputs(2, 5, 4)
    exported = jax.export.deserialize(
        to_stablehlo(
            cell, params, bake=False, carry=True, lengths=False, time_major=False, vjp_order=1
        )
    )
    carry = random_carry(cell, params, xs[:, 0], seed=1)
    turned = lambda params, xs: rnnjax.unroll(cell, params, jnp.swapaxes(xs, 0, 1), carry)
    last, ys = turned(params, xs)
    given = (rnnjax.params_to_dict(params), xs, rnnjax.params_to_dict(carry))
    assert_equal(exported.call(*given), (last, jnp.swapaxes(ys, 0, 1)))
    first = exported.call(given[0], xs[:, :2], given[2])  # another T
    np.testing.assert_allclose(first[1], jnp.swapaxes(ys[:2], 0, 1), rtol=1e-5, atol=1e-6)
    got = jax.grad(lambda p, x, c: exported.call(p, x, c)[1].sum())(*given)
    want = jax.grad(lambda p: turned(p, xs)[1].sum())(params)
    np.testing.assert_allclose(got["w_hh"], want.w_hh, rtol=1e-4, atol=1e-5)


def test_a_method_and_sizes_of_space():
    cell = rnnjax.conv_gru(2, kernel_size=(3,))
    params, xs = random_params(cell, 4), inputs(3, 2, 5, 4)
    exported = jax.export.deserialize(to_stablehlo(cell, params, in_shape=(5, 4), lengths=False))
    assert_equal(exported.call(xs), rnnjax.unroll(cell, params, xs))
    cell = rnnjax.elman(3)
    params, xs = random_params(cell, 4), inputs(3, 2, 4)
    options = {"num_steps": 3, "batch": 2, "method": rnnjax.Fused(), "lengths": False}
    exported = jax.export.deserialize(to_stablehlo(cell, params, **options))
    assert exported.in_avals[0].shape == (3, 2, 4)
    assert_equal(exported.call(xs), rnnjax.unroll(cell, params, xs))
