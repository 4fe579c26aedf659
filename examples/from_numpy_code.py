"""From the NumPy code of a course to rnnjax, one idea a step; every step prints what changed.

The course keeps examples in columns, `(features, examples, steps)`; rnnjax has time first and
examples in rows, `(steps, examples, features)`.

    python examples/from_numpy_code.py
"""

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from rnnjax.interop import course

rng = np.random.default_rng(0)
n_x, n_a, m, T_x = 3, 5, 10, 7


def told(step, got, wanted):
    """Print how far two results are apart."""
    print(f"{step:52} {np.abs(np.asarray(got) - np.asarray(wanted)).max():.1e}")


# 1. The cell, as courses write it: NumPy, one step, four matrices on [a_prev; x].


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_lstm_cell(xt, a_prev, c_prev, parameters):
    both = np.concatenate([a_prev, xt])
    f = sigmoid(parameters["Wf"] @ both + parameters["bf"])
    i = sigmoid(parameters["Wi"] @ both + parameters["bi"])
    o = sigmoid(parameters["Wo"] @ both + parameters["bo"])
    candidate = np.tanh(parameters["Wc"] @ both + parameters["bc"])
    c_next = f * c_prev + i * candidate
    return o * np.tanh(c_next), c_next


def random_layer(n_a, n_x):
    shapes = {f"W{gate}": (n_a, n_a + n_x) for gate in "fioc"}
    shapes |= {f"b{gate}": (n_a, 1) for gate in "fioc"}
    return {name: rng.normal(size=shape).astype("float32") / 2 for name, shape in shapes.items()}


parameters = random_layer(n_a, n_x)
x = rng.normal(size=(n_x, m, T_x)).astype("float32")
a0 = np.zeros((n_a, m), "float32")

# 2. The same call, computed by rnnjax.

a, c = numpy_lstm_cell(x[:, :, 0], a0, a0, parameters)
a_next, c_next, cache = course.lstm_cell(x[:, :, 0], a0, a0, parameters)
told("one step: course.lstm_cell", a_next, a)

# 3. A loop over time, which rnnjax compiles.

a, c, states = a0, a0, []
for t in range(T_x):
    a, c = numpy_lstm_cell(x[:, :, t], a, c, parameters)
    states.append(a)
states = np.stack(states, axis=2)
told("a sequence: course.lstm_forward", course.lstm_forward(x, a0, parameters)[0], states)

# 4. The weights as a cell of rnnjax: time first, and examples in rows.

cell, params, report = course.course_to_rnnjax(parameters)
print(report)
xs = jnp.asarray(x.transpose(2, 1, 0))  # (T_x, m, n_x)
carry, ys = rnnjax.unroll(cell, params, xs)  # (T_x, m, n_a)
told("a cell: rnnjax.unroll", ys, states.transpose(2, 1, 0))

# 5. Compile it with what stands around it. There is no cache to keep: `jax.grad` knows.


@jax.jit
def loss(params, xs):
    carry, ys = rnnjax.unroll(cell, params, xs)
    return (carry.h**2).mean()


slopes = jax.grad(loss)(params, xs)
step = np.zeros_like(parameters["bf"])
step[0] = 1e-2


def numpy_loss(parameters):
    a, c = a0, a0
    for t in range(T_x):
        a, c = numpy_lstm_cell(x[:, :, t], a, c, parameters)
    return (a**2).mean()


ends = [numpy_loss(parameters | {"bf": parameters["bf"] + s * step}) for s in (1, -1)]
forget = n_a  # gates are packed i, f, g, o
told("a gradient: jax.grad", slopes.b[forget], (ends[0] - ends[1]) / 2e-2)

# 6. Sequences of unequal length: the carry stands still where a row has ended.

lengths = np.array([T_x, 4] + [T_x] * (m - 2))
carry, ys = rnnjax.unroll(cell, params, xs, lengths=lengths)
told("a row of length 4: lengths=", carry.h[1], states[:, 1, 3])

# 7. Layers above each other with a dense head, and back into the course's form.

layers = [parameters, random_layer(4, n_a)]
head = [{"W": rng.normal(size=(1, 4)), "b": np.zeros((1, 1))}]
head = [{name: array.astype("float32") for name, array in dense.items()} for dense in head]
prediction = course.model_forward(x, layers, head).prediction
model, params, _ = course.course_to_rnnjax(layers + head)
_, ys = model.apply(params, xs)
told("a model: rnnjax.stack", ys[-1].T, prediction)
there = course.rnnjax_to_course(model, params).weights
same = all(np.array_equal(a[k], b[k]) for a, b in zip(there, layers + head, strict=True) for k in a)
print("and the same weights come back:", same)
