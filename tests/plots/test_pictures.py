"""What is drawn is what was computed, can be read on any page, and touches nothing global."""

import io
import pathlib
import sys

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from registry import random_params

import rnnjax
from rnnjax import plots
from rnnjax.plots import history as histories
from rnnjax.plots import lags, matrices, style

DOCS = pathlib.Path(__file__).parents[2] / "docs"
T, B, D, H = 7, 3, 4, 5
LENGTHS = np.array([7, 0, 3], np.int32)
LSTM, GRU = rnnjax.lstm(H), rnnjax.gru(H)
P_LSTM, P_GRU = random_params(LSTM, D, 0), random_params(GRU, D, 0)
XS = np.random.default_rng(1).normal(size=(T, B, D)).astype(np.float32)
HISTORY = {"loss": [90.0, 2.0, 1.0], "val_loss": [90.0, 1.5, 1.7], "accuracy": [0.1, 0.5, 0.9]}
COUNTS = np.array([[90, 1, 0], [0, 0, 0], [5, 0, 1234]])
WEIGHTS = np.array([[0.7, 0.3, 0.0, 0.0], [0.0, 0.1, 0.2, 0.7]])

PICTURES = {
    "curves": lambda: plots.curves(HISTORY),
    "gates": lambda: plots.gates(LSTM, P_LSTM, XS[:, 0], tokens=["a", "$x$", "\n", *"word"]),
    "time_constants": lambda: plots.time_constants(LSTM, P_LSTM, XS, lengths=LENGTHS),
    "saturation": lambda: plots.saturation(LSTM, P_LSTM, XS, lengths=LENGTHS),
    "gradient_by_lag": lambda: plots.gradient_by_lag(
        {"LSTM": (LSTM, P_LSTM), "a $GRU$": (GRU, P_GRU)}, XS, lengths=LENGTHS
    ),
    "attention": lambda: plots.attention(WEIGHTS, ["a", "cat", "sat", "$"], ["ein", "Kater"]),
    "confusion": lambda: plots.confusion(COUNTS, ["no", "a rather long name", "$y_1$"]),
}


@pytest.fixture(scope="module")
def drawn():
    """Every picture, drawn once, without pyplot and with a setting that must not shine through."""
    settings = {"text.color": "red", "axes.grid": True, "axes.facecolor": "red"}
    with pytest.MonkeyPatch.context() as patch, matplotlib.rc_context(settings):
        patch.setitem(sys.modules, "matplotlib.pyplot", None)  # cannot be imported
        before = matplotlib.rcParams.copy()
        figures = {name: make() for name, make in PICTURES.items()}
        for figure in figures.values():
            figure.savefig(io.BytesIO())
        assert matplotlib.rcParams.copy() == before
    return figures


def words_of(figure):
    """All text that is seen: no tick labels beyond the limits."""
    found = []
    for axes in figure.axes:
        found += [child for child in axes.get_children() if isinstance(child, Text)]
        found += [axes.xaxis.label, axes.yaxis.label]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            found += [label for tick in ticks for label in (tick.label1, tick.label2)]
    return [text for text in found if text.get_text().strip() and text.get_visible()]


@pytest.mark.parametrize("name", PICTURES)
def test_no_text_is_cut_and_none_is_taken_for_mathematics(drawn, name):
    figure = drawn[name]
    page = figure.bbox
    for text in words_of(figure):
        box = text.get_window_extent()
        assert box.x0 >= page.x0 - 1 and box.x1 <= page.x1 + 1, text
        assert box.y0 >= page.y0 - 1 and box.y1 <= page.y1 + 1, text
        if "mathdefault" not in text.get_text():  # matplotlib's own powers of ten
            assert not (text.get_parse_math() and "$" in text.get_text())


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_transparent_and_readable_on_light_and_dark(drawn, name):
    figure = drawn[name]
    assert figure.get_facecolor()[3] == 0
    assert all(axes.get_facecolor()[3] == 0 for axes in figure.axes if axes.get_title("left"))
    assert not any(line.get_visible() for axes in figure.axes for line in axes.get_xgridlines())
    inside = matrices.confusion.__name__ == name  # numbers may stand on colours
    for text in words_of(figure):
        if not (inside and text.get_color() == "white"):
            assert min(contrasts(text.get_color())) > 3.8, text


