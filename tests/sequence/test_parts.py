"""What a network is made of: recipes tell it, and forget it when somebody changes the network."""

import gc
import weakref

import jax
import numpy as np
import pytest

import rnnjax
from rnnjax.cells.recipe import recipe_of
from rnnjax.sequence.parts import parts_of


def made(layer, features=3):
    return jax.eval_shape(lambda: layer.init(jax.random.key(0), features))


def test_a_recipe_has_every_option():
    recipe = recipe_of(rnnjax.gru(4, reset="before"))
    assert recipe.factory == "gru"
    assert recipe.options["hidden_features"] == 4 and recipe.options["reset"] == "before"
    assert recipe.options["bias"] is True  # left out, so the default
    assert recipe_of(rnnjax.zoneout(rnnjax.lstm(4), 0.1)).factory == "zoneout"


def test_equal_calls_give_one_value():
    assert rnnjax.stack(rnnjax.lstm(4)) is rnnjax.stack(rnnjax.lstm(4))
    assert rnnjax.lstm(4) is rnnjax.lstm(hidden_features=4, bias=True)


def test_equal_options_of_other_types_are_other_options():
    """3 == 3.0, and a size that is no whole number is refused whatever was asked for before."""
    rnnjax.conv_lstm(8, kernel_size=(3, 3))
    with pytest.raises(TypeError):
        rnnjax.conv_lstm(8, kernel_size=(3.0, 3.0))


def test_functions_made_inside_others_are_soon_forgotten():
    """A closure may hold an array, and a new one is made in each call."""

    def layer_around(i):
        held = np.full(1, i)
        return weakref.ref(held), rnnjax.stack(rnnjax.lstm(2), lambda x: x * held[0])

    held = [layer_around(i)[0] for i in range(60)]
    gc.collect()
    assert sum(ref() is not None for ref in held) <= 16
    named = rnnjax.stack(rnnjax.lstm(2), jax.nn.relu)
    assert rnnjax.stack(rnnjax.lstm(2), jax.nn.relu) is named


def test_a_function_that_cannot_be_hashed_serves():
    class Half:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, x):
            return x / 2

    cell = rnnjax.elman(3, activation=Half())
    params = cell.init(jax.random.key(0), 2)
    _, ys = rnnjax.unroll(cell, params, np.ones((4, 2), np.float32))
    assert ys.shape == (4, 3)


@pytest.mark.parametrize("field", ["step", "init", "project", "form"])
def test_a_changed_cell_has_no_recipe(field):
    cell = rnnjax.lstm(4)
    assert recipe_of(cell) is not None
    assert recipe_of(cell._replace(**{field: rnnjax.gru(4)._asdict()[field]})) is None
    assert recipe_of(rnnjax.Cell(*cell[:5])) is None
    assert recipe_of(cell._replace(out_features=np.array([4, 4]))) is None


def test_parts_of_a_network_stand_in_order():
    layer = rnnjax.stack(
        rnnjax.embedding(9, 3),
        rnnjax.stack(rnnjax.bidirectional(rnnjax.lstm(4)), rnnjax.recurrent(rnnjax.gru(5))),
        jax.nn.relu,
        rnnjax.recurrent(rnnjax.elman(6), reverse=True),
        rnnjax.dense(2),
        dropout=0.5,
    )
    parts = parts_of(layer, made(layer, None))
    assert [(part.name, part.factory) for part in parts] == [
        ("layers_0", "embedding"),
        ("layers_1.layers_0", "lstm"),
        ("layers_1.layers_1", "gru"),
        ("layers_2", "pointwise"),
        ("layers_3", "elman"),
        ("layers_4", "dense"),
    ]
    assert [len(part.directions) for part in parts] == [1, 2, 1, 1, 1, 1]
    assert [part.reverse for part in parts] == [False, False, False, False, True, False]
    assert parts[1].merge is rnnjax.merge.concatenate
    assert parts[1].params[0].w_ih.shape == (3, 16)
    assert parts[0].notes == ("dropout 0.5 between layers",)


def test_both_ways_are_told_apart():
    layer = rnnjax.bidirectional(rnnjax.elman(4))
    params = layer.init(jax.random.key(0), 3)
    [part] = parts_of(layer, params)
    assert part.name == ""
    for way, of_one in enumerate(part.directions):
        np.testing.assert_array_equal(of_one.w_hh, params.w_hh[way])


@pytest.mark.parametrize("wrap", [rnnjax.input_dropout, rnnjax.drop_connect, rnnjax.zoneout])
def test_quiet_wrappers_are_left_out_and_named(wrap):
    cell = wrap(rnnjax.lstm(4), 0.3)
    [part] = parts_of(cell, made(cell))
    assert (part.thing, part.notes) == (rnnjax.lstm(4), (wrap.__name__,))


def test_what_changes_inference_stays():
    for cell in (
        rnnjax.zoneout(rnnjax.lstm(3), 0.3, expectation=True),
        rnnjax.residual(rnnjax.lstm(3)),
    ):
        [part] = parts_of(cell, made(cell))
        assert part.thing is cell and part.factory in ("zoneout", "residual")


def test_what_cannot_be_laid_flat_is_one_part():
    deep = rnnjax.bidirectional(rnnjax.stack(rnnjax.lstm(3), rnnjax.lstm(3)))
    skipping = rnnjax.stack(rnnjax.lstm(3), rnnjax.lstm(3), skip=rnnjax.merge.add)
    turned = rnnjax.bidirectional(rnnjax.recurrent(rnnjax.lstm(3), reverse=True))
    for layer, factory in (
        (deep, "bidirectional"),
        (turned, "bidirectional"),
        (skipping, "stack"),
    ):
        [part] = parts_of(layer, made(layer))
        assert part.factory == factory and part.thing is layer
    [plain] = parts_of(rnnjax.bidirectional(rnnjax.recurrent(rnnjax.lstm(3))), made(turned))
    assert plain.factory == "lstm"
