"""Calibration by hand, and by what resampling must give when probabilities are right."""

import math

import numpy as np
import pytest

from ppl_scaling.diagnostics import CalibrationReport, measure_calibration
from tests.statistics import assert_mean


def test_every_number_by_hand():
    found = measure_calibration([0.1, 0.2, 0.3, 0.8, 0.8, 0.9], [0, 1, 0, 1, 0, 1], num_bins=2)
    assert isinstance(found, CalibrationReport)
    assert found.bin_count.tolist() == [3, 3]
    assert found.bin_probability.tolist() == pytest.approx([0.2, 2.5 / 3])
    assert found.bin_frequency.tolist() == pytest.approx([1 / 3, 2 / 3])
    assert found.ece.value == pytest.approx((abs(0.6 - 1) + abs(2.5 - 2)) / 6)
    assert found.excess.value == pytest.approx((3.1 - 3) / 6)
    assert found.brier.value == pytest.approx((0.01 + 0.64 + 0.09 + 0.04 + 0.64 + 0.01) / 6)
    stated = [0.9, 0.2, 0.7, 0.8, 0.2, 0.9]
    assert found.log_score.value == pytest.approx(-np.mean(np.log(stated)))
    # Of nine pairs: 0.2 beats 0.1; 0.8 beats 0.1 and 0.3 and ties with 0.8; 0.9 beats all three.
    assert found.auc.value == pytest.approx((1 + 2.5 + 3) / 9)
    assert found.to_dict()["bin_count"] == [3, 3] and "6 events in 6 groups" in str(found)


def test_wilson_interval_of_the_curve():
    found = measure_calibration([0.5] * 10, [1] * 3 + [0] * 7)
    # The roots q of (0.3 - q)^2 = z^2 q (1 - q) / 10.
    z = 1.959964
    for q in (found.bin_low[0], found.bin_high[0]):
        assert (0.3 - q) ** 2 == pytest.approx(z**2 * q * (1 - q) / 10)
    grouped = measure_calibration([0.5] * 10, [1] * 3 + [0] * 7, groups=list("aabbccddee"))
    assert grouped.num_groups == 5 and grouped.bin_low[0] < found.bin_low[0] and grouped.bin_high[0] > found.bin_high[0]


def test_equal_probabilities_share_a_bin_and_no_bin_is_empty():
    found = measure_calibration([0.0] * 50 + [1.0] * 50, [0] * 50 + [1] * 50, num_bins=10)
    assert found.bin_count.tolist() == [50, 50] and found.ece.value == 0.0 == found.ece_limit_99
    assert found.auc.value == 1.0 and found.log_score.value == 0.0


def test_impossible_things_that_happen_have_no_finite_log_score_but_for_the_resolution():
    assert measure_calibration([1.0, 0.5], [0, 1]).log_score.value == math.inf
    assert measure_calibration([1.0, 0.5], [0, 1]).to_dict()["log_score"]["value"] is None
    found = measure_calibration([1.0, 0.5], [0, 1], resolution=[1 / 32, 1 / 32])
    assert found.log_score.value == pytest.approx((math.log(32) + math.log(2)) / 2)
    assert math.isnan(measure_calibration([0.2, 0.3], [1, 1]).auc.value)


def test_right_probabilities_exceed_the_limit_as_often_as_it_says():
    """200 sets of 60 events: the 95 % limit, itself from 400 draws, is exceeded in 5 % within 5 standard errors."""
    rng = np.random.default_rng(3)
    exceeded, excess_covers = [], []
    for seed in range(200):
        p = rng.beta(2, 1, size=60)
        found = measure_calibration(p, rng.random(60) < p, num_bins=5, num_resamples=400, seed=seed)
        exceeded.append(found.ece.value > found.ece_limit_95)
        excess_covers.append(found.excess.low <= 0 <= found.excess.high)
    assert_mean(exceeded, 0.05)
    assert_mean(excess_covers, 0.95, bias=0.03)  # the percentile interval of 60 events is a little too short


def test_wrong_probabilities_exceed_it():
    rng = np.random.default_rng(4)
    p = rng.beta(2, 1, size=400)
    found = measure_calibration(p, rng.random(400) < p**4)
    assert found.ece.value > found.ece_limit_99 and found.excess.low > 0
    assert found.excess.value == pytest.approx((p - p**4).mean(), abs=5 * 0.5 / 20)


def test_groups_that_rise_and_fall_together_raise_the_limit():
    rng = np.random.default_rng(5)
    p = np.repeat(rng.uniform(0.2, 0.8, size=40), 10)
    outcomes = np.repeat(rng.random(40), 10) < p
    alone = measure_calibration(p, outcomes)
    together = measure_calibration(p, outcomes, groups=np.repeat(np.arange(40), 10))
    assert together.ece.value == alone.ece.value
    assert together.ece_limit_95 > 2 * alone.ece_limit_95
    assert together.brier.high - together.brier.low > 2 * (alone.brier.high - alone.brier.low)


def test_bootstrap_of_the_auc_is_that_of_resampled_events():
    """The weights of a resample stand for copies: the interval has the width that theory gives for independent events."""
    rng = np.random.default_rng(6)
    y = rng.random(200) < 0.5
    p = np.clip(rng.normal(0.4 + 0.2 * y, 0.2), 0, 1)
    found = measure_calibration(p, y)
    a, n, m = found.auc.value, y.sum(), (~y).sum()
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)  # Hanley and McNeil (1982)
    theory = math.sqrt((a * (1 - a) + (n - 1) * (q1 - a * a) + (m - 1) * (q2 - a * a)) / (n * m))
    assert found.auc.high - found.auc.low == pytest.approx(2 * 1.96 * theory, rel=0.2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], []), "at least one"),
        (([0.5], [1, 0]), "as many outcomes"),
        (([1.2], [1]), r"in \[0, 1\], got 1.2"),
        (([math.nan], [1]), "got nan"),
        (([0.5], [2]), "0 or 1, got 2"),
    ],
)
def test_mistakes(arguments, message):
    with pytest.raises(ValueError, match=message):
        measure_calibration(*arguments)


def test_other_mistakes():
    with pytest.raises(ValueError, match="num_bins"):
        measure_calibration([0.5], [1], num_bins=0)
    with pytest.raises(ValueError, match="num_resamples"):
        measure_calibration([0.5], [1], num_resamples=0)
    with pytest.raises(ValueError, match="a group for each of 1"):
        measure_calibration([0.5], [1], groups=["a", "b"])
    for wrong in (0.6, -0.1, math.nan, [0.1, 0.1]):
        with pytest.raises(ValueError, match=r"a resolution in \[0, 1/2\], or one for each of 1"):
            measure_calibration([0.5], [1], resolution=wrong)
