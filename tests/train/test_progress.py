"""What is seen of a run: everything on a terminal, and nothing where there is none."""

import io

import pytest
import rich.console
from fits import LINEAR, fit

from rnnjax import train
from rnnjax.train.progress import Live, Quiet, in_words, shown


class Clock:
    """Seconds that a test turns on."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def screen(monkeypatch, clock):
    """A terminal of 160 columns; what it shows can be read."""
    made = rich.console.Console(
        file=io.StringIO(), force_terminal=True, width=160, color_system=None, get_time=clock
    )
    monkeypatch.setattr("rich.console.Console", lambda: made)
    return made


def test_what_a_terminal_shows(screen, clock):
    with shown(True, 3) as live:
        live.begin(2, 8, 0)
        for done in range(1, 5):
            clock.now = 10.0 * done
            live.show(done, {"loss": 0.123456, "accuracy": 0.75, "confusion": [[1.0]]}, 1234.5)
        live.progress.refresh()
        text = screen.file.getvalue()
    for word in ("epoch 2/3", "4/8", "loss 0.1235", "accuracy 0.75", "1,234 tokens/s", "00:40"):
        assert word in text
    assert "confusion" not in text


def test_unknown_steps_have_no_end(screen):
    live = shown(None, 1)
    assert isinstance(live, Live)  # a terminal
    with live:
        live.begin(1, None, 0)
        live.show(5, {"loss": 2.0}, 10.0)
        live.progress.refresh()
    assert "5/?" in screen.file.getvalue()


def test_the_line_of_an_epoch_names_what_is_unusual(screen):
    with shown(True, 2) as live:
        live.end({"epoch": 1, "loss": 0.25, "val_loss": 1e-6, "scale": 0.1, "skipped": 3})
    assert "epoch 1/2  loss 0.25  val_loss 1e-06  scale 0.1  skipped 3\n" in screen.file.getvalue()


def test_fit_shows_each_step_and_each_epoch(screen, monkeypatch, any_promotion):
    monkeypatch.setattr("rnnjax.train.run.TICK", -1.0)  # a look after every step
    options = {"epochs": 2, "batch_size": 3, "metrics": [train.accuracy], "progress": True}
    history = fit(LINEAR, **options).history
    text = screen.file.getvalue()
    for entry in history.entries:
        values = f"loss {entry['loss']:.4g}  accuracy {entry['accuracy']:.4g}"
        assert f"epoch {entry['epoch']}/2  {values}\n" in text
    assert "tokens/s" in text and "2/2" in text


def test_nothing_is_printed_where_there_is_no_terminal(capfd, any_promotion):
    assert type(shown(None, 1)) is Quiet
    for progress in (None, False):
        fit(LINEAR, epochs=2, progress=progress)
    assert capfd.readouterr() == ("", "")
    fit(LINEAR, epochs=2, progress=True)  # told to: a line for each epoch
    lines = capfd.readouterr().out.split("\n")
    assert [line[:16] for line in lines if line] == ["epoch 1/2  loss ", "epoch 2/2  loss "]


def test_the_screen_is_given_back_after_an_error(screen):
    live = shown(True, 1)
    with pytest.raises(KeyError), live:
        raise KeyError
    assert live.progress.live.is_started is False


def test_in_words():
    values = {
        "loss": 1234.5678,
        "steps": 7,
        "table": [1.0],
        "tiny": 1.23456e-7,
        "bad": float("nan"),
    }
    assert in_words(values) == "loss 1235  steps 7  tiny 1.235e-07  bad nan"


def test_short_epochs_share_a_line(screen):
    with shown(True, 3) as live:
        for epoch in (1, 2, 3):
            live.end({"epoch": epoch, "loss": 0.5, "scale": 1.0, "skipped": 0})
    text = screen.file.getvalue()
    assert [f"epoch {epoch}/3" in text for epoch in (1, 2, 3)] == [True, False, True]