def luminance(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return np.dot(linear, [0.2126, 0.7152, 0.0722])


def contrasts(colour):
    """To a white page and to a dark one, as the WCAG defines it."""
    light = luminance(colour) + 0.05
    return 1.05 / light, light / (luminance("#121212") + 0.05)


def test_colours_stand_out_on_light_and_dark():
    for colour in (*style.COLOURS, style.TEXT):
        assert min(contrasts(colour)) > 3.8
    for place, colour in matrices.WRONG_TO_RIGHT:
        if abs(place) >= matrices.WEAK and len(colour) == 7:  # white numbers stand on it
            assert contrasts(colour)[0] > 4


def test_gates_are_drawn_as_computed(drawn):
    values = plots.gate_values(LSTM, P_LSTM, XS[:, 0])
    panels = drawn["gates"].axes[:6]
    assert [axes.get_title("left").split(":")[0] for axes in panels] == [
        "input gate i",
        "forget gate f",
        "candidate g",
        "output gate o",
        "cell state c",
        "output h",
    ]
    for axes, value in zip(panels, values, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), np.asarray(value).T)
    assert panels[1].images[0].get_clim() == (0, 1)
    assert panels[5].images[0].get_clim() == (-1, 1)
    most = float(abs(values.c).max())
    assert panels[4].images[0].get_clim() == (-most, most)
    assert tick_words(panels[-1].xaxis) == ["a", "$x$", "↵", "w", "o", "r", "d"]


def tick_words(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_gates_of_some_units_up_to_the_length(drawn):
    figure = plots.gates(GRU, P_GRU, jnp.asarray(XS[:, 0]), length=4, units=[3, 1])
    values = plots.gate_values(GRU, P_GRU, XS[:, 0])
    assert len(figure.axes) == 8  # four gates, each with its scale
    for axes, value in zip(figure.axes[:4], values, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), np.asarray(value)[:4, [3, 1]].T)
    assert tick_words(figure.axes[0].yaxis) == ["3", "1"]
    assert figure.axes[3].get_xlabel() == "step"


def test_many_tokens_are_thinned_out_and_long_ones_turned():
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    tokens = [f"t{i}" for i in range(150)] + ["a word that is too long to be read"]
    height = style.token_ticks(axes.xaxis, tokens, 9.0)
    assert tick_words(axes.xaxis) == [*tokens[:-1:3], "a word that is …"]
    assert axes.xaxis.get_ticklabels()[0].get_rotation() == 90
    assert height == pytest.approx(16 * style.LETTER)
    assert style.token_ticks(axes.xaxis, "abc", 9.0) == 0
    assert axes.xaxis.get_ticklabels()[0].get_rotation() == 0
    assert style.shown(" ") == "␣" and style.shown("") == "∅" and style.shown("a b\n") == "a b↵"


def test_time_constants_are_drawn_as_computed(drawn):
    left, right = drawn["time_constants"].axes
    times = plots.forgetting_times(LSTM, P_LSTM, XS, lengths=LENGTHS)
    np.testing.assert_allclose(right.lines[0].get_ydata(), np.sort(times), rtol=1e-6)
    assert right.get_yscale() == "log"
    assert right.lines[1].get_ydata() == [7, 7]
    assert [text.get_text() for text in right.texts] == ["length: 7"]

    forget = np.asarray(plots.gate_values(LSTM, P_LSTM, XS).f)
    forget = forget[np.arange(T)[:, None] < LENGTHS]
    shares = left.patches[0].get_data().values
    np.testing.assert_allclose(shares, np.histogram(forget, 25, (0, 1))[0] / forget.size)
    assert left.get_title("left").startswith("The forget gate keeps ")


