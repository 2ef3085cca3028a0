"""Where double precision would underflow or cancel: held against arithmetic with 60 digits."""

import math

import mpmath
import numpy as np
import pytest
import torch

from ppl_scaling.models.scores import BetaScores, LogitNormalScores, TruncatedNormalScores
from ppl_scaling.models.scores.base import RESOLUTION
from ppl_scaling.models.scores.normal_mass import log_mass
from tests.statistics import assert_mean

SCORES = [1e-9, 0.3, 0.9, 0.99, 1 - 1e-9]


@pytest.fixture(autouse=True)
def sixty_digits():
    with mpmath.workdps(60):
        yield


def tensors(**values):
    return {name: torch.tensor(float(value), dtype=torch.float64) for name, value in values.items()}


def ours(model, score, values):
    density = model.log_prob(torch.tensor([score], dtype=torch.float64), values)
    return [density.item(), model.log_cdf(score, values).item(), model.log_survival(score, values).item()]


def normal_mass(lower, upper, location, scale):
    a, b = (lower - location) / scale, (upper - location) / scale
    if a > 0:
        a, b = -b, -a
    return mpmath.ncdf(b) - mpmath.ncdf(a)


@pytest.mark.parametrize("location", [-31, -0.01, 0, 0.8, 1, 1.0001, 1.5, 1e3])
@pytest.mark.parametrize("log_scale", [-2.6, 0, 5])
def test_truncated_normal(location, log_scale):
    exact_location, scale = mpmath.mpf(location), mpmath.exp(log_scale)
    values = tensors(location=location, log_scale=log_scale)
    total = normal_mass(0, 1, exact_location, scale)
    for score in SCORES:
        exact = mpmath.mpf(score)
        z = (exact - exact_location) / scale
        below, above = (normal_mass(*bounds, exact_location, scale) / total for bounds in ((0, exact), (exact, 1)))
        if not (0 < below < 1):
            continue  # beyond what 60 digits tell from 0 and 1
        expected = [
            -(z**2) / 2 - mpmath.log(scale * mpmath.sqrt(2 * mpmath.pi) * total),
            mpmath.log(below),
            mpmath.log(above),
        ]
        assert ours(TruncatedNormalScores(), score, values) == pytest.approx(
            [float(e) for e in expected], rel=1e-12, abs=1e-12
        )


@pytest.mark.parametrize("location", [-50, -0.3, 0.2, 0.5, 1.4, 1e3])
@pytest.mark.parametrize("log_scale", [-5, -1, 4])
def test_normal_mass(location, log_scale):
    """Between any two points, next to each other or not; the density at the nearest point of [0, 1] is taken out."""
    exact, scale = mpmath.mpf(location), mpmath.exp(log_scale)
    excess = (min(max(exact, 0), 1) - exact) ** 2 / (2 * scale**2)
    lower, upper = np.array([0.0, 0.1, 0.3, 0.3, 0.999, 0.7]), np.array([1.0, 0.2, 0.9, 0.3 + 1e-9, 1.0, 0.7])
    found = log_mass(lower, upper, np.array(float(location)), np.array(float(log_scale)))
    assert found[-1] == -np.inf
    for a, b, value in zip(lower[:-1], upper[:-1], found[:-1], strict=True):
        mass = normal_mass(mpmath.mpf(float(a)), mpmath.mpf(float(b)), exact, scale)
        expected = mpmath.log(mass) + excess
        assert value == pytest.approx(float(expected), rel=1e-11, abs=1e-11)


@pytest.mark.parametrize("location", [-1e5, -1.5, 0, -1e-9, 0.9, 1, 31])
@pytest.mark.parametrize("log_scale", [-9, -2, 0, 5])
def test_truncated_normal_gradients_in_the_tails(location, log_scale):
    """First derivatives against differences, and second ones finite: no NaN from a branch that is not taken."""
    model, scores = TruncatedNormalScores(), torch.tensor([0.2, 0.9, 0.99, 1.0, 0.0], dtype=torch.float64)
    point = torch.tensor([float(location), float(log_scale)], dtype=torch.float64)

    def likelihood(point):
        return model.log_likelihood(scores, {"location": point[0], "log_scale": point[1]})

    gradient = torch.autograd.functional.jacobian(likelihood, point)
    assert torch.isfinite(torch.autograd.functional.hessian(likelihood, point)).all()
    steps = [1e-4 * max(math.exp(log_scale), 1e-3), 1e-4]
    for i, step in enumerate(steps):
        shift = torch.zeros(2, dtype=torch.float64)
        shift[i] = step
        one, two = (likelihood(point + k * shift) - likelihood(point - k * shift) for k in (1, 2))
        rounding = 1e-15 * likelihood(point).abs().item() / step
        difference = ((8 * one - two) / (12 * step)).item()
        assert gradient[i].item() == pytest.approx(difference, rel=1e-6, abs=1e-6 + 10 * rounding)


