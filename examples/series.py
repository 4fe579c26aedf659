"""Series to forecast: how networks read them, where forecasts begin, and what others say."""

from collections.abc import Callable
from typing import NamedTuple

import classical
import datasets
import judging
import numpy as np


class Series(NamedTuple):
    """A series of T steps, of which S are forecast from each of O origins."""

    name: str
    unit: str
    years: np.ndarray  # (T,)
    truth: np.ndarray  # (T,), NaN where missing
    values: np.ndarray  # (T,) transformed, without gaps
    drift: np.ndarray  # (T,) by which values rise in a step, as far as known at each
    restore: Callable  # values (..., S, O), steps (S, O) -> as in `truth`
    fitted: int  # steps that are trained on
    origins: np.ndarray  # (O,) the last steps that forecasts know
    ahead: int  # S
    baselines: dict[str, np.ndarray]  # what each says, (S, O), the trivial one first
    goal: float
    lags: int  # values that networks read at a step,
    scale: float  # in this unit,
    level: float | None  # from here, or from their own mean
    linear: np.ndarray  # (lags + 1,) weights of values and of 1 that answers are counted from
    start: int  # the first step that is read
    pieces: int  # that training cuts the series into
    epochs: int
    decay: float  # of weights

    @property
    def steps(self) -> np.ndarray:
        """Which steps are forecast, `(S, O)`."""
        return after(self.origins, self.ahead)

    def task(self) -> judging.Judged:
        """What is to be reached, beside the baselines."""
        truth = self.truth[self.steps]
        first, last = self.years[[self.steps.min(), self.steps.max()]].astype(int)
        return judging.Judged(
            name=f"forecasting_{self.name.replace(' ', '_')}",
            title=f"Forecasts of {self.name} ({self.unit}), {first} to {last}",
            measure="RMSE",
            form=".3f",
            baselines={name: error(truth, said) for name, said in self.baselines.items()},
            trivial=next(iter(self.baselines)),
            goal=self.goal,
            higher=False,
        )


def after(origins: np.ndarray, ahead: int) -> np.ndarray:
    """The steps after each origin, `(S, O)`."""
    return origins + np.arange(1, ahead + 1)[:, None]


def sunspots(fitted: int, last: int) -> Series:
    """Sunspots, read as square roots; each year after `fitted`, to `last`, from the one before."""
    years, truth = datasets.sunspots()
    past = years <= fitted
    roots = np.sqrt(truth)
    mean, scale = roots[past].mean(), roots[past].std()
    origins = np.where((years >= fitted) & (years < last))[0]
    linear, *_ = classical.autoregression(truth, past.sum(), 9)
    of_roots, variance, weights = classical.autoregression(roots, past.sum(), 9)
    steps = after(origins, 1)
    baselines = {
        "as the year before": truth[steps - 1],
        "AR(9)": linear[steps - 9],
        "AR(9) of square roots": (of_roots**2 + variance)[steps - 9],
    }
    return Series(
        name="sunspots",
        unit="mean of a year",
        years=years,
        truth=truth,
        values=roots,
        drift=np.zeros(len(years)),
        restore=lambda values, steps: np.maximum(values, 0) ** 2,
        fitted=past.sum(),
        origins=origins,
        ahead=1,
        baselines=baselines,
        goal=1.1 * error(truth[steps], baselines["AR(9)"]),
        lags=9,
        scale=scale,
        level=mean,
        linear=weights,
        start=8,
        pieces=1,
        epochs=150,
        decay=30.0,
    )


def carbon_dioxide(fitted: int, last: int) -> Series:
    """Carbon dioxide, read without its season; two years from every 13th week, `last` included."""
    weeks, truth = datasets.carbon_dioxide()
    years = 1970 + weeks.astype(float) / 365.25
    past = years < fitted + 1
    season = classical.season(years, truth, past)
    values, filled = classical.held(truth - season), classical.held(truth)
    origins = np.where(~past & (years < last + 1))[0][::13]
    origins = origins[origins + 104 < len(years)]
    steps = after(origins, 104)
    baselines = {
        "last year and drift": classical.last_season(filled, origins, steps),
        "season of five years and drift": classical.last_season(filled, origins, steps, 5),
    }
    return Series(
        name="carbon dioxide",
        unit="ppm",
        years=years,
        truth=truth,
        values=values,
        drift=classical.drift(values),
        restore=lambda values, steps: values + season[steps],
        fitted=past.sum(),
        origins=origins,
        ahead=104,
        baselines=baselines,
        goal=error(truth[steps], baselines["last year and drift"]),
        lags=26,
        scale=0.5,
        level=None,
        linear=np.append(np.full(26, 1 / 26), 0),
        start=155,
        pieces=8,
        epochs=80,
        decay=1.0,
    )


def error(truth: np.ndarray, said: np.ndarray) -> float:
    """Root of the mean squared error, where the truth is known."""
    return float(np.sqrt(np.nanmean((said - truth) ** 2)))


def covered(truth: np.ndarray, paths: np.ndarray, share: float) -> float:
    """How much of the truth lies in the middle `share` of paths, `(paths, S, O)`."""
    low, high = np.quantile(paths, [0.5 - share / 2, 0.5 + share / 2], axis=0)
    within = (low <= truth) & (truth <= high)
    return float(np.mean(within[~np.isnan(truth)]))
