"""Oracles of cells whose memory is a matrix."""

from typing import Any

import numpy as np

from rnnjax.cells import MLSTMCarry
from rnnjax.testing.oracle import Oracle, dot, sigmoid


def mlstm(*, num_heads: int = 1, key_features: int | None = None) -> Oracle:
    """The oracle of `rnnjax.mlstm`, step by step."""

    def split(p: Any, x: Any) -> Any:
        s = dot(x, p.w_ih) + p.b
        rest = s.shape[-1] - 2 * num_heads  # of 2 N d_k + 2 N d_v
        keys = rest // (4 * num_heads) if key_features is None else key_features
        values = rest // (2 * num_heads) - keys
        widths = num_heads * np.array([keys, keys, values, 1, 1, values])
        parts = np.split(s, np.cumsum(widths)[:-1], axis=-1)
        q, k, v, i, f, o = (part.reshape(len(s), num_heads, -1) for part in parts)
        return q / np.sqrt(keys), k, v, i[..., 0], f[..., 0], o

    def step(p: Any, carry: Any, x: Any) -> Any:
        q, k, v, i, f, o = split(p, x)
        kept = log_sigmoid(f) + carry.m
        m = greater(kept, i)
        forget, add = np.exp(kept - m)[..., None], np.exp(i - m)[..., None]
        c = forget[..., None] * carry.c + add[..., None] * np.einsum("bnk,bnv->bnkv", k, v)
        n = forget * carry.n + add * k
        read, norm = np.einsum("bnk,bnkv->bnv", q, c), (q * n).sum(-1)
        h = read / greater(greater(norm, -norm), np.exp(-m))[..., None]
        return MLSTMCarry(c, n, m), (sigmoid(o) * h).reshape(len(h), -1)

    def fresh(p: Any, x: Any) -> Any:
        _, k, v, i, _, _ = split(p, x)
        zeros = np.zeros_like(np.einsum("bnk,bnv->bnkv", k, v))
        return MLSTMCarry(zeros, zeros[..., 0], np.full_like(i, -np.inf))

    return Oracle(step, fresh)


def greater(a: Any, b: Any) -> Any:
    """The maximum; real parts decide."""
    return np.where(a.real >= b.real, a, b)


def log_sigmoid(x: Any) -> Any:
    """The logarithm of the logistic function, in a form that never overflows."""
    size = np.where(x.real > 0, x, -x)
    return np.where(x.real > 0, np.zeros_like(x), x) - np.log1p(np.exp(-size))
