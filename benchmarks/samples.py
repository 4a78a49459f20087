# SPDX-License-Identifier: GPL-3.0-or-later
"""Medians, their spread, and how far a median, a ratio or a difference can be trusted."""

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

RESAMPLES = 1000
# 95 % of the resampled medians lie between these of 40 quantiles.
_LOW, _HIGH, _PARTS = 0, -1, 40


@dataclass(frozen=True)
class Spread:
    """What the runs of one measurement gave."""

    low_quartile: float
    median: float
    high_quartile: float
    count: int


@dataclass(frozen=True)
class Estimate:
    """A figure made of medians, and the interval that holds it with 95 % confidence."""

    value: float
    low: float
    high: float


def spread(samples: Sequence[float]) -> Spread:
    """Return median and quartiles; raise ValueError without a sample."""
    if not samples:
        raise ValueError("no samples")
    if len(samples) == 1:
        return Spread(samples[0], samples[0], samples[0], 1)
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return Spread(low, median, high, len(samples))


def percentile(samples: Sequence[float], percent: int) -> float:
    """Return the value that so many per cent (1 to 99) of at least two samples do not exceed."""
    return statistics.quantiles(samples, n=100, method="inclusive")[percent - 1]


def estimate(figure: Callable[..., float], *groups: Sequence[float]) -> Estimate:
    """Return `figure(median of each group)` with its interval, by drawing the runs again.

    The same samples give the same interval. Raises ValueError if a group has no sample.
    """
    draw = random.Random(0)
    value = figure(*(spread(group).median for group in groups))
    drawn = [
        figure(*(statistics.median(draw.choices(group, k=len(group))) for group in groups))
        for _ in range(RESAMPLES)
    ]
    bounds = statistics.quantiles(drawn, n=_PARTS, method="inclusive")
    return Estimate(value, bounds[_LOW], bounds[_HIGH])


def median(samples: Sequence[float]) -> Estimate:
    """Return the median of one group of runs."""
    return estimate(lambda one: one, samples)


def ratio(samples: Sequence[float], base: Sequence[float]) -> Estimate:
    """Return by what factor the median differs from that of `base`."""
    return estimate(lambda one, other: one / other, samples, base)


def difference(samples: Sequence[float], base: Sequence[float]) -> Estimate:
    """Return by how much the median differs from that of `base`."""
    return estimate(lambda one, other: one - other, samples, base)
