"""Every law with one component: densities, distribution functions, draws and sufficient statistics."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch.autograd import gradcheck, gradgradcheck

from ppl_scaling.models.scores import BetaScores, InflatedBetaScores, LogitNormalScores, TruncatedNormalScores
from tests.statistics import assert_mean

# Smooth and heaped, inside and outside, narrow and wide. None is heaped so much that many draws round to exactly 1.
VALUES = {
    TruncatedNormalScores: [(0.8, math.log(0.2)), (1.7, math.log(0.3)), (-0.4, 0.0), (0.5, math.log(0.01)), (0.9, 3.0)],
    BetaScores: [(2.0, 2.0), (0.0, math.log(2)), (3.0, 1.0), (-1.0, 5.0), (0.5, 0.0)],
    LogitNormalScores: [(2.0, 0.0), (0.0, 1.0), (4.0, -2.0), (-3.0, 0.5), (0.3, -0.5)],
    InflatedBetaScores: [(-2.0, -1.0, 2.0, 2.0), (0.0, -3.0, 0.0, 1.0), (-5.0, 1.0, -1.0, 4.0)],
}
FAMILIES = list(VALUES)
SCORES = torch.tensor([0.93, 0.2, 0.999, 0.93, 0.5, 1 - 2**-20], dtype=torch.float64)
WITH_ENDS = torch.cat([SCORES, torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64)])


def name_of(parameter):
    return getattr(parameter, "name", None)


def values_of(family):
    columns = torch.tensor(VALUES[family], dtype=torch.float64).T
    return dict(zip(family.parameters, columns, strict=True))


def single_values():
    return [(family, value) for family in FAMILIES for value in VALUES[family]]


def single(family, value):
    return {name: torch.tensor(number, dtype=torch.float64) for name, number in zip(family.parameters, value, strict=True)}


def expit(x):
    return 1 / (1 + math.exp(-x))


class Reference:
    """The law's density and distribution function by scipy, between 0 and 1."""

    def __init__(self, family, value):
        self.zero = self.one = 0.0
        if family is InflatedBetaScores:
            self.zero, self.one = expit(value[0]), expit(-value[0]) * expit(value[1])
            family, value = BetaScores, value[2:]
        self.rest = 1 - self.zero - self.one
        if family is BetaScores:
            mean, concentration = expit(value[0]), math.exp(value[1])
            self.law = scipy.stats.beta(mean * concentration, (1 - mean) * concentration)
        elif family is TruncatedNormalScores:
            location, scale = value[0], math.exp(value[1])
            self.law = scipy.stats.truncnorm(-location / scale, (1 - location) / scale, location, scale)
        else:
            self.law = None
            self.normal = scipy.stats.norm(value[0], math.exp(value[1]))

    def log_density(self, x):
        if self.law is None:
            return self.normal.logpdf(np.log(x) - np.log1p(-x)) - np.log(x) - np.log1p(-x)
        return self.law.logpdf(x) + np.log(self.rest)

    def cdf(self, x):
        inner = self.normal.cdf(np.log(x) - np.log1p(-x)) if self.law is None else self.law.cdf(x)
        return self.zero + self.rest * inner


@pytest.mark.parametrize(("family", "value"), single_values(), ids=name_of)
def test_density_is_scipys(family, value):
    ours = family().log_prob(SCORES, single(family, value))
    assert ours.numpy() == pytest.approx(Reference(family, value).log_density(SCORES.numpy()), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("family", "value"), single_values(), ids=name_of)
def test_cdf_is_scipys(family, value):
    x = np.array([0.01, 0.3, 0.7, 0.95, 0.999])
    values = {name: column[None] for name, column in single(family, value).items()}
    cdf = family().log_cdf(torch.from_numpy(x), values).exp()
    assert cdf.numpy() == pytest.approx(Reference(family, value).cdf(x), rel=1e-8, abs=1e-12)


@pytest.mark.parametrize(("family", "value"), single_values(), ids=name_of)
@pytest.mark.parametrize(("lower", "upper"), [(0.3, 0.7), (0.85, 0.97)])
def test_cdf_is_the_integral_of_the_density(family, value, lower, upper):
    model, values = family(), single(family, value)
    nodes, weights = np.polynomial.legendre.leggauss(400)
    points = torch.from_numpy(lower + (upper - lower) * (nodes + 1) / 2)
    mass = (model.log_prob(points, values).exp().numpy() * weights).sum() * (upper - lower) / 2
    difference = model.log_cdf(upper, values).exp() - model.log_cdf(lower, values).exp()
    assert difference.item() == pytest.approx(mass, rel=1e-10, abs=1e-13)


@pytest.mark.parametrize("family", FAMILIES, ids=name_of)
def test_cdf_and_survival_are_complements(family):
    scores = torch.tensor([0.0, 1e-12, 1e-3, 0.4, 0.9, 1 - 1e-6, 1 - 1e-12, 1.0], dtype=torch.float64)[:, None]
    values = values_of(family)
    log_cdf, log_survival = family().log_cdf(scores, values), family().log_survival(scores, values)
    assert log_cdf.shape == (8, len(VALUES[family]))
    assert torch.logaddexp(log_cdf, log_survival).abs().max() < 1e-13
    assert (log_cdf.diff(dim=0) >= 0).all()


@pytest.mark.parametrize("family", FAMILIES, ids=name_of)
def test_cdf_beyond_the_ends(family):
    model, values = family(), values_of(family)
    for score in (-0.5, 0.0):
        assert (model.log_cdf(score, values) == -math.inf).all()
        assert (model.log_survival(score, values) == 0).all()
    assert (model.log_cdf(1.5, values) == 0).all()
    assert (model.log_survival(1.5, values) == -math.inf).all()


