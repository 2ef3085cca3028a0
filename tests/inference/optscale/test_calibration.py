"""Posteriors of scores are right on average, and promises are kept, over simulated problems.

The larger version, with every model and the laws that no model assumes, is ``tests/benchmarks/optscale_calibration.py``.

Ranks are compared with the uniform law by a chi-square test of ten bins at 1e-6: with nine of them a right program fails
with probability 1e-5. Means are compared as ``tests/statistics.py`` says.
"""

import numpy as np
import pytest
import torch
from scipy import stats

from ppl_scaling.inference.optscale.decisions import required_completions
from ppl_scaling.inference.optscale.plug_in import optscale_0
from ppl_scaling.inference.optscale.quadrature import infer_scores
from ppl_scaling.models.scores import BetaScores, DirichletScores, LogitNormalScores, TruncatedNormalScores
from tests.models.scores.sticks import stick_breaking
from tests.statistics import K, assert_mean

SEEN = 4
NUM_PROBLEMS = 100
CONFIDENCE = 0.9


def simulate(model, num_problems, seed):
    generator = torch.Generator().manual_seed(seed)
    values = model.prior.sample((num_problems,), generator)
    return values, model.sample(values, (SEEN,), generator=generator).T.numpy()


def below(points, weights, truth):
    order = np.argsort(points)
    middle = np.cumsum(weights[order]) - weights[order] / 2
    return np.interp(truth, points[order], middle, left=0.0, right=1.0)


def reached(number, log_below):
    """Probability that ``number`` scores reach the target; 0 where the law is below it to float precision."""
    return 0.0 if log_below == 0 else -np.expm1(float(number) * log_below)


@pytest.fixture(scope="module", params=[TruncatedNormalScores, BetaScores, LogitNormalScores], ids=lambda kind: kind.name)
def study(request):
    """True parameters, scores and posteriors of problems drawn from a model."""
    model = request.param()
    values, scores = simulate(model, NUM_PROBLEMS, seed=7)
    return model, values, scores, [infer_scores(model, one) for one in scores]


def test_true_parameters_have_uniform_ranks(study):
    model, values, scores, posteriors = study
    target = float(np.quantile(scores, 0.8))
    truth = {**values, "log F": model.log_cdf(target, values)}
    ranks = {name: [] for name in truth}
    for j, posterior in enumerate(posteriors):
        nodes = {name: torch.from_numpy(np.asarray(value)) for name, value in posterior.values.items()}
        nodes["log F"] = model.log_cdf(target, nodes)
        for name, points in nodes.items():
            ranks[name].append(below(points.numpy(), np.exp(posterior.log_weights), float(truth[name][j])))
    for found in ranks.values():
        assert stats.chisquare(np.histogram(found, 10, (0, 1))[0]).pvalue > 1e-6
        assert_mean(found, 0.5)


@pytest.mark.parametrize("kind", ["one for all problems", "halfway from a problem's best to 1"])
def test_the_target_is_reached_as_often_as_promised(study, kind):
    """Of problems whose n scores are all below the target; given the true law the probability of reaching it is known."""
    model, values, scores, posteriors = study
    one_for_all = kind == "one for all problems"
    targets = np.full(NUM_PROBLEMS, np.quantile(scores, 0.6)) if one_for_all else 0.5 * (1 + scores.max(1)).clip(max=1.998)
    log_below = model.log_cdf(torch.from_numpy(targets), values).numpy()
    excess = []
    for j, posterior in enumerate(posteriors):
        if posterior.best < targets[j]:
            asked = required_completions(posterior, targets[j], CONFIDENCE)
            assert asked.probability >= CONFIDENCE * (1 - 1e-9) or not asked.reachable
            excess.append(reached(asked.number, log_below[j]) - asked.probability)
    assert len(excess) > NUM_PROBLEMS / (8 if one_for_all else 2)
    assert_mean(excess, 0.0)


def test_the_plug_in_falls_short_of_its_promise():
    model = TruncatedNormalScores()
    values, scores = simulate(model, 400, seed=8)
    target = float(np.quantile(scores, 0.6))
    log_below = model.log_cdf(target, values).numpy()
    kept = []
    for j, seen in enumerate(scores):
        if seen.max() < target:
            number = required_completions(optscale_0(seen), target, CONFIDENCE).number
            kept.append(reached(number, log_below[j]))
    assert np.mean(kept) < CONFIDENCE - K * np.std(kept) / np.sqrt(len(kept))


def test_dirichlet_posterior_keeps_its_promise_on_broken_sticks():
    """Laws are drawn by breaking sticks, which the closed form of the posterior knows nothing of."""
    model = DirichletScores(concentration=2.0)
    rng = np.random.default_rng(9)
    num_problems, sticks = 600, 120
    weights = stick_breaking(rng, 2.0, num_problems, sticks)
    atoms = rng.random((num_problems, sticks))
    drawn = (rng.random((num_problems, SEEN, 1)) > np.cumsum(weights, 1)[:, None]).sum(-1)
    scores = np.take_along_axis(atoms, np.minimum(drawn, sticks - 1), 1)
    target = 0.85
    true_below = (weights * (atoms < target)).sum(1)
    excess = []
    for j, seen in enumerate(scores):
        if seen.max() < target:
            asked = required_completions(infer_scores(model, seen), target, 0.6)
            excess.append(1 - min(true_below[j], 1.0) ** asked.number - asked.probability)
    assert_mean(excess, 0.0)
