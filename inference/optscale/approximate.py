"""Offline fits of score models by Laplace's approximation and by variational inference."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from pyro.infer.autoguide.initialization import init_to_value
from pyro.optim import ClippedAdam

from ppl_scaling.arguments import check_counts
from ppl_scaling.inference.optscale.convergence import PARETO_K, Convergence
from ppl_scaling.inference.optscale.laplace import SLOPE
from ppl_scaling.inference.optscale.log_joint import recorded
from ppl_scaling.inference.optscale.score_fit import ScoreFit
from ppl_scaling.inference.optscale.whitened import WhitenedPosterior, isolated
from ppl_scaling.models.scores.base import ScoreModel
from ppl_scaling.models.scores.hierarchy import HierarchicalScores
from ppl_scaling.pareto import pareto_k
from ppl_scaling.seeding import fresh_seed

__all__ = ["fit_laplace", "fit_svi"]

SITE = "whitened"


def fit_laplace(
    model: ScoreModel | HierarchicalScores,
    scores: Any,
    *,
    mask: Any = None,
    features: Any = None,
    correct: Any = None,
    num_draws: int = 1000,
    seed: int | None = None,
) -> ScoreFit:
    """Approximate the posterior by the normal law around its mode, and draw from that.

    In a hierarchy the problems' parameters are integrated out before the population's mode is sought (nested Laplace),
    because the joint mode is far from where the posterior's mass is.

    Parameters
    ----------
    model, scores, mask, features, correct, seed
        As for :func:`~ppl_scaling.inference.optscale.nuts.fit_nuts`.
    num_draws : int
        Independent draws.

    Returns
    -------
    ScoreFit
    """
    check_counts(num_draws=num_draws)
    seed = fresh_seed() if seed is None else seed
    with isolated(seed):
        target = WhitenedPosterior(model, scores, mask=mask, features=features, correct=correct)
        points = torch.randn(1, num_draws, target.size, dtype=torch.float64)
        log_q = dist.Normal(0.0, 1.0).log_prob(points).sum(-1)
        draws = target.draws(points)
        log_p = target.log_density(points)
    reasons = []
    if not target.mode.steepest < SLOPE:
        reasons.append(
            f"the climb stopped on a slope of {target.mode.steepest:.2g} nats a standard deviation, expected {SLOPE}"
        )
    if not target.mode.positive:
        reasons.append("the density does not curve downwards in all directions where the climb ended")
    diagnostics, statistics = _approximation(log_p, log_q.numpy(), reasons, hierarchical=target.hierarchical)
    return target.fit("laplace", draws, statistics, diagnostics, {}, seed)


def fit_svi(
    model: ScoreModel | HierarchicalScores,
    scores: Any,
    *,
    mask: Any = None,
    features: Any = None,
    correct: Any = None,
    guide: Callable[..., Any] | None = None,
    num_steps: int = 500,
    num_particles: int = 16,
    learning_rate: float = 0.02,
    num_draws: int = 1000,
    seed: int | None = None,
) -> ScoreFit:
    """Approximate the posterior by stochastic variational inference with one of Pyro's autoguides.

    The guide is over one vector of whitened coordinates, in which Laplace's approximation is a standard normal: there a
    guide without correlations has those of the posterior.

    Parameters
    ----------
    model, scores, mask, features, correct, seed
        As for :func:`~ppl_scaling.inference.optscale.nuts.fit_nuts`.
    guide : callable, optional
        Makes a guide from a Pyro program, such as ``AutoIAFNormal``. Default: a normal law with all correlations for one
        problem, and without for a hierarchy.
    num_steps, num_particles : int
        Steps of the optimiser, and draws for each of its gradients.
    learning_rate : float
        Of the first step; it falls to a hundredth of that.
    num_draws : int
        Independent draws from the fitted guide.

    Returns
    -------
    ScoreFit
        With ``settings["losses"]``, minus the evidence lower bound at each step up to a constant.
    """
    check_counts(num_steps=num_steps, num_particles=num_particles, num_draws=num_draws)
    if not learning_rate > 0:
        raise ValueError(f"expected learning_rate > 0, got {learning_rate}")
    seed = fresh_seed() if seed is None else seed
    with isolated(seed):
        target = WhitenedPosterior(model, scores, mask=mask, features=features, correct=correct)
        zero = torch.zeros(target.size, dtype=torch.float64)
        density = target if target.batched else recorded(target, zero)
        normal = dist.Normal(zero, torch.ones_like(zero)).to_event(1)

        def program() -> None:
            point = pyro.sample(SITE, normal)
            pyro.factor("target", density(point) - normal.log_prob(point))

        if guide is None:
            where = init_to_value(values={SITE: zero})
            made = (AutoNormal if target.hierarchical else AutoMultivariateNormal)(
                program, init_loc_fn=where, init_scale=0.8
            )
        else:
            made = guide(program)
        optimiser = ClippedAdam({"lr": learning_rate, "lrd": 0.01 ** (1 / num_steps)})
        loss = Trace_ELBO(num_particles, max_plate_nesting=0, vectorize_particles=target.batched)
        svi = SVI(program, made, optimiser, loss)
        losses = np.array([svi.step() for _ in range(num_steps)])
        with torch.no_grad():
            traces = [poutine.trace(made).get_trace() for _ in range(num_draws)]
            points = torch.stack([trace.nodes[SITE]["value"] for trace in traces])[None]
            log_q = np.array([[float(trace.log_prob_sum()) for trace in traces]])
        draws = target.draws(points)
        log_p = target.log_density(points)
    diagnostics, statistics = _approximation(log_p, log_q, _unsettled(losses), hierarchical=target.hierarchical)
    name = type(made).__name__
    settings = {"losses": losses, "num_particles": num_particles, "learning_rate": learning_rate, "guide": name}
    return target.fit("svi", draws, statistics, diagnostics, settings, seed)


def _unsettled(losses: np.ndarray) -> list[str]:
    """Say so if the loss of the last fifth is below that of the one before, by a tenth of a nat and four standard errors."""
    fifth = max(len(losses) // 5, 1)
    last, before = losses[-fifth:], losses[-2 * fifth : -fifth]
    if len(losses) < 50:
        return [f"{len(losses)} steps are too few to see whether the loss has settled, expected 50"]
    drop = before.mean() - last.mean()
    error = math.sqrt((before.var() + last.var()) / fifth)
    return [f"the loss still falls, by {drop:.2g} nats: raise num_steps"] if drop > max(0.1, 4 * error) else []


def _approximation(
    log_p: np.ndarray, log_q: np.ndarray, reasons: list[str], *, hierarchical: bool
) -> tuple[Convergence, dict[str, np.ndarray]]:
    index = pareto_k(log_p - log_q)
    if index > PARETO_K and not hierarchical:
        reasons.append(f"the Pareto index of the importance weights is {index:.2f}, expected at most {PARETO_K}")
    return Convergence({}, {}, 0, index, tuple(reasons)), {"lp": log_p, "log_q": log_q}