@pytest.mark.parametrize("family", [TruncatedNormalScores, BetaScores, LogitNormalScores], ids=name_of)
def test_without_an_atom_nothing_reaches_1(family):
    assert (family().log_survival(1.0, values_of(family)) == -math.inf).all()


def test_an_atom_at_the_score_is_not_below_it():
    model, values = InflatedBetaScores(), values_of(InflatedBetaScores)
    zero = torch.sigmoid(values["logit_zero"])
    one = (1 - zero) * torch.sigmoid(values["logit_one"])
    assert torch.allclose(model.log_survival(1.0, values).exp(), one, rtol=1e-12)
    assert torch.allclose(model.log_cdf(1.0, values).exp(), 1 - one, rtol=1e-12)
    assert torch.allclose(model.log_cdf(1e-300, values).exp(), zero, rtol=1e-6)
    assert torch.allclose(model.log_prob(torch.tensor([0.0, 1.0]), values).exp(), torch.stack([zero, one], -1), rtol=1e-12)


# Draws. Seeds are fixed; a right program would fail a new seed with probability 1e-6 a comparison.


@pytest.mark.parametrize(("family", "value"), single_values(), ids=name_of)
def test_draws_follow_the_cdf(family, value):
    model, values = family(), single(family, value)
    scores = model.sample(values, (3000,), generator=torch.Generator().manual_seed(0))
    reference = Reference(family, value)
    for atom, mass in ((0.0, reference.zero), (1.0, reference.one)):
        if family is InflatedBetaScores:
            assert scipy.stats.binomtest(int((scores == atom).sum()), 3000, mass).pvalue > 1e-6
    inner = scores[(scores > 0) & (scores < 1)] if family is InflatedBetaScores else scores

    def cdf(x):
        return (model.log_cdf(torch.from_numpy(x), values).exp().numpy() - reference.zero) / reference.rest

    assert scipy.stats.kstest(inner.numpy(), cdf).pvalue > 1e-6


@pytest.mark.parametrize("family", FAMILIES, ids=name_of)
def test_draws_keep_to_their_values_and_come_again(family):
    model, values = family(), values_of(family)
    scores = model.sample(values, (2, 500), generator=torch.Generator().manual_seed(3))
    assert scores.shape == (2, 500, len(VALUES[family]))
    assert scores.dtype == torch.float64
    assert torch.equal(scores, model.sample(values, (2, 500), generator=torch.Generator().manual_seed(3)))
    assert not torch.equal(scores[0], scores[1])
    for below, exact in zip((scores < 0.9).flatten(0, 1).T, model.log_cdf(0.9, values).exp().tolist(), strict=True):
        assert_mean(below, exact)
    assert model.sample(values).shape == (len(VALUES[family]),)


# Likelihoods


@pytest.mark.parametrize("family", FAMILIES, ids=name_of)
@pytest.mark.parametrize(
    "scores",
    [SCORES, WITH_ENDS, SCORES[:1], SCORES[:0], torch.full((5,), 0.9), torch.zeros(3), torch.ones(3)],
    ids=["inside", "with ends", "one", "none", "equal", "zeros", "ones"],
)
def test_sufficient_statistics_equal_plain_sums(family, scores):
    model, values = family(), values_of(family)
    total = model.log_likelihood(scores.double(), values)
    plain = model.log_prob(scores.double(), values).sum(-1)
    assert total.shape == (len(VALUES[family]),)
    assert torch.isfinite(total).all()
    assert torch.allclose(total, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES, ids=name_of)
def test_likelihood_needs_statistics_only(family):
    model, values = family(), values_of(family)
    statistics = [model.statistics(scores) for scores in (SCORES[:2], WITH_ENDS, WITH_ENDS.repeat(100))]
    assert len({len(statistic) for statistic in statistics}) == 1
    hundredfold = model.log_likelihood_of(statistics[2], values)
    assert torch.allclose(hundredfold, 100 * model.log_likelihood_of(statistics[1], values), rtol=1e-10)


def test_nearly_equal_scores_do_not_cancel():
    """With ``sum s^2`` and a scale of 1e-6 the plain sums would be wrong in the fourth digit."""
    scores = torch.tensor([0.9, 0.9 + 1e-7, 0.9 - 2e-7], dtype=torch.float64)
    values = {"location": torch.tensor(0.9, dtype=torch.float64), "log_scale": torch.tensor(1e-6, dtype=torch.float64).log()}
    exact = scipy.stats.norm(values["location"].item(), 1e-6).logpdf(scores.numpy()).sum()
    assert TruncatedNormalScores().log_likelihood(scores, values).item() == pytest.approx(exact, rel=1e-10)


@pytest.mark.parametrize("family", FAMILIES, ids=name_of)
def test_rows_of_scores_have_their_own_values(family):
    model, values = family(), values_of(family)
    rows = torch.rand((len(VALUES[family]), 4), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    table = model.log_prob(rows, values)
    for j, row in enumerate(rows):
        assert torch.allclose(table[j], model.log_prob(row, {name: column[j] for name, column in values.items()}))


@pytest.mark.parametrize("family", FAMILIES, ids=name_of)
def test_gradients(family):
    model = family()
    columns = tuple(column.clone().requires_grad_() for column in values_of(family).values())

    def densities(*columns):
        return model.log_prob(WITH_ENDS, dict(zip(model.parameters, columns, strict=True)))

    def likelihood(*columns):
        return model.log_likelihood(WITH_ENDS, dict(zip(model.parameters, columns, strict=True)))

    assert gradcheck(densities, columns, rtol=1e-5)
    assert gradcheck(likelihood, columns, rtol=1e-5)
    assert gradgradcheck(likelihood, columns, rtol=1e-4)
