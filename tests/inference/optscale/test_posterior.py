"""Posteriors by nodes and in closed form: powers, quantiles, gains and draws."""

import math

import numpy as np
import pytest
from mpmath import mp
from scipy import integrate, special, stats

from ppl_scaling.inference.optscale import quadrature
from ppl_scaling.inference.optscale.answered import infer_answered
from ppl_scaling.inference.optscale.dirichlet import DirichletPosterior
from ppl_scaling.inference.optscale.posterior import NodePosterior
from ppl_scaling.inference.optscale.powers import log_power_mean_of
from ppl_scaling.inference.optscale.quadrature import infer_scores
from ppl_scaling.models.scores import BetaScores, DirichletScores, InflatedBetaScores
from tests.statistics import assert_mean

SCORES = [0.55, 0.7, 0.62, 0.81, 0.74]


@pytest.mark.parametrize("score", [0.5, 0.65, 0.9, 0.9999])
def test_dirichlet_powers_are_ratios_of_beta_functions(score):
    posterior = infer_scores(DirichletScores(2.0), SCORES)
    below = sum(one < score for one in SCORES)
    a, b = 2 * mp.mpf(score) + below, 2 * (1 - mp.mpf(score)) + len(SCORES) - below
    numbers = [0, 1, 2, 10, 1000, 10**6, 10**9, 10**12]
    with mp.workdps(60):
        exact = [float(mp.log(mp.beta(a + m, b) / mp.beta(a, b))) for m in numbers]
    np.testing.assert_allclose(posterior.log_power_mean(score, numbers), exact, rtol=1e-11, atol=1e-14)


def test_dirichlet_quantiles_and_certainty():
    posterior = infer_scores(DirichletScores(2.0), SCORES)
    law = stats.beta(2 * 0.9 + 5, 2 * 0.1)
    np.testing.assert_allclose(posterior.cdf_quantile(0.9, [0.1, 0.5, 0.9]), law.ppf([0.1, 0.5, 0.9]))
    np.testing.assert_allclose(law.expect(lambda x: np.log(x)), posterior.expectation(0.9, lambda x: x), rtol=1e-5)
    bootstrap = infer_scores(DirichletScores(0.0), SCORES)
    np.testing.assert_array_equal(bootstrap.log_power_mean(0.9, [0, 5]), 0.0)
    np.testing.assert_array_equal(bootstrap.log_power_mean(0.1, [0, 5]), [0.0, -np.inf])
    assert bootstrap.expected_gain(100) == 0
    with pytest.raises(ValueError, match="no prior"):
        DirichletPosterior(DirichletScores(0.0), [])


def test_powers_do_not_cancel():
    log_cdf, weights = np.array([-1e-20, -3.0, -np.inf, 0.0]), np.array([0.25, 0.25, 0.25, 0.25])
    found = log_power_mean_of(log_cdf[:1], np.ones(1), np.array([0.0, 1.0, 1e9, 1e20, 1e25]))
    np.testing.assert_allclose(found, [0.0, -1e-20, -1e-11, -1.0, -1e5], rtol=1e-12)
    found = log_power_mean_of(log_cdf, weights, np.array([0.0, 1.0, 1e6]))
    np.testing.assert_allclose(np.exp(found), [1.0, 0.5 + 0.25 * math.exp(-3), 0.5])
    assert log_power_mean_of(np.array([-2000.0, -3000.0]), np.array([0.5, 0.5]), np.ones(1))[0] == pytest.approx(
        -2000 + math.log(0.5)
    )


