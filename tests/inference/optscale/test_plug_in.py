"""The paper's plug-in rules: fits against scipy, numbers against the paper's own search, ill-posed fits said so."""

import math

import numpy as np
import pytest
from scipy import optimize, stats

from ppl_scaling.inference.optscale.decisions import required_completions
from ppl_scaling.inference.optscale.plug_in import (
    exponential_variance,
    maximum_a_posteriori,
    maximum_likelihood,
    optscale_0,
    optscale_t,
    plug_in_completions,
    predicted,
)
from ppl_scaling.models.scores import Prior

WELL_POSED = [0.62, 0.8, 0.71, 0.55, 0.9, 0.77, 0.68]
HEAPED = [0.99, 0.98, 0.995, 0.97, 0.985, 0.999, 0.9, 0.72]


def law(location, scale):
    return stats.truncnorm(-location / scale, (1 - location) / scale, loc=location, scale=scale)


def by_scipy(scores, prior=None):
    def objective(point):
        location, scale = point
        value = law(location, scale).logpdf(scores).sum()
        if prior is not None:
            value += stats.norm.logpdf(location, prior.location["location"], prior.scale["location"])
            value += stats.norm.logpdf(scale, prior.location["scale"], prior.scale["scale"])
        return -value

    starts = [(np.mean(scores), 0.2), (1.2, 0.4)]
    found = [optimize.minimize(objective, start, method="Nelder-Mead", options={"xatol": 1e-7}) for start in starts]
    return min(found, key=lambda one: one.fun).x


def test_maximum_likelihood_is_scipys():
    fit = maximum_likelihood(WELL_POSED)
    np.testing.assert_allclose([fit.location, fit.scale], by_scipy(WELL_POSED), atol=2e-4)
    assert fit.well_posed and fit.diagnosis == ""
    assert fit.objective == pytest.approx(law(fit.location, fit.scale).logpdf(WELL_POSED).sum(), abs=1e-9)


@pytest.mark.parametrize("scores", [WELL_POSED, HEAPED, [0.5, 0.9]], ids=["well-posed", "heaped", "two"])
def test_maximum_a_posteriori_is_scipys(scores):
    prior = predicted(0.75, 0.2)
    fit = maximum_a_posteriori(scores, prior)
    np.testing.assert_allclose([fit.location, fit.scale], by_scipy(scores, prior), atol=2e-4)
    assert fit.well_posed


def test_map_without_scores_is_the_centre_and_other_priors_are_matched():
    fit = maximum_a_posteriori([], predicted(0.7, 0.15))
    assert (fit.location, fit.scale) == pytest.approx((0.7, 0.15))
    logarithmic = Prior({"location": 0.7, "log_scale": math.log(0.2)}, {"location": 0.1, "log_scale": 0.5})
    moments = stats.lognorm(0.5, scale=0.2)
    matched = Prior({"location": 0.7, "scale": moments.mean()}, {"location": 0.1, "scale": moments.std()})
    ours, theirs = maximum_a_posteriori(WELL_POSED, logarithmic), maximum_a_posteriori(WELL_POSED, matched)
    assert (ours.location, ours.scale) == pytest.approx((theirs.location, theirs.scale))


def paper_search(location, scale, target, confidence, most=3000):
    """The paper's loop: the first N whose maximum has its (1 - confidence)-quantile at the target, from a grid."""
    grid = np.linspace(0, 1, 200_001)
    log_cdf = law(location, scale).logcdf(grid)
    for number in range(1, most):
        if grid[np.searchsorted(number * log_cdf, math.log(1 - confidence))] >= target:
            return number
    raise AssertionError("not found")


@pytest.mark.parametrize("target", [0.85, 0.92, 0.97])
@pytest.mark.parametrize("confidence", [0.9, 0.965, 0.99])
def test_closed_form_is_the_papers_search(target, confidence):
    fit = maximum_likelihood(WELL_POSED)
    ours = plug_in_completions(WELL_POSED, target, confidence)
    assert abs(ours - paper_search(fit.location, fit.scale, target, confidence)) <= (1 if ours > 300 else 0)
    prior = predicted(0.8, 0.15)
    fit = maximum_a_posteriori(WELL_POSED, prior)
    ours = plug_in_completions(WELL_POSED, target, confidence, prior=prior)
    assert abs(ours - paper_search(fit.location, fit.scale, target, confidence)) <= (1 if ours > 300 else 0)


def test_a_plug_in_is_a_posterior_that_is_sure():
    posterior = optscale_0(WELL_POSED)
    cdf = law(posterior.fit.location, posterior.fit.scale).cdf(0.95)
    np.testing.assert_allclose(posterior.log_power_mean(0.95, [1, 7]), [math.log(cdf), 7 * math.log(cdf)])
    np.testing.assert_allclose(posterior.cdf_quantile(0.95, [0.1, 0.9]), cdf)
    # Of further completions, as everywhere: the paper's number counts those that have been drawn.
    assert required_completions(posterior, 0.95, 0.9).number == plug_in_completions(WELL_POSED, 0.95, 0.9)
    assert optscale_t(WELL_POSED, predicted(0.7, 0.1)).fit.well_posed


def test_the_variance_of_the_exponential_limit():
    for rate in (1e-3, 0.3, 5.0, 60.0, 2000.0):
        points = np.linspace(0, 1, 2_000_001)
        density = np.exp(rate * (points - 1))
        density /= density.sum()
        mean = density @ points
        variance = density @ (points - mean) ** 2
        assert exponential_variance(float(mean)) == pytest.approx(variance, rel=1e-3)
        assert exponential_variance(1 - float(mean)) == pytest.approx(variance, rel=1e-3)


def test_an_ill_posed_likelihood_is_said_to_be():
    heaped = maximum_likelihood(HEAPED)
    assert not heaped.well_posed and "rises as the location goes to infinity" in heaped.diagnosis
    # It does: along the exponential limit the likelihood is higher than anywhere near.
    rate = 1 / (1 - np.mean(HEAPED))
    values = [law(1 + rate * scale**2, scale).logpdf(HEAPED).sum() for scale in (0.1, 0.3, 1.0)]
    assert values == sorted(values)
    for scores, word in [([0.7] * 5, "equal"), ([0.7], "equal"), ([0.0, 1.0, 1.0], "rises")]:
        fit = maximum_likelihood(scores)
        assert not fit.well_posed and word in fit.diagnosis
    assert not maximum_a_posteriori([0.7] * 5, predicted(0.7, 0.1)).well_posed
    assert plug_in_completions([0.7] * 5, 0.9, 0.9) == math.inf


def test_errors():
    with pytest.raises(ValueError, match="at least one score"):
        maximum_likelihood([])
    with pytest.raises(ValueError, match="prior of location"):
        maximum_a_posteriori([0.5], Prior({"a": 0.0}, {"a": 1.0}))
    for bad in ([math.nan], [1.2], [-0.1, 0.5]):
        with pytest.raises(ValueError, match="between 0 and 1"):
            maximum_likelihood(bad)
    with pytest.raises(ValueError, match="confidence"):
        plug_in_completions(WELL_POSED, 0.9, 0.0)
