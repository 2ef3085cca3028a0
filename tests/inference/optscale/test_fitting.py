"""NUTS, variational inference and Laplace against quadrature, and the hierarchy against the population it was drawn from.

Statistical comparisons are with 5 standard errors (a false alarm in 1.7 million for one of them, of which there are about
twenty), computed from effective sample sizes. Of the two approximations no more can be asked than that they are close: their
bounds are stated where they are used, and chosen for the law and the scores, not fitted to the outcome.
"""

import functools
import math

import numpy as np
import pyro
import pytest
import torch

from ppl_scaling.inference.optscale.fitting import fit_laplace, fit_nuts, fit_svi
from ppl_scaling.inference.optscale.quadrature import infer_scores
from ppl_scaling.models.scores import HierarchicalScores, LogitNormalScores, ScoreAndCorrectness
from tests.statistics import K

SCORES = [0.7, 0.9, 0.8, 0.95, 0.6, 0.85, 0.75, 0.9, 0.65, 0.8]
TARGET = 0.95


@functools.cache
def exact():
    return infer_scores(LogitNormalScores(), SCORES)


@functools.cache
def nuts():
    return fit_nuts(LogitNormalScores(), SCORES, num_chains=2, num_draws=250, num_warmup=80, seed=1)


@functools.cache
def laplace():
    return fit_laplace(LogitNormalScores(), SCORES, num_draws=4000, seed=1)


@functools.cache
def hierarchy():
    generator = torch.Generator().manual_seed(0)
    location = 1.5 + 1.0 * torch.randn(24, dtype=torch.float64, generator=generator)
    log_scale = -0.2 + 0.3 * torch.randn(24, dtype=torch.float64, generator=generator)
    drawn = LogitNormalScores().sample({"location": location, "log_scale": log_scale}, (12,), generator=generator).T
    lengths = 4 + torch.arange(24) % 9
    scores = [row[:length] for row, length in zip(drawn, lengths, strict=True)]
    return scores, {"location": location.numpy(), "log_scale": log_scale.numpy()}


@functools.cache
def hierarchical_laplace():
    return fit_laplace(HierarchicalScores(LogitNormalScores()), hierarchy()[0], num_draws=300, seed=2)


@functools.cache
def hierarchical_nuts():
    model = HierarchicalScores(LogitNormalScores())
    return fit_nuts(model, hierarchy()[0], num_chains=2, num_draws=80, num_warmup=30, seed=2)


def moments(posterior):
    weights = np.exp(posterior.log_weights)
    values = {name: np.asarray(value) for name, value in posterior.values.items()}
    mean = {name: float(weights @ value) for name, value in values.items()}
    spread = {name: math.sqrt(float(weights @ (value - mean[name]) ** 2)) for name, value in values.items()}
    return mean, spread


def reached(posterior):
    return 1 - math.exp(float(posterior.log_power_mean(TARGET, 8)))


def test_nuts_agrees_with_quadrature():
    mean, spread = moments(exact())
    for name in LogitNormalScores.parameters:
        draws, ess = nuts().draws[name], float(nuts().diagnostics.ess[name])
        assert abs(draws.mean() - mean[name]) < K * spread[name] / math.sqrt(ess)
        # The variance of a variance, from the draws' own fourth moment: the posterior has heavier tails than a normal law.
        squares = (draws - mean[name]) ** 2
        assert abs(squares.mean() - spread[name] ** 2) < K * squares.std() / math.sqrt(ess / 2)


def test_nuts_agrees_with_quadrature_on_the_best_of_eight():
    powers = np.exp(8 * torch.stack([LogitNormalScores().log_cdf(TARGET, _values(nuts()))]).numpy()).reshape(-1)
    error = powers.std() / math.sqrt(min(float(one) for one in nuts().diagnostics.ess.values()) / 2)
    assert abs(reached(nuts().posterior()) - reached(exact())) < K * error
    assert reached(nuts().posterior()) == pytest.approx(1 - powers.mean())


def test_laplace_is_near_quadrature():
    # Ten scores: the mode and curvature are within a third of a posterior standard deviation of mean and spread.
    mean, spread = moments(exact())
    for name in LogitNormalScores.parameters:
        assert abs(laplace().draws[name].mean() - mean[name]) < spread[name] / 3 + K * spread[name] / math.sqrt(4000)
        assert 0.75 < laplace().draws[name].std() / spread[name] < 1.25
    assert abs(reached(laplace().posterior()) - reached(exact())) < 0.1


