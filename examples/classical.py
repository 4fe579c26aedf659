"""Forecasting without networks: autoregression, seasons and drift."""

import numpy as np

WEEKS = 52  # of a year


def autoregression(values: np.ndarray, fitted: int, order: int):
    """What least squares on the first `fitted` values say of every value from `order` on.

    With it come the variance of what was left over in the fit, and the weights: those of values
    from the oldest on, then a constant.
    """
    windows = np.lib.stride_tricks.sliding_window_view(values[:-1], order)
    before = np.column_stack([windows, np.ones(len(windows))])
    rows = slice(fitted - order)
    weights, *_ = np.linalg.lstsq(before[rows], values[order:][rows], rcond=None)
    said = before @ weights
    return said, float(np.mean((said - values[order:])[rows] ** 2)), weights


def held(values: np.ndarray) -> np.ndarray:
    """Values whose gaps, NaN, hold the last value before."""
    last = np.where(np.isnan(values), 0, np.arange(len(values)))
    return values[np.maximum.accumulate(last)]


def season(years: np.ndarray, values: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Three harmonics of the year, by least squares beside a parabola where `fitted` is True."""
    turns = 2 * np.pi * np.arange(1, 4) * years[:, None]
    waves = np.concatenate([np.sin(turns), np.cos(turns)], 1)
    terms = np.concatenate([waves, np.vander(years - years[0], 3)], 1)
    rows = fitted & ~np.isnan(values)
    weights, *_ = np.linalg.lstsq(terms[rows], values[rows], rcond=None)
    return waves @ weights[:6]


def last_years(values: np.ndarray) -> np.ndarray:
    """The mean of the last year at every week; before there is one, that of the first."""
    sums = np.cumsum(np.insert(values, 0, 0.0))
    means = (sums[WEEKS:] - sums[:-WEEKS]) / WEEKS
    return np.concatenate([np.full(WEEKS - 1, means[0]), means])


def drift(values: np.ndarray, years: int = 10) -> np.ndarray:
    """By how much weekly means rise in a week: between the last year and one `years` before.

    Where the series is shorter its first year serves, and in the first three years it is 0.
    """
    now = np.arange(len(values))
    past = np.maximum(now - WEEKS * years, WEEKS - 1)
    means = last_years(values)
    rise = (means - means[past]) / np.maximum(now - past, 1)
    return np.where(now >= 3 * WEEKS - 1, rise, 0.0)


def last_season(values: np.ndarray, origins: np.ndarray, steps: np.ndarray, years: int = 1):
    """The last year's mean and the season of the last `years`, raised by the drift.

    `steps`, (S, O), come after `origins`. With one year this is seasonal-naive with drift.
    """
    means, rise = last_years(values), drift(values)[origins]
    ahead = steps - origins
    week = (ahead - 1) % WEEKS + 1 - WEEKS  # of the last year, 0 its end
    past = [origins - WEEKS * back for back in range(years)]
    season = np.mean([values[origin + week] - means[origin] for origin in past], 0)
    return means[origins] + season + rise * (ahead - week)
