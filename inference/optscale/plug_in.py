r"""The plug-in rules of the OptScale paper: fit a truncated normal to the scores, then take the fit for the truth.

``optscale_0`` fits by maximum likelihood, ``optscale_t`` by maximum a posteriori with normal priors on location and scale,
which the paper gets from a predictor. Either then asks for :math:`N^* = \lceil \log(1 - \alpha) / \log F(x) \rceil`
completions *in all*, those included that the fit was made from.

**Where the likelihood has no maximum.** With :math:`\eta_1 = \mu / \sigma^2` and :math:`\eta_2 = -1 / (2 \sigma^2)` the law
is an exponential family with statistics :math:`(s, s^2)`, so the log-likelihood is concave, over all :math:`\eta_2`. It has
its maximum where :math:`\eta_2 < 0`, and a truncated normal is the best fit, if and only if the variance of the scores is
less than that of the exponential law on [0, 1] with the same mean (:math:`\eta_2 = 0`). Else the likelihood keeps rising
along :math:`\mu \to \pm\infty` with :math:`\mu / \sigma^2` fixed. Scores that heap up at 1 with a few stragglers are like
that, and an optimiser stops at some location of 31 or 3000. Where all scores are equal, it rises as the scale goes to 0. A
fit says so: :attr:`PlugInFit.well_posed`.

References
----------
Wang et al. (2026), arXiv 2506.22376, and the released code, whose start, bounds and prior widths are used here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize

from ppl_scaling.inference.optscale.decisions import needed_if_known
from ppl_scaling.inference.optscale.posterior import NodePosterior, check_score
from ppl_scaling.models.scores.base import Prior, validate_scores
from ppl_scaling.models.scores.truncated_normal import TruncatedNormalScores

__all__ = [
    "PlugInFit",
    "PlugInPosterior",
    "maximum_a_posteriori",
    "maximum_likelihood",
    "optscale_0",
    "optscale_t",
    "plug_in_completions",
    "predicted",
]

_START = (0.8, 0.2)
_SMALLEST_SCALE = 1e-6
_PRIOR_WIDTH = 0.1
_AT_THE_EDGE = 1e-12


@dataclass(frozen=True)
class PlugInFit:
    """A truncated normal law fitted to scores.

    Attributes
    ----------
    location, scale : float
        Of the normal law before it is cut to [0, 1].
    objective : float
        The log-likelihood, or log-posterior density up to the prior's constant, that was reached.
    well_posed : bool
        Whether what was maximised has a maximum. If not, the fit is where the optimiser stopped.
    diagnosis : str
        Why it has none; empty if it has.
    """

    location: float
    scale: float
    objective: float
    well_posed: bool
    diagnosis: str


class PlugInPosterior(NodePosterior):
    """A fit taken for certain: a posterior with all its mass at one law.

    Parameters
    ----------
    fit : PlugInFit
    scores : sequence of float
        The scores seen.
    """

    def __init__(self, fit: PlugInFit, scores: Any) -> None:
        values = {"location": [fit.location], "log_scale": [math.log(fit.scale)]}
        super().__init__(TruncatedNormalScores(), values, [0.0], scores)
        self.fit = fit


def predicted(location: float, scale: float, *, width: float = _PRIOR_WIDTH) -> Prior:
    """Return the prior that the paper makes of a prediction of location and scale: normal laws around both.

    Parameters
    ----------
    location, scale : float
        What was predicted.
    width : float
        Standard deviation of both laws; the released code has 0.1.
    """
    return Prior({"location": location, "scale": scale}, {"location": width, "scale": width})


def maximum_likelihood(scores: Any) -> PlugInFit:
    """Fit location and scale by maximum likelihood: L-BFGS-B from (0.8, 0.2), with a scale of at least 1e-6.

    Raises
    ------
    ValueError
        If there is no score, or one is NaN or outside [0, 1].
    """
    seen = validate_scores(scores)
    if not len(seen):
        raise ValueError("expected at least one score for a maximum-likelihood fit, got none")
    return _fit(seen, None, _START, _diagnose(seen.numpy()))


def maximum_a_posteriori(scores: Any, prior: Prior) -> PlugInFit:
    """Fit location and scale by maximum a posteriori: L-BFGS-B from the prior's centre, with a scale of at least 1e-6.

    Parameters
    ----------
    scores : sequence of float
        There may be none: then the fit is the prior's centre.
    prior : Prior
        Normal laws of ``location`` and ``scale`` (:func:`predicted`). One of ``location`` and ``log_scale``, as score models
        have it, is replaced by the normal law of the scale with the same mean and standard deviation.

    Raises
    ------
    ValueError
        If the prior is of other parameters, or a score is NaN or outside [0, 1].
    """
    seen = validate_scores(scores)
    natural = _natural(prior)
    start = natural.location["location"], max(natural.location["scale"], _SMALLEST_SCALE)
    count = len(seen)
    equal = count > 1 and bool((seen == seen[0]).all())
    diagnosis = "all scores are equal: the posterior density grows without bound as the scale goes to 0" if equal else ""
    if count == 1:
        diagnosis = "one score: the posterior density grows without bound as the scale goes to 0 at that score"
    return _fit(seen, natural, start, diagnosis)


def optscale_0(scores: Any) -> PlugInPosterior:
    """Return the law that ``OptScale^0`` takes for the truth: the maximum-likelihood fit."""
    return PlugInPosterior(maximum_likelihood(scores), scores)


def optscale_t(scores: Any, prior: Prior) -> PlugInPosterior:
    """Return the law that ``OptScale^t`` takes for the truth: the maximum-a-posteriori fit."""
    return PlugInPosterior(maximum_a_posteriori(scores, prior), scores)


def plug_in_completions(scores: Any, target_score: float, confidence: float, *, prior: Prior | None = None) -> int | float:
    """Return how many completions the paper asks for in all, those included that have been scored.

    Parameters
    ----------
    scores : sequence of float
    target_score, confidence : float
        In [0, 1] and (0, 1].
    prior : Prior, optional
        With it the fit is that of ``optscale_t``, without that of ``optscale_0``.

    Returns
    -------
    int or float
        At least 1; infinite where the fitted law cannot reach the target.
    """
    target = check_score(target_score)
    if not 0 < confidence <= 1:
        raise ValueError(f"expected confidence in (0, 1], got {confidence}")
    posterior = optscale_0(scores) if prior is None else optscale_t(scores, prior)
    number = float(needed_if_known(posterior.log_power_mean(target, 1), confidence))
    return int(number) if math.isfinite(number) else number


def _fit(scores: torch.Tensor, prior: Prior | None, start: tuple[float, float], diagnosis: str) -> PlugInFit:
    law = TruncatedNormalScores()
    statistics = law.statistics(scores)

    def objective(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        location, scale = (torch.tensor(one, dtype=torch.float64, requires_grad=True) for one in point)
        value = law.log_likelihood_of(statistics, {"location": location, "log_scale": scale.log()})
        if prior is not None:
            for name, one in (("location", location), ("scale", scale)):
                value = value - 0.5 * ((one - prior.location[name]) / prior.scale[name]) ** 2
        gradient = torch.autograd.grad(value, (location, scale))
        return -value.item(), -np.array([one.item() for one in gradient])

    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=[(None, None), (_SMALLEST_SCALE, None)])
    location, scale = (float(one) for one in found.x)
    return PlugInFit(location, scale, -float(found.fun), not diagnosis, diagnosis)


def _natural(prior: Prior) -> Prior:
    names = set(prior.location)
    if names == {"location", "scale"}:
        return prior
    if names != {"location", "log_scale"}:
        raise ValueError(f"expected a prior of location and scale or of location and log_scale, got one of {sorted(names)}")
    centre, width = prior.location["log_scale"], prior.scale["log_scale"]
    mean = math.exp(centre + 0.5 * width**2)
    return Prior(
        {"location": prior.location["location"], "scale": mean},
        {"location": prior.scale["location"], "scale": mean * math.sqrt(math.expm1(width**2))},
    )


def _diagnose(scores: NDArray[np.float64]) -> str:
    """Say why the likelihood has no maximum; empty if it has one."""
    mean, variance = float(scores.mean()), float(scores.var())
    if scores.min() == scores.max():
        return "all scores are equal: the likelihood grows without bound as the scale goes to 0"
    limit = exponential_variance(mean)
    if variance >= limit:
        return (
            f"the scores have variance {variance:.3g}, at least the {limit:.3g} of an exponential law on [0, 1] with their "
            "mean: the likelihood rises as the location goes to infinity"
        )
    return ""


def exponential_variance(mean: float) -> float:
    r"""Variance of the law on [0, 1] with density proportional to :math:`e^{\lambda s}` that has a given mean in (0, 1)."""
    rest = min(mean, 1 - mean)
    if rest < _AT_THE_EDGE:  # there it is an exponential law, whose other end does not matter
        return rest**2

    def excess(rate: float) -> float:
        return _distance_to_edge(rate) - rest

    if excess(1e-9) <= 0:
        return 1 / 12
    rate = float(brentq(excess, 1e-9, 2 / rest, xtol=1e-12, rtol=1e-12))
    if rate < 1e-2:
        return 1 / 12 - rate**2 / 240
    return 1 / rate**2 - (0.25 / math.sinh(rate / 2) ** 2 if rate < 700 else 0.0)


def _distance_to_edge(rate: float) -> float:
    """Mean distance from the edge where the density is highest."""
    return 0.5 - rate / 12 + rate**3 / 720 if rate < 1e-2 else 1 / rate - math.exp(-rate) / -math.expm1(-rate)
