"""The precision that a posterior states covers its true error: against lattices of far more nodes and other integrals.

The data are those where estimates of the error have once been too small (kinks and steps that fall between nodes), and some
ordinary ones. That lattices are where the density is, is held against dense grids in ``test_quadrature.py``.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import special, stats

from ppl_scaling.inference.optscale.coordinates import Coordinates
from ppl_scaling.inference.optscale.lattice import locate
from ppl_scaling.inference.optscale.quadrature import infer_scores
from ppl_scaling.models.scores import BetaScores, LogitNormalScores, TruncatedNormalScores, TwoComponentScores

NUMBERS = np.rint(10.0 ** np.arange(0, 6.1, 0.5))
RNG = np.random.default_rng(11)
SCORES = {
    "one at the end": [1.0],
    "zero": [0.0],
    "two at the end": [1.0, 1.0],
    "both ends": [0.0, 1.0, 0.4],
    "two near 1": [0.99909102, 0.99599773],
    "three equal": [0.59881212] * 3,
    "five equal": [0.30393696] * 5,
    "one": [0.62],
    "three near 0": RNG.beta(0.7, 30, 3),
    "ten": RNG.beta(6, 2, 10),
    "64": RNG.beta(6, 2, 64),
}


class Fine:
    """The posterior by a lattice of seven times the nodes on each axis, nothing left out that weighs more than 1e-11."""

    def __init__(self, model, scores):
        self.model, coordinates = model, Coordinates(model, model.parameters)
        statistics = model.statistics(torch.as_tensor(scores, dtype=torch.float64))

        def log_density(points):
            values = coordinates.values(points)
            return model.log_likelihood_of(statistics, values).numpy() + coordinates.log_prior(points)

        points, log_weights, _ = locate(log_density, 2, cut=32.0, count=141).nodes()
        self.log_evidence = np.logaddexp.reduce(log_weights)
        weights = np.exp(log_weights - self.log_evidence)
        self.values, self.weights = coordinates.values(points[weights > 1e-11]), weights[weights > 1e-11]

    def powers(self, score, numbers):
        survival = np.exp(np.minimum(self.model.log_survival(torch.tensor(score), self.values).numpy(), 0))
        with np.errstate(divide="ignore"):
            log_cdf = np.log1p(-survival)
        return np.array([self.weights @ np.exp(m * log_cdf) for m in numbers])

    def gains(self, best, numbers):
        """By Gauss's rule on panels that halve towards both ends."""
        ends = np.concatenate([[0.0], 0.5 ** np.arange(16, 1, -1), 1 - 0.5 ** np.arange(1, 20), [1.0]])
        nodes, weights = np.polynomial.legendre.leggauss(4)
        places = ends[:-1, None] + np.diff(ends)[:, None] * (nodes + 1) / 2
        shares = np.diff(ends)[:, None] * weights / 2
        missed = [self.powers(best + (1 - best) * place, numbers) for place in places.ravel()]
        return shares.ravel() @ (1 - np.array(missed))  # in units of the room above the best


@pytest.mark.parametrize("scores", SCORES.values(), ids=SCORES)
@pytest.mark.parametrize("model", [TruncatedNormalScores(), BetaScores(), LogitNormalScores()], ids=lambda model: model.name)
def test_the_stated_precision_covers_the_error(model, scores):
    ours, fine = infer_scores(model, scores), Fine(model, scores)
    assert ours.log_evidence == pytest.approx(fine.log_evidence, abs=ours.precision)
    best = max(scores)
    for target in (0.5 * (1 + best) if best < 1 else 0.999, 0.9, 0.9999):
        error = np.abs(np.exp(ours.log_power_mean(target, NUMBERS)) - fine.powers(target, NUMBERS)).max()
        assert error <= ours.precision == 1e-4
    assert ours.precise