def test_time_constants_beyond_the_axis_are_drawn_at_its_edge():
    params = jax.tree.map(jnp.zeros_like, P_GRU)
    bias = jnp.concatenate([jnp.zeros(5), jnp.array([-200.0, 0, 0, 0, 200]), jnp.zeros(5)])
    figure = plots.time_constants(GRU, params._replace(b=bias), XS)
    drawn = figure.axes[1].lines[0].get_ydata()
    np.testing.assert_allclose(drawn, [0.1, *[1 / np.log(2)] * 3, 1e7], rtol=1e-5)


def test_saturation_is_drawn_as_computed(drawn):
    shares = plots.saturated_shares(LSTM, P_LSTM, XS, lengths=LENGTHS)
    panels = drawn["saturation"].axes
    assert [axes.get_title("left").split("\n")[0] for axes in panels] == [
        "input gate i",
        "forget gate f",
        "output gate o",
    ]
    for axes, share in zip(panels, shares.values(), strict=True):
        right, up = axes.lines[1].get_data()
        np.testing.assert_allclose(right, share.high)
        np.testing.assert_allclose(up, share.low)


def test_gradients_are_drawn_as_computed(drawn):
    (axes,) = drawn["gradient_by_lag"].axes
    for line, (cell, params) in zip(axes.lines, [(LSTM, P_LSTM), (GRU, P_GRU)], strict=True):
        norms = plots.lag_norms(cell, params, XS, lengths=LENGTHS)
        wanted = np.exp(np.nanmean(np.log(np.asarray(norms)[:, [0, 2]]), axis=1))
        np.testing.assert_allclose(line.get_ydata(), wanted, rtol=1e-5)
    assert axes.get_yscale() == "log" and len(axes.collections) == 2
    assert [text.get_text() for text in axes.texts] == ["LSTM", "a $GRU$"]
    assert [text.get_color() for text in axes.texts] == [line.get_color() for line in axes.lines]
    assert axes.get_title("left").endswith("mean and middle 80 % of 2 rows")


def test_gradients_that_vanish_at_once_are_drawn_as_nothing():
    figure = style.new_figure("gradient_by_lag", 4, 3)
    (axes,) = style.panels(figure, 1, 1)
    lags.draw(axes, {"dead": np.zeros((3, 20)), "alive": np.full((3, 20), 2.0)})
    assert axes.get_ylim() == pytest.approx((2 / 1.5, 3))
    lags.draw(axes, {"dead": np.zeros((3, 20))})
    figure.savefig(io.BytesIO(), dpi=30)


def test_curves_share_an_axis_and_mark_the_best(drawn):
    loss, accuracy = drawn["curves"].axes
    training, validation, best, when = loss.lines
    assert training.get_ydata().tolist() == HISTORY["loss"]
    assert validation.get_ydata().tolist() == HISTORY["val_loss"]
    assert validation.get_xdata().tolist() == [1, 2, 3]
    assert best.get_xydata().tolist() == [[2.0, 1.5]]
    assert when.get_xdata() == [2, 2]
    assert loss.get_title("left") == "loss: best in validation 1.5, at epoch 2"
    assert [text.get_text() for text in loss.texts] == ["training", "validation"]
    assert loss.get_yscale() == "log"
    assert accuracy.get_title("left") == "accuracy" and not accuracy.texts
    assert accuracy.get_yscale() == "linear"


def test_curves_of_epochs_with_gaps():
    """A list by epoch, None and NaN, numbers on a device, and the highest is best."""
    rows = [
        {"epoch": 3, "f1": jnp.float32(0.5), "val_f1": None},
        {"epoch": 4, "f1": jnp.bfloat16(0.75), "rate": 0.1},
        {"epoch": 6, "f1": np.nan, "val_f1": 0.25, "rate": 0.2},
        {"epoch": 7, "f1": 1, "val_f1": 0.125, "rate": 0.3},
    ]
    figure = plots.curves(rows, names=["val_f1"])
    (axes,) = figure.axes
    assert axes.lines[0].get_xydata().tolist() == [[3, 0.5], [4, 0.75], [7, 1]]
    assert axes.lines[1].get_xydata().tolist() == [[6, 0.25], [7, 0.125]]
    assert axes.get_title("left") == "f1: best in validation 0.25, at epoch 6"
    lowest = plots.curves(rows, names=["f1"], higher_is_better=[]).axes[0]
    assert lowest.get_title("left") == "f1: best in validation 0.125, at epoch 7"
    assert len(plots.curves(rows).axes) == 2
    by_name = {"epoch": [3, 4], "val_a": [None, None]}
    assert plots.curves(by_name).axes[0].get_title("left") == "a"