@pytest.mark.parametrize(
    ("model", "scores"),
    [(BetaScores(), []), (BetaScores(), SCORES), (InflatedBetaScores(), SCORES), (DirichletScores(3.0), SCORES)],
    ids=["prior", "beta", "inflated-beta", "dirichlet"],
)
def test_expected_gain_is_its_integral_and_that_of_draws(model, scores):
    posterior = infer_scores(model, scores)
    best = max(scores, default=0.0)
    t = np.linspace(0, 1, 61)
    points = best + 1e-12 + (1 - best - 1e-12) * t**2 * (3 - 2 * t)  # dense at both ends
    for m in (1, 4):
        density = -np.expm1(posterior.log_power_mean(points, m)) * 6 * t * (1 - t)
        exact = (1 - best) * integrate.simpson(density, x=t)
        assert posterior.expected_gain(m) == pytest.approx(exact, rel=1e-3)
    drawn = posterior.sample_scores((2000, 8), seed=3)
    assert_mean(np.maximum(drawn.max(1) - best, 0), posterior.expected_gain(8))
    assert_mean((drawn < 0.9).all(1), math.exp(posterior.log_power_mean(0.9, 8)))
    np.testing.assert_array_equal(drawn, posterior.sample_scores((2000, 8), seed=3))
    assert posterior.expected_gain(0) == 0


def test_gain_of_nothing_left_is_zero():
    assert infer_scores(BetaScores(), [1.0, 0.4]).expected_gain(5) == 0


def test_gain_of_a_known_law_has_a_closed_form():
    posterior = NodePosterior(BetaScores(), {"logit_mean": [0.0], "log_concentration": [math.log(2.0)]}, [0.0], [])
    for m in (1, 5, 1000):  # uniform scores
        assert posterior.expected_gain(m) == pytest.approx(m / (m + 1), rel=1e-6)


def test_quantiles_interpolate_between_nodes():
    posterior, probabilities = infer_scores(BetaScores(), SCORES), [0.05, 0.5, 0.95]
    log_cdf, weights = posterior.table(0.9)
    below = [weights[log_cdf <= value].sum() for value in posterior.log_cdf_quantile(0.9, probabilities)]
    np.testing.assert_allclose(below, probabilities, rtol=0, atol=weights.max())  # a node is on one side or the other
    quantiles = posterior.cdf_quantile(0.9, np.linspace(0.01, 0.99, 50))
    assert (np.diff(quantiles) >= 0).all() and quantiles.min() > 0 and quantiles.max() <= 1
    assert posterior.expectation(0.9, np.exp) == pytest.approx(float(posterior.predictive_cdf(0.9)))


def test_node_posteriors_check_what_they_are_given():
    values = {"logit_mean": [0.0, 1.0], "log_concentration": [1.0, 1.0]}
    posterior = NodePosterior(BetaScores(), values, np.log([0.25, 0.75]), SCORES)
    assert posterior.mean("logit_mean") == pytest.approx(0.75) and posterior.ess == pytest.approx(1.6)
    assert posterior.num_scores == 5 and posterior.best == 0.81
    cdf = [float(special.betainc(np.e * p, np.e * (1 - p), 0.9)) for p in special.expit([0.0, 1.0])]
    np.testing.assert_allclose(posterior.predictive_cdf([0.9]), np.dot([0.25, 0.75], cdf))
    for wrong, weights in [({"logit_mean": [0.0]}, [0.0]), (values, [0.0]), (values, [-np.inf, -np.inf])]:
        with pytest.raises(ValueError, match="expected"):
            NodePosterior(BetaScores(), wrong, weights, SCORES)
    for one in (posterior, infer_scores(DirichletScores(), SCORES), infer_answered(BetaScores(), SCORES, 2)):
        with pytest.raises(ValueError, match="m >= 0"):
            one.log_power_mean(0.5, [1, -1])
    with pytest.raises(ValueError, match="score in"):
        posterior.log_power_mean(1.5, 1)


def test_tables_of_many_scores_are_made_once(monkeypatch):
    posterior, made = infer_scores(BetaScores(), SCORES), []
    log_cdf_of = quadrature.log_cdf_of
    monkeypatch.setattr(
        quadrature, "log_cdf_of", lambda model, scores, *rest: made.append(1) or log_cdf_of(model, scores, *rest)
    )
    posterior.predictive_cdf(np.linspace(0, 1, 400))
    assert len(made) < 10
