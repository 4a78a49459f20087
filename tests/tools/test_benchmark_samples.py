# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark's statistics: medians, quartiles, and intervals that hold what they claim."""

import random

import pytest

from benchmarks.samples import Spread, median, percentile, ratio, spread


def test_spread_and_percentiles() -> None:
    assert spread([5, 1, 2, 4, 3]) == Spread(2, 3, 4, 5)
    assert spread([7.0]) == Spread(7, 7, 7, 1)
    with pytest.raises(ValueError, match="no samples"):
        spread([])
    samples = list(range(101))
    assert [percentile(samples, each) for each in (1, 50, 99)] == [1, 50, 99]


def test_interval_holds_the_median_and_is_the_same_again() -> None:
    samples = [float(each) for each in range(30)]
    found = median(samples)
    assert found.low < found.value == 14.5 < found.high
    assert found == median(samples)


def test_intervals_hold_the_truth_about_as_often_as_they_claim() -> None:
    draw = random.Random(2)

    def holds() -> bool:
        slower = [draw.gauss(110, 10) for _ in range(30)]
        found = ratio(slower, [draw.gauss(100, 10) for _ in range(30)])
        return found.low <= 1.1 <= found.high

    # One that always holds it is too wide.
    assert 0.85 <= sum(holds() for _ in range(100)) / 100 < 1