def test_words_say_whether_higher_is_better():
    assert histories.is_rising("accuracy") and histories.is_rising("top_5_accuracy")
    assert not histories.is_rising("loss") and not histories.is_rising("inaccuracy")


def test_attention_is_drawn_as_given(drawn):
    axes = drawn["attention"].axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), WEIGHTS)
    assert tick_words(axes.xaxis) == ["a", "cat", "sat", "$"]
    assert tick_words(axes.yaxis) == ["ein", "Kater"]
    assert axes.images[0].get_clim() == (0, 1)


def test_confusion_shows_counts_and_shares_of_rows(drawn):
    (axes,) = drawn["confusion"].axes
    shares = np.array([[90 / 91, 1 / 91, 0], [0, 0, 0], [5 / 1239, 0, 1234 / 1239]])
    sign = 2 * np.eye(3) - 1
    np.testing.assert_allclose(axes.images[0].get_array(), sign * np.sqrt(shares))
    told = {text.get_position(): text.get_text() for text in axes.texts}
    assert told == {(0, 0): "90", (1, 0): "1", (0, 2): "5", (2, 2): "1,234"}
    assert axes.get_title("left") == "99.5 % right: 1,324 of 1,330"
    assert tick_words(axes.yaxis) == ["no", "a rather long n…", "$y_1$"]


def test_confusion_of_many_classes_has_no_numbers_and_weights_have_three_figures():
    assert not plots.confusion(np.ones((31, 31))).axes[0].texts
    weighted = plots.confusion([[0.12345, 0.0], [0.0, 2.0]])
    assert [text.get_text() for text in weighted.axes[0].texts] == ["0.123", "2"]
    assert weighted.axes[0].get_title("left") == "100.0 % right: 2.12 of 2.12"


def test_names_beside_lines_are_moved_apart():
    np.testing.assert_allclose(style.spread(np.array([0.5, 0.5, 0.1]), 0.1), [0.5, 0.6, 0.1])
    np.testing.assert_allclose(style.spread(np.array([2.0, 0.97, 1.0]), 0.1), [1.0, 0.8, 0.9])
    np.testing.assert_allclose(style.spread(np.zeros(5), 0.5), [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(style.spread(np.array([0.3]), 0.1), [0.3])


def test_lines_of_one_colour_differ_in_dashes_and_say_so():
    looks = [tuple(style.line_style(n).values()) for n in range(12)]
    assert len(set(looks)) == 12
    assert style.line_name("a", 3) == "a" and style.line_name("a", 4) == "a, dashed"


@pytest.mark.parametrize("name", PICTURES)
def test_the_page_shows_every_picture(name):
    """`examples/pictures_of_a_network.py` makes them."""
    assert f"](images/plots_{name}.png)" in (DOCS / "pictures.md").read_text()
    assert 1_000 < (DOCS / "images" / f"plots_{name}.png").stat().st_size < 100_000


@pytest.mark.parametrize("name", PICTURES)
def test_matplotlib_is_asked_for_by_name(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError) as caught:
        PICTURES[name]()
    assert str(caught.value) == (
        f"{name}: `matplotlib` must be installed, got nothing; "
        "install it with pip install rnnjax[plots]."
    )


def test_curves_of_a_history_of_fit_show_what_was_measured():
    entry = {"scale": 1.0, "skipped": 0, "confusion": [[1, 0], [0, 2]]}
    rows = [entry | {"epoch": n, "step": 9 * n, "loss": 1 / n, "seconds": 0.1 * n} for n in (1, 2)]
    titles = lambda rows: [a.get_title("left") for a in plots.curves(rows).axes]
    assert titles(rows) == ["loss"]
    assert titles([rows[0], rows[1] | {"scale": 0.5}]) == ["scale", "loss"]
    assert len(plots.curves(rows, names=["step", "skipped"]).axes) == 2