def test_laplace_climbs_to_the_mode():
    model, scores = LogitNormalScores(), torch.tensor(SCORES, dtype=torch.float64)
    centre = {name: torch.tensor(draws.mean()) for name, draws in laplace().draws.items()}
    error = {name: K * draws.std() / math.sqrt(4000) for name, draws in laplace().draws.items()}
    assert laplace().converged

    def height(values):
        return float(model.prior.log_prob(values) + model.log_likelihood(scores, values))

    for name in model.parameters:  # the draws' mean is the mode up to their standard error
        for side in (-1, 1):
            assert height({**centre, name: centre[name] + side * 3 * error[name]}) < height(centre)


def test_svi_is_near_quadrature():
    fit = fit_svi(LogitNormalScores(), SCORES, num_steps=400, num_draws=500, seed=3)
    mean, spread = moments(exact())
    for name in LogitNormalScores.parameters:
        assert abs(fit.draws[name].mean() - mean[name]) < spread[name] / 3 + K * spread[name] / math.sqrt(500)
        assert 0.7 < fit.draws[name].std() / spread[name] < 1.3
    assert abs(reached(fit.posterior()) - reached(exact())) < 0.1
    assert fit.diagnostics.pareto_k < 0.7


def test_hierarchy_recovers_the_population():
    truth = {"location_mean": 1.5, "location_spread": 1.0, "log_scale_mean": -0.2, "log_scale_spread": 0.3}
    for fit in (hierarchical_nuts(), hierarchical_laplace()):
        for name, value in truth.items():
            assert abs(fit.draws[name].mean() - value) < 4 * fit.draws[name].std()
        for name, values in hierarchy()[1].items():
            z = (fit.draws[name].mean((0, 1)) - values) / fit.draws[name].std((0, 1))
            # 24 problems: the mean square of z is 1 with standard deviation 0.29, so 2.45 is five of them away.
            assert np.mean(z**2) < 2.45


def test_laplace_and_nuts_agree_on_the_hierarchy():
    ours, theirs = hierarchical_laplace(), hierarchical_nuts()
    for name in ("location_mean", "location_spread", "log_scale_mean"):
        spread = theirs.draws[name].std()
        error = math.sqrt(1 / float(theirs.diagnostics.ess[name]) + 1 / 300)
        assert abs(ours.draws[name].mean() - theirs.draws[name].mean()) < (1 / 3 + K * error) * spread
    spread = theirs.draws["location"].std((0, 1))
    assert (np.abs(ours.draws["location"].mean((0, 1)) - theirs.draws["location"].mean((0, 1))) < spread).all()


def test_hierarchy_has_a_posterior_of_each_problem_and_a_prior_of_the_next():
    fit = hierarchical_nuts()
    posterior = fit.posterior(problem=7)
    assert posterior.num_scores == len(hierarchy()[0][7])
    assert posterior.values["location"].shape == (160,)
    prior = fit.prior_for_new_problem()
    assert prior.location["location"] == pytest.approx(fit.draws["location_mean"].mean())
    assert prior.scale["location"] > fit.draws["location_spread"].mean()
    with pytest.raises(ValueError, match="between 0 and 23"):
        fit.posterior()
    with pytest.raises(ValueError, match="between 0 and 23"):
        fit.posterior(problem=24)


def test_log_likelihood_is_of_each_score():
    fit = hierarchical_laplace()
    assert fit.log_likelihood.shape == (1, 300, sum(map(len, hierarchy()[0])))
    assert np.array_equal(fit.observed, torch.cat(hierarchy()[0]).numpy())
    last = {name: torch.from_numpy(fit.draws[name][0, -1]) for name in LogitNormalScores.parameters}
    alone = LogitNormalScores().log_prob(hierarchy()[0][5], {name: value[5] for name, value in last.items()})
    np.testing.assert_allclose(fit.log_likelihood[0, -1][fit.problem == 5], alone.numpy(), rtol=1e-10)
    one = laplace()
    expected = LogitNormalScores().log_prob(torch.tensor(SCORES, dtype=torch.float64), _values(one)).numpy()
    np.testing.assert_allclose(one.log_likelihood[0], expected, rtol=1e-12)


