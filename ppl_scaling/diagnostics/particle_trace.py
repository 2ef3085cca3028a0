"""What weights and ancestors say of each step of a particle filter: numbers only; what they mean is judged elsewhere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppl_scaling.inference import Genealogy, ParticleFilterResult
from ppl_scaling.pareto import pareto_k

__all__ = ["ParticleTrace", "particle_trace"]


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
        Of the weights; see :func:`~ppl_scaling.pareto.pareto_k`.
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


def _distinct(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many different entries each row has."""
    ordered = np.sort(rows, axis=1)
    return 1 + (np.diff(ordered, axis=1) != 0).sum(1)


def _plain(value: float | bool) -> float | bool | None:
    return value if math.isfinite(value) else None
