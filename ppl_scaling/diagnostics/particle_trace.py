r"""What weights and ancestors say of each step of a particle filter: numbers only; what they mean is judged elsewhere.

Pareto k
--------
The largest :math:`M = \lceil \min(N / 5, 3 \sqrt N) \rceil` weights are fitted by a generalised Pareto distribution, and its
shape :math:`k` tells how heavy their tail is: the weights act as if only moments below :math:`1/k` existed. The fit is the
empirical-Bayes one of Zhang and Stephens (2009) with the weak prior of Vehtari et al. (2024), ten observations' worth of
:math:`k = 1/2`, as in ArviZ; it is computed here because ArviZ 0.2x and 1.x offer it in different ways.

References
----------
Zhang and Stephens (2009), Technometrics 51; Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance
sampling, JMLR 25, arXiv 1507.02646.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ppl_scaling.inference import Genealogy, ParticleFilterResult

__all__ = ["ParticleTrace", "pareto_k", "particle_trace"]

_FEWEST = 5  # points that a tail is fitted to
_PRIOR_COUNT, _PRIOR_K = 10, 0.5


@dataclass(frozen=True, eq=False)
class ParticleTrace:
    """Health of a particle filter step by step; of annealed SMC rung by rung.

    Attributes
    ----------
    num_particles : int
    ess : float array, shape (T,)
        Effective sample size after each step, before any resampling.
    weight_entropy : float array, shape (T,)
        Of the normalised weights, divided by its largest value, ``log(num_particles)``; NaN for one particle.
    max_weight : float array, shape (T,)
        The largest normalised weight.
    pareto_k : float array, shape (T,)
        Of the weights; see :func:`pareto_k`.
    unique_ancestors : int array, shape (T,)
        How many particles of the step before are continued.
    unique_roots : int array, shape (T,)
        From how many particles of the first generation those of positive weight descend.
    surviving : int array, shape (T,)
        How many particles of the step have a descendant of positive weight at the end.
    resampled : bool array, shape (T,)
        Whether it was done at the beginning of the step.
    log_evidence : float array, shape (T,)
        Of the steps so far.
    """

    num_particles: int
    ess: NDArray[np.float64]
    weight_entropy: NDArray[np.float64]
    max_weight: NDArray[np.float64]
    pareto_k: NDArray[np.float64]
    unique_ancestors: NDArray[np.int64]
    unique_roots: NDArray[np.int64]
    surviving: NDArray[np.int64]
    resampled: NDArray[np.bool_]
    log_evidence: NDArray[np.float64]

    @property
    def num_steps(self) -> int:
        """How many steps there are."""
        return len(self.ess)

    @property
    def shared_steps(self) -> int:
        """How many first steps all final particles have from one and the same particle."""
        return int((self.surviving == 1).sum())

    def to_dict(self) -> dict[str, Any]:
        """Return what can be written as JSON; numbers that are not finite become None."""
        series = {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return {
            "num_particles": self.num_particles,
            "shared_steps": self.shared_steps,
            **{name: [_plain(one) for one in values.tolist()] for name, values in series.items()},
        }


def particle_trace(result: ParticleFilterResult) -> ParticleTrace:
    """Read the health of every step from a result.

    Parameters
    ----------
    result : ParticleFilterResult

    Raises
    ------
    TypeError
        If it is another kind of result.
    """
    if not isinstance(result, ParticleFilterResult):
        raise TypeError(f"expected a ParticleFilterResult, got a {type(result).__name__}")
    log_weights = np.asarray(result.log_weights_by_step, dtype=np.float64)
    weights = np.exp(log_weights - np.logaddexp.reduce(log_weights, axis=1, keepdims=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(weights > 0, -weights * np.log(weights), 0.0)
        entropy = terms.sum(1) / np.log(weights.shape[1])
    genealogy = Genealogy(result.ancestors, result.resampled, result.num_particles)
    roots = np.arange(result.num_particles)
    families = []
    for parents, alive in zip(result.ancestors, weights > 0, strict=True):
        roots = roots[parents]
        families.append(len(np.unique(roots[alive])))
    paths = genealogy.lineages()[1:, result.weights > 0]
    return ParticleTrace(
        num_particles=result.num_particles,
        ess=np.asarray(result.ess, dtype=np.float64),
        weight_entropy=entropy,
        max_weight=weights.max(1),
        pareto_k=np.array([pareto_k(row) for row in log_weights]),
        unique_ancestors=_distinct(result.ancestors),
        unique_roots=np.array(families),
        surviving=_distinct(paths),
        resampled=np.asarray(result.resampled),
        log_evidence=np.asarray(result.log_evidence_by_step, dtype=np.float64),
    )


def pareto_k(log_weights: ArrayLike) -> float:
    """Shape of a generalised Pareto distribution fitted to the largest weights; see the module.

    Parameters
    ----------
    log_weights : float array, shape (N,)
        Of any normalisation.

    Returns
    -------
    float
        Minus infinity if all weights are the same: there is no tail. NaN if the largest weights take fewer than five
        different values, so always for 20 particles or fewer: nothing can be fitted to them.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> heavy, light = rng.pareto(1.0, 10_000), rng.random(10_000)
    >>> round(pareto_k(np.log(heavy)), 1), pareto_k(np.log(light)) < 0
    (1.0, True)
    """
    values = np.sort(np.asarray(log_weights, dtype=np.float64).ravel())
    if values.size < 1 or np.isnan(values).any() or values[-1] in (math.inf, -math.inf):
        raise ValueError("expected log-weights below infinity, one at least above minus infinity, got others")
    if values[0] == values[-1]:
        return -math.inf
    size = values.size
    length = math.ceil(min(size / 5, 3 * math.sqrt(size)))
    weights = np.exp(values - values[-1])
    cutoff = weights[-length - 1]
    tail = weights[-length:] - cutoff
    tail = tail[tail > 0]
    if len(np.unique(tail)) < _FEWEST:
        return math.nan
    number = len(tail)
    shape = _zhang_stephens(tail)
    return (number * shape + _PRIOR_COUNT * _PRIOR_K) / (number + _PRIOR_COUNT)


def _zhang_stephens(tail: NDArray[np.float64]) -> float:
    """Shape from the posterior mean of theta = -k / sigma on a grid, whose likelihood is maximal over k."""
    number = len(tail)
    grid_size = 30 + int(math.sqrt(number))
    quartile = tail[int(number / 4 + 0.5) - 1]
    grid = 1 / tail[-1] + (1 - np.sqrt(grid_size / (np.arange(grid_size) + 0.5))) / (3 * quartile)
    shapes = np.log1p(-grid[:, None] * tail).mean(1)
    log_likelihood = number * (np.log(-grid / shapes) - shapes - 1)
    posterior = np.exp(log_likelihood - np.logaddexp.reduce(log_likelihood))
    return float(np.log1p(-(posterior @ grid) * tail).mean())


def _distinct(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many different entries each row has."""
    ordered = np.sort(rows, axis=1)
    return 1 + (np.diff(ordered, axis=1) != 0).sum(1)


def _plain(value: float | bool) -> float | bool | None:
    return value if math.isfinite(value) else None
