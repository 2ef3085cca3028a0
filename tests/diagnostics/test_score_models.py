"""Choice and criticism of score models: the law that made the data wins, and one that cannot have made them is seen.

Seeds are fixed. Data are made so that the wrong law is far off: the differences asked for are of several standard errors.
"""

import functools
import math

import numpy as np
import pytest
import torch

from ppl_scaling.diagnostics.score_models import STATISTICS, check_score_model, compare_score_models
from ppl_scaling.inference.optscale.fitting import fit_laplace
from ppl_scaling.inference.optscale.predictive import posterior_predictive
from ppl_scaling.models.scores import (
    BetaScores,
    HierarchicalScores,
    InflatedBetaScores,
    LogitNormalScores,
    TwoComponentScores,
)
from tests.statistics import K


@functools.cache
def two_heaps():
    values = {"logit_share": 0.0, "wrong_location": -2.0, "wrong_log_scale": -0.5, "log_gap": 1.5, "right_log_scale": -0.7}
    values = {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
    return TwoComponentScores().sample(values, (150,), generator=torch.Generator().manual_seed(0))


@functools.cache
def fits():
    laws = {"one": LogitNormalScores(), "two": TwoComponentScores()}
    return {name: fit_laplace(law, two_heaps(), num_draws=400, seed=1) for name, law in laws.items()}


def test_the_law_that_made_the_scores_predicts_them_best():
    best, worst = compare_score_models(fits())
    assert (best.name, worst.name) == ("two", "one")
    assert worst.difference < -3 * worst.difference_standard_error < 0
    assert best.weight > 0.9


def test_atoms_and_densities_are_compared_on_one_scale():
    # A third of the scores is exactly 1. Per score a density there is up to 17 nats above a probability.
    scores = torch.cat([two_heaps()[:60], torch.ones(30, dtype=torch.float64)])
    atoms, density = (fit_laplace(law, scores, num_draws=300, seed=0) for law in (InflatedBetaScores(), BetaScores()))
    assert atoms.comparable_log_likelihood is atoms.log_likelihood
    at_one = density.observed == 1
    assert (density.comparable_log_likelihood[..., at_one] < 0).all()
    np.testing.assert_array_equal(density.comparable_log_likelihood[..., ~at_one], density.log_likelihood[..., ~at_one])
    best, worst = compare_score_models({"atoms": atoms, "density": density})
    assert best.name == "atoms"
    assert worst.difference < -3 * worst.difference_standard_error


def test_a_law_that_cannot_have_made_the_scores_is_seen():
    scores = torch.cat([two_heaps()[:60], torch.ones(30, dtype=torch.float64)])
    fit = fit_laplace(LogitNormalScores(), scores, num_draws=300, seed=0)
    found = {one.statistic: one for one in check_score_model(fit, seed=3)}
    assert found["share of exactly 1"].observed == pytest.approx(1 / 3)
    assert found["share of exactly 1"].p_value < 0.01
    assert tuple(found) == tuple(STATISTICS)


def test_the_right_law_passes():
    for one in check_score_model(fits()["two"], seed=3):
        assert 0.01 < one.p_value < 0.99
        assert one.interval[0] <= one.predicted <= one.interval[1]


def test_replicas_follow_the_draws_and_the_seed():
    fit = fits()["two"]
    first = posterior_predictive(fit, seed=1)
    assert first.shape == (1, 400, 150)
    np.testing.assert_array_equal(first, posterior_predictive(fit, seed=1))
    assert (first != posterior_predictive(fit, seed=2)).any()
    others = fit.posterior().sample_scores((2000, 20), 0).mean(1)
    error = math.sqrt(others.var() / len(others) + first.mean(-1).var() / first.shape[1])
    assert abs(first.mean() - others.mean()) < K * error


def test_problems_of_a_hierarchy_are_checked_one_by_one():
    generator = torch.Generator().manual_seed(1)
    location = torch.linspace(-1.0, 3.0, 12, dtype=torch.float64)
    drawn = LogitNormalScores().sample({"location": location, "log_scale": torch.tensor(-0.7)}, (9,), generator=generator).T
    scores = [row[: 3 + place % 7] for place, row in enumerate(drawn)]
    fit = fit_laplace(HierarchicalScores(LogitNormalScores()), scores, num_draws=100, seed=0)
    found = {one.statistic: one for one in check_score_model(fit, seed=0)}
    assert found["max"].observed == pytest.approx(np.mean([float(row.max()) for row in scores]))
    assert found["sd of problem means"].observed == pytest.approx(np.std([float(row.mean()) for row in scores]))
    assert all(0.005 < one.p_value < 0.995 for one in found.values())
    assert posterior_predictive(fit, seed=0).shape == (1, 100, sum(map(len, scores)))


def test_a_fit_goes_to_arviz():
    data = fits()["two"].to_arviz()
    assert dict(data["posterior"]["log_gap"].sizes) == {"chain": 1, "draw": 400}
    assert dict(data["log_likelihood"]["score"].sizes) == {"chain": 1, "draw": 400, "observation": 150}
    np.testing.assert_array_equal(data["observed_data"]["score"].values, two_heaps().numpy())


def test_only_fits_of_the_same_scores_are_compared():
    other = fit_laplace(LogitNormalScores(), two_heaps()[:20], num_draws=20, seed=0)
    with pytest.raises(ValueError, match="same scores, got other ones in 'other' than in 'two'"):
        compare_score_models({"two": fits()["two"], "other": other})
    with pytest.raises(ValueError, match="at least two models"):
        compare_score_models({"two": fits()["two"]})
