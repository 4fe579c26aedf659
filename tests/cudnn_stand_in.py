"""cuDNN's LSTM as JAX calls it, in NumPy and with the library's contract.

Weights stand in one vector, as `unpack_lstm_weights` of JAX reads it; lengths go from 1 to T; what
the way forward leaves is handed to the way back. Where that is broken, and where cuDNN promises
nothing, there is NaN.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import rnn

ALLOWED = []  # whether TF32 was, in the calls of programs as they were lowered


def sizes(features, hidden, layers, rows, steps, dropout, both_ways, tf32):
    """Of what cuDNN works in, and of what it leaves."""
    return 1, left_size(steps, (layers * (2 if both_ways else 1), rows, hidden))


def left_size(steps, states):
    """So many numbers for every row."""
    return 3 + steps * math.prod(states)


def mark(*arrays):
    """A number that tells calls from one another."""
    return np.float32(sum(np.cos(a, dtype=np.float64).sum() for a in arrays))


class Stack:
    """All layers and directions on one row; `places` are those of weights in the vector."""

    def __init__(self, w, *, input_size, hidden_size, num_layers, bidirectional):
        options = (input_size, hidden_size, num_layers, bidirectional)
        assert w.shape == (rnn.get_num_params_in_lstm(*options),)
        self.ways = 2 if bidirectional else 1
        self.layers = num_layers
        by_kind = rnn.unpack_lstm_weights(np.arange(w.size), *options)
        self.places = [[kind[i] for kind in by_kind] for i in range(num_layers * self.ways)]
        self.weights = [[w[place] for place in places] for places in self.places]

    def forward(self, xs, h, c):
        """Outputs, final states, and what every step had, by layer and direction."""
        ends, tapes = [], []
        for layer in range(self.layers):
            ys = []
            for way in range(self.ways):
                i = layer * self.ways + way
                y, end, tape = read(self.weights[i], xs[:: 1 - 2 * way], (h[i], c[i]))
                ys.append(y[:: 1 - 2 * way])
                ends.append(end)
                tapes.append(tape)
            xs = np.concatenate(ys, -1)
        return xs, *map(np.stack, zip(*ends, strict=True)), tapes

    def backward(self, tapes, dys, dh, dc, dw):
        """Cotangents of inputs and states; those of weights are added to `dw`."""
        dbegins = [None] * len(tapes)
        for layer in reversed(range(self.layers)):
            dxs = 0.0
            for way, dy in enumerate(np.split(dys, self.ways, -1)):
                i = layer * self.ways + way
                dx, dbegins[i], gradients = read_back(
                    self.weights[i], tapes[i], dy[:: 1 - 2 * way], (dh[i], dc[i])
                )
                dxs = dxs + dx[:: 1 - 2 * way]
                for place, gradient in zip(self.places[i], gradients, strict=True):
                    dw[place] += gradient
            dys = dxs
        return dys, *map(np.stack, zip(*dbegins, strict=True))


def read(weights, xs, carry):
    """One direction of one layer, step by step."""
    w_ih, w_hh, b_ih, b_hh = weights
    (h, c), ys, tape = carry, [], []
    for x in xs:
        s = w_ih @ x + b_ih + w_hh @ h + b_hh
        i, f, g, o = np.split(s, 4)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        tape.append((x, h, c, i, f, g, o))
        c = f * c + i * g
        h = o * np.tanh(c)
        ys.append(h)
    return np.stack(ys), (h, c), tape


def read_back(weights, tape, dys, dcarry):
    """The same backwards."""
    w_ih, w_hh, *_ = weights
    (dh, dc), dxs = dcarry, []
    dw_ih, dw_hh, db = np.zeros_like(w_ih), np.zeros_like(w_hh), np.zeros(len(w_hh))
    for (x, h, c, i, f, g, o), dy in zip(reversed(tape), dys[::-1], strict=True):
        dh = dh + dy
        tanh_c = np.tanh(f * c + i * g)
        dc = dc + dh * o * (1 - tanh_c**2)
        gates = dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2)
        ds = np.concatenate([*gates, dh * tanh_c * o * (1 - o)])
        dw_ih, dw_hh, db = dw_ih + np.outer(ds, x), dw_hh + np.outer(ds, h), db + ds
        dxs.append(w_ih.T @ ds)
        dh, dc = w_hh.T @ ds, dc * f
    return np.stack(dxs[::-1]), (dh, dc), (dw_ih, dw_hh, db, db)


def sigmoid(s):
    return 1 / (1 + np.exp(-s))


def check(x, h, c, w, lengths):
    """The call in float64, and whether all lengths can be."""
    assert all(a.dtype == np.float32 for a in (x, h, c, w)) and lengths.dtype == np.int32
    assert lengths.shape == x.shape[:1] == h.shape[1:2] and h.shape == c.shape
    right = bool(((lengths > 0) & (lengths <= x.shape[1])).all())
    return [np.asarray(a, np.float64) for a in (x, h, c, w)], right


def forward_here(x, h, c, w, lengths, *, sizes):
    """Rows one after the other, zero in the padding."""
    arrays = [np.asarray(a) for a in (x, h, c, w, lengths)]
    (x, h, c, w), right = check(*arrays)
    stack, lengths = Stack(w, **sizes), arrays[-1]
    out = [np.zeros((*x.shape[:2], h.shape[-1] * stack.ways)), np.zeros_like(h), np.zeros_like(c)]
    for row, length in enumerate(lengths if right else ()):
        y, *end, _ = stack.forward(x[row, :length], h[:, row], c[:, row])
        out[0][row, :length] = y
        out[1][:, row], out[2][:, row] = end
    left = np.full(left_size(x.shape[1], h.shape), mark(*arrays))
    return *typed(out, right), left


def backward_here(dy, dh, dc, x, h, c, w, y, left, lengths, *, sizes):
    """The same, with NaN where the padding was read or is written, and for another call's left."""
    arrays = [np.asarray(a) for a in (x, h, c, w, lengths)]
    dy, dh, dc, y, left = (np.asarray(a) for a in (dy, dh, dc, y, left))
    (x, h, c, w), right = check(*arrays)
    stack, lengths = Stack(w, **sizes), arrays[-1]
    padding = np.arange(x.shape[1]) >= lengths[:, None]
    right &= left.shape == (left_size(x.shape[1], h.shape),) and bool((left == mark(*arrays)).all())
    right &= not dy[padding].any() and not y[padding].any()
    dx, dw = np.full_like(x, np.nan), np.zeros_like(w)
    dbegin = np.zeros_like(h), np.zeros_like(c)
    for row, length in enumerate(lengths if right else ()):
        *_, tapes = stack.forward(x[row, :length], h[:, row], c[:, row])
        own = dy[row, :length], dh[:, row], dc[:, row]
        dx[row, :length], *ends = stack.backward(tapes, *own, dw)
        dbegin[0][:, row], dbegin[1][:, row] = ends
    return typed([dx, *dbegin, dw], right)


def typed(arrays, right):
    return tuple(np.asarray(a if right else a * np.nan, np.float32) for a in arrays)


def on_host(function, shapes, operands, options):
    """Call NumPy from a program."""
    assert options.pop("dropout") == 0.0
    ALLOWED.append(options.pop("cudnn_allow_tf32"))
    like = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return jax.pure_callback(functools.partial(function, sizes=options), like, *operands)


def forward(x, h, c, w, lengths, **options):
    ways = 2 if options["bidirectional"] else 1
    shapes = (*x.shape[:2], ways * h.shape[-1]), h.shape, c.shape, (left_size(x.shape[1], h.shape),)
    return on_host(forward_here, shapes, (x, h, c, w, lengths), options)


def backward(dy, dh, dc, x, h, c, w, y, left, lengths, **options):
    operands = dy, dh, dc, x, h, c, w, y, left, lengths
    shapes = x.shape, h.shape, c.shape, w.shape
    return on_host(backward_here, shapes, operands, options)


FUNCTIONS = {rnn.rnn_fwd_p: forward, rnn.rnn_bwd_p: backward}