def test_padding_and_lists_are_the_same():
    scores = hierarchy()[0][:5]
    widest = max(map(len, scores))
    padded = torch.full((5, widest), torch.nan, dtype=torch.float64)
    for row, one in zip(padded, scores, strict=True):
        row[: len(one)] = one
    model = HierarchicalScores(LogitNormalScores())
    listed = fit_laplace(model, scores, num_draws=5, seed=0)
    masked = fit_laplace(model, padded, mask=~padded.isnan(), num_draws=5, seed=0)
    np.testing.assert_allclose(listed.draws["location"], masked.draws["location"], rtol=1e-6)
    assert np.array_equal(listed.observed, masked.observed)


def test_labels_reach_the_model():
    correct = [0.0, 1.0, math.nan, 1.0, 0.0, 1.0, math.nan, 1.0, 0.0, 1.0]
    fit = fit_laplace(ScoreAndCorrectness(), SCORES, correct=correct, num_draws=50, seed=0)
    without = fit_laplace(ScoreAndCorrectness(), SCORES, num_draws=50, seed=0)
    assert fit.draws["right_log_scale"].mean() != without.draws["right_log_scale"].mean()
    assert fit.log_likelihood.shape == (1, 50, 10)


@pytest.mark.parametrize("fit", [functools.partial(fit_nuts, num_chains=1, num_warmup=5), fit_laplace, fit_svi])
def test_a_seed_gives_the_same_draws_and_leaves_nothing_behind(fit):
    fit = functools.partial(fit, LogitNormalScores(), SCORES, num_draws=8, **({"num_steps": 3} if fit is fit_svi else {}))
    pyro.clear_param_store()
    torch.manual_seed(3)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    with pyro.poutine.trace() as trace:
        first, second, other = fit(seed=5), fit(seed=5), fit(seed=6)
    assert np.array_equal(first.draws["location"], second.draws["location"])
    assert not np.array_equal(first.draws["location"], other.draws["location"])
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert not list(pyro.get_param_store().keys())
    assert not [name for name in trace.trace.nodes if not name.startswith("_")]


def test_a_short_fit_says_that_it_has_not_converged():
    fit = fit_nuts(LogitNormalScores(), SCORES, num_chains=2, num_draws=10, num_warmup=5, seed=0)
    assert not fit.converged
    assert "NOT CONVERGED" in repr(fit)
    assert "effective draws, expected at least 200" in repr(fit)


def test_statistics_of_the_sampler_are_kept_for_each_draw():
    assert nuts().statistics["n_steps"].shape == nuts().statistics["diverging"].shape == (2, 250)
    assert 0.5 < nuts().statistics["acceptance_rate"][:, -1].mean() < 1


def test_mistakes_are_named():
    model, hierarchical = LogitNormalScores(), HierarchicalScores(LogitNormalScores())
    with pytest.raises(TypeError, match="expected a ScoreModel or HierarchicalScores, got str"):
        fit_laplace("beta", SCORES)
    with pytest.raises(ValueError, match="mask and features with HierarchicalScores only"):
        fit_laplace(model, SCORES, mask=[True] * 10)
    with pytest.raises(ValueError, match="between 0 and 1, got"):
        fit_nuts(model, [0.5, 1.5])
    with pytest.raises(ValueError, match="num_draws >= 8"):
        fit_nuts(model, SCORES, num_draws=3)
    with pytest.raises(ValueError, match=r"num_chains to be an integer of at least 1, got 2\.0"):
        fit_nuts(model, SCORES, num_chains=2.0)
    with pytest.raises(ValueError, match="target_accept_prob between 0 and 1"):
        fit_nuts(model, SCORES, target_accept_prob=1.0)
    with pytest.raises(ValueError, match="learning_rate > 0"):
        fit_svi(model, SCORES, learning_rate=0.0)
    with pytest.raises(ValueError, match=r"shape \(num_problems, n_max\)"):
        fit_laplace(hierarchical, np.array(SCORES))
    with pytest.raises(ValueError, match="mask of bool of shape"):
        fit_laplace(hierarchical, np.array([SCORES]), mask=np.ones((1, 3), dtype=bool))
    with pytest.raises(ValueError, match=r"one label for each score, \[2, 1\] of the problems, got \[1, 2\]"):
        fit_laplace(HierarchicalScores(ScoreAndCorrectness()), [[0.2, 0.4], [0.9]], correct=[[1.0], [1.0, 0.0]])
    with pytest.raises(ValueError, match="no problem, because the fit is of one problem"):
        laplace().posterior(problem=0)
    with pytest.raises(ValueError, match="fit of HierarchicalScores"):
        laplace().prior_for_new_problem()


def _values(fit):
    return {name: torch.from_numpy(fit.draws[name].reshape(-1)) for name in fit.model.parameters}