def test_truncated_normal_draws_far_out():
    """Location 31, scale 3: scores fall away from 1, at first at the rate 30 / 9."""
    values = tensors(location=31, log_scale=math.log(3))
    scores = TruncatedNormalScores().sample(values, (4000,), generator=torch.Generator().manual_seed(0))
    from_one = np.linspace(0, 1, 10_001)
    density = np.exp(-from_one * 30 / 9 - from_one**2 / 18)
    assert_mean(1 - scores, density @ from_one / density.sum())


@pytest.mark.parametrize("logit_mean", [-30, -6, 0, 2, 40])
@pytest.mark.parametrize("log_concentration", [-20, -1, 3, 6])
def test_beta(logit_mean, log_concentration):
    values = tensors(logit_mean=logit_mean, log_concentration=log_concentration)
    concentration = mpmath.exp(log_concentration)
    a, b = concentration / (1 + mpmath.exp(-logit_mean)), concentration / (1 + mpmath.exp(logit_mean))
    log_norm = mpmath.log(mpmath.beta(a, b))

    def log_tail(x, a, b):
        return (
            a * mpmath.log(x)
            + b * mpmath.log(1 - x)
            - mpmath.log(a)
            - log_norm
            + mpmath.log(mpmath.hyp2f1(a + b, 1, a + 1, x))
        )

    for score in (1e-20, *SCORES):
        x = mpmath.mpf(score)
        density = (a - 1) * mpmath.log(x) + (b - 1) * mpmath.log(1 - x) - log_norm
        if x < a / (a + b):
            below = log_tail(x, a, b)
            above = mpmath.log1p(-mpmath.exp(below))
        else:
            above = log_tail(1 - x, b, a)
            below = mpmath.log1p(-mpmath.exp(above))
        got, expected = ours(BetaScores(), score, values), [float(density), float(below), float(above)]
        first = 1 if score <= RESOLUTION or score >= 1 - RESOLUTION else 0  # there the density is flat
        assert got[first:] == pytest.approx(expected[first:], rel=1e-11, abs=1e-11)


@pytest.mark.parametrize("location", [-20, 0, 30])
@pytest.mark.parametrize("log_scale", [-3, 0, 2])
def test_logit_normal(location, log_scale):
    values, scale = tensors(location=location, log_scale=log_scale), mpmath.exp(log_scale)
    for score in SCORES[1:4]:
        x = mpmath.mpf(score)
        z = (mpmath.log(x / (1 - x)) - location) / scale
        density = -(z**2) / 2 - mpmath.log(scale * mpmath.sqrt(2 * mpmath.pi) * x * (1 - x))
        expected = [density, mpmath.log(mpmath.ncdf(z)), mpmath.log(mpmath.ncdf(-z))]
        got = ours(LogitNormalScores(), score, values)
        assert got == pytest.approx([float(e) for e in expected], rel=1e-11, abs=1e-11)


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (BetaScores(), tensors(logit_mean=2, log_concentration=-2)),
        (BetaScores(), tensors(logit_mean=-4, log_concentration=1)),
        (LogitNormalScores(), tensors(location=14, log_scale=1)),
        (LogitNormalScores(), tensors(location=-16, log_scale=0)),
    ],
)
def test_the_flat_ends_hold_the_mass_that_lies_there(model, values):
    """A score of exactly 0 or 1 has the law's mean density over the last ``RESOLUTION``, so the law stays normalised."""
    ends = model.log_prob(torch.tensor([0.0, 1.0], dtype=torch.float64), values) + math.log(RESOLUTION)
    masses = torch.stack([model.log_cdf(RESOLUTION, values), model.log_survival(1 - RESOLUTION, values)])
    assert torch.allclose(ends, masses, rtol=1e-6, atol=1e-6)
    near = torch.tensor([RESOLUTION / 2, 1 - RESOLUTION / 2], dtype=torch.float64)
    assert torch.equal(model.log_prob(near, values) + math.log(RESOLUTION), ends)


def test_scores_of_1_pull_but_do_not_break():
    """Two ones among humbler scores: the likelihood has its maximum at ordinary parameters."""
    scores = torch.tensor([0.7, 0.9, 0.95, 1.0, 1.0], dtype=torch.float64)
    for model in (BetaScores(), LogitNormalScores(), TruncatedNormalScores()):
        first, second = (torch.linspace(-8, 8, 65, dtype=torch.float64) for _ in range(2))
        table = dict(zip(model.parameters, torch.meshgrid(first, second, indexing="ij"), strict=True))
        posterior = model.log_likelihood(scores, table) + model.prior.log_prob(table)
        assert torch.isfinite(posterior).all()
        best = np.unravel_index(int(posterior.argmax()), posterior.shape)
        assert all(0 < index < 64 for index in best)