@pytest.mark.parametrize("model", [TruncatedNormalScores(), LogitNormalScores()], ids=lambda model: model.name)
@pytest.mark.parametrize("scores", [SCORES["three equal"], SCORES["ten"]], ids=["three equal", "ten"])
def test_the_stated_precision_covers_the_error_of_gains(model, scores):
    numbers, best = np.array([1.0, 10.0, 100.0]), float(max(scores))
    ours = infer_scores(model, scores)
    found = ours.expected_gains(numbers) / (1 - best)
    np.testing.assert_allclose(found, Fine(model, scores).gains(best, numbers), atol=ours.precision, rtol=0)


def two_components_exactly(scores):
    """Log-evidence of the law of two components and ``E[F(0.95)]``, for scores of few values.

    By the binomial law it is a sum over how many of each value are right. Given the places of the components each term is a
    product of integrals over one scale each; places are on lattices of the logarithm of the distance from those values.
    """
    prior, (values, counts) = TwoComponentScores.default_prior, np.unique(scores, return_counts=True)
    logits, target = special.logit(values), special.logit(0.95)
    steps = np.arange(-17, 17, 0.05)
    below, above = special.expit(2 * steps), special.expit(-2 * steps)
    far = np.exp(np.arange(-32, 4.4, 0.1))
    places, widths = [logits[0] - far, logits[-1] + far], [0.1 * far] * 2
    for low, high in itertools.pairwise(logits):
        places.append(np.where(steps < 0, low + (high - low) * below, high - (high - low) * above))
        widths.append((high - low) * 0.1 * below * above)
    place, width = np.concatenate(places), np.concatenate(widths)
    z = np.arange(-19.99, 10, 0.06)

    def component(name, numbers, power):
        """Log-density of so many scores of each value, times ``F`` to a power, at each place."""
        log_scale = prior.location[name] + prior.scale[name] * z
        terms = np.tile(stats.norm.logpdf(z) + math.log(0.06), (len(place), 1))
        for logit, number in zip(logits, numbers, strict=True):
            terms += number * stats.norm.logpdf(logit - place[:, None], 0, np.exp(log_scale)) if number else 0.0
        terms += power * special.log_ndtr((target - place[:, None]) * np.exp(-log_scale)) if power else 0.0
        return special.logsumexp(terms, 1)

    gap = np.maximum(place[:, None] - place, 1e-300)  # of the right ones' place, in rows, from the wrong ones'
    log_gap = stats.norm(prior.location["log_gap"], prior.scale["log_gap"])
    origin = stats.norm(prior.location["wrong_location"], prior.scale["wrong_location"])
    together = log_gap.pdf(np.log(gap)) / gap * (origin.pdf(place) * width) * width[:, None]
    share = prior.location["logit_share"] + prior.scale["logit_share"] * (zs := np.arange(-9, 9, 0.05))

    def log_mean(power):
        total = []
        for right in itertools.product(*(range(count + 1) for count in counts)):
            wrong = counts - right
            for j in range(power + 1):
                one, other = component("right_log_scale", right, j), component("wrong_log_scale", wrong, power - j)
                mass = np.exp(one - one.max()) @ together @ np.exp(other - other.max())
                shares = (sum(right) + j) * special.log_expit(share) + (sum(wrong) + power - j) * special.log_expit(-share)
                shares = special.logsumexp(shares + stats.norm.logpdf(zs)) + math.log(0.05)
                ways = np.log(special.comb(counts, right)).sum()
                total.append(ways + shares + one.max() + other.max() + np.log(max(mass, 1e-300)))
        return special.logsumexp(total)

    evidence = log_mean(0)
    return evidence - counts @ np.log(values * (1 - values)), math.exp(log_mean(1) - evidence)


@pytest.mark.parametrize(
    "scores", [[0.9] * 3, [0.9] * 16, [0.1] * 8, [0.1] * 8 + [0.9]], ids=["three", "sixteen", "eight low", "all but one"]
)
def test_equal_scores_under_a_law_of_two_components(scores):
    """They pin a component on a thin sheet, and there are several of those: which one explains the scores."""
    ours, (evidence, below) = infer_scores(TwoComponentScores(), scores), two_components_exactly(scores)
    assert ours.log_evidence == pytest.approx(evidence, abs=ours.precision)
    assert float(ours.predictive_cdf(0.95)) == pytest.approx(below, abs=ours.precision)
    assert ours.precise
