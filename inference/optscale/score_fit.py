"""What a fit of score models returns: draws, what they say of the data, and whether they can be trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ppl_scaling.arviz_export import from_draws
from ppl_scaling.inference.optscale.convergence import Convergence
from ppl_scaling.inference.optscale.posterior import NodePosterior
from ppl_scaling.models.scores.base import RESOLUTION, ScoreModel, as_tensor, validate_scores
from ppl_scaling.models.scores.correctness import validate_correct
from ppl_scaling.models.scores.hierarchy import HierarchicalScores
from ppl_scaling.models.scores.prior import Prior

__all__ = ["ObservedScores", "ScoreFit"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ObservedScores:
    """The scores that a model was fitted to: of one problem, or of many, padded.

    Attributes
    ----------
    scores : Tensor, shape (n,) or (J, n_max)
    mask : Tensor of bool, of that shape
        Where there is a score.
    correct : Tensor, of that shape, optional
        Labels 1, 0 or NaN.
    features : Tensor, shape (J, P), optional
    """

    scores: Tensor
    mask: Tensor
    correct: Tensor | None = None
    features: Tensor | None = None

    @classmethod
    def of_one(cls, scores: Any, correct: Any = None) -> ObservedScores:
        """Check the scores of one problem."""
        checked = validate_scores(scores)
        labels = None if correct is None else validate_correct(as_tensor(correct), tuple(checked.shape))
        return cls(checked, torch.ones_like(checked, dtype=torch.bool), labels)

    @classmethod
    def of_many(cls, scores: Any, mask: Any = None, correct: Any = None, features: Any = None) -> ObservedScores:
        """Check the scores of many problems: one array (J, n_max) with a mask, or a sequence of J arrays."""
        if not isinstance(scores, Tensor | np.ndarray):
            if mask is not None:
                raise ValueError("expected a mask with padded scores only, got it with a sequence of arrays")
            rows = [validate_scores(one) for one in scores]
            widest = max((len(row) for row in rows), default=0)
            lengths = torch.tensor([len(row) for row in rows])
            mask = torch.arange(widest) < lengths.unsqueeze(-1)
            scores = _pad(rows, widest, 0.5)
            if correct is not None:
                labels = [as_tensor(one) for one in correct]
                if [len(one) for one in labels] != lengths.tolist():
                    raise ValueError(
                        f"expected one label for each score, {lengths.tolist()} of the problems, got "
                        f"{[len(one) for one in labels]}"
                    )
                correct = _pad(labels, widest, torch.nan)
        scores = as_tensor(scores)
        if scores.ndim != 2 or not scores.numel():
            raise ValueError(f"expected scores of shape (num_problems, n_max), none of them 0, got {tuple(scores.shape)}")
        mask = torch.ones_like(scores, dtype=torch.bool) if mask is None else torch.as_tensor(mask)
        if mask.dtype != torch.bool or mask.shape != scores.shape:
            raise ValueError(f"expected a mask of bool of shape {tuple(scores.shape)}, got {mask.dtype} {tuple(mask.shape)}")
        validate_scores(scores[mask])
        checked = None if correct is None else validate_correct(as_tensor(correct), tuple(scores.shape))
        return cls(scores, mask, checked, None if features is None else as_tensor(features))


@dataclass(frozen=True, eq=False, repr=False)
class ScoreFit:
    """Posterior draws of the parameters of a score model, for one problem or for a hierarchy of problems.

    Attributes
    ----------
    method : str
        ``"nuts"``, ``"svi"`` or ``"laplace"``.
    model : ScoreModel
        The law of scores of one problem.
    hierarchy : HierarchicalScores, optional
        The program over many problems; None for a fit of one problem.
    data : ObservedScores
    draws : mapping of str to float array, shape (chain, draw, ...)
        The unconstrained parameters: in a hierarchy of each problem, shape (chain, draw, problem), and beside them the
        population's ``{parameter}_mean``, ``{parameter}_spread`` and, with features, ``{parameter}_weights``. Approximations
        have one chain of independent draws.
    statistics : mapping of str to array, shape (chain, draw)
        Under the names of ArviZ. All: ``lp``, log-joint density in unconstrained coordinates, up to a constant. NUTS:
        ``diverging``, ``n_steps`` (evaluations of the gradient), ``step_size``, ``acceptance_rate`` (mean of the chain so
        far). SVI and Laplace: ``log_q``, log-density of the approximation.
    diagnostics : Convergence
    settings : mapping of str to object
        How the fit was made.
    seed : int
    """

    method: str
    model: ScoreModel
    hierarchy: HierarchicalScores | None
    data: ObservedScores
    draws: Mapping[str, Array]
    statistics: Mapping[str, NDArray]
    diagnostics: Convergence
    settings: Mapping[str, Any]
    seed: int

    def __repr__(self) -> str:
        warning = "" if self.converged else f", NOT CONVERGED: {'; '.join(self.diagnostics.reasons)}"
        problems = "" if self.hierarchy is None else f"{len(self.data.scores)} problems, "
        return (
            f"ScoreFit({self.method} of {self.model.name}, {problems}{int(self.data.mask.sum())} scores, "
            f"{self.num_chains} x {self.num_draws} draws{warning})"
        )

    @property
    def converged(self) -> bool:
        """Whether nothing speaks against the draws; the reasons are in ``diagnostics.reasons`` and in the repr."""
        return self.diagnostics.converged

    @property
    def num_chains(self) -> int:
        """Number of chains."""
        return self.draws[self.model.parameters[0]].shape[0]

    @property
    def num_draws(self) -> int:
        """Number of draws of each chain."""
        return self.draws[self.model.parameters[0]].shape[1]

    @property
    def observed(self) -> Array:
        """The scores in a row, shape (n,), those of the first problem first: the last dimension of ``log_likelihood``."""
        return self.data.scores[self.data.mask].numpy()

    @property
    def problem(self) -> NDArray[np.int64]:
        """The problem that each of the ``observed`` belongs to, shape (n,)."""
        if self.data.mask.ndim == 1:
            return np.zeros(len(self.data.mask), dtype=np.int64)
        return self.data.mask.nonzero()[:, 0].numpy()

    @cached_property
    def log_likelihood(self) -> Array:
        """Log-density of each score (and of its label if it has one) under each draw, shape (chain, draw, n)."""
        extra = () if self.data.correct is None else (self.data.correct,)
        with torch.no_grad():
            chains = []
            for chain in range(self.num_chains):  # one at a time: the padded tables of all chains are large
                values = {name: torch.from_numpy(self.draws[name][chain]) for name in self.model.parameters}
                each = self.model.log_prob(self.data.scores, values, *extra)
                chains.append(each[..., self.data.mask].numpy())
        return np.stack(chains)

    @cached_property
    def comparable_log_likelihood(self) -> Array:
        """The same, made comparable between laws with atoms at 0 and 1 and laws with densities only.

        A score at an end is known to a resolution. Where a law with a density only has the mean density over that, this has
        the probability, as a law with atoms has anyway. All other scores have their log-density.
        """
        values = {name: torch.from_numpy(self.draws[name].reshape(-1)) for name in self.model.parameters}
        if torch.isfinite(self.model.log_survival(1.0, values)).any():
            return self.log_likelihood
        at_end = (self.observed <= RESOLUTION) | (self.observed >= 1 - RESOLUTION)
        return self.log_likelihood + math.log(RESOLUTION) * at_end

    def to_arviz(self) -> Any:
        """Return draws, statistics, log-likelihood and data for ArviZ, as the installed version has them.

        Returns
        -------
        arviz.InferenceData or xarray.DataTree
        """
        return from_draws(
            self.draws,
            log_likelihood={"score": self.log_likelihood},
            sample_stats=self.statistics,
            observed_data={"score": self.observed, "problem": self.problem},
            attrs={"method": self.method, "model": self.model.name, "seed": self.seed},
        )

    def posterior(self, problem: int | None = None) -> NodePosterior:
        """Return what decisions ask: the posterior of the law of scores of one problem, its draws equally weighted.

        Parameters
        ----------
        problem : int, optional
            The problem of a hierarchy; needed there and only there.

        Raises
        ------
        ValueError
            If it is missing, out of range, or given for a fit of one problem.
        """
        if self.hierarchy is None:
            if problem is not None:
                raise ValueError(f"expected no problem, because the fit is of one problem, got {problem}")
            values, scores = {name: self.draws[name] for name in self.model.parameters}, self.data.scores
        else:
            number = len(self.data.scores)
            if problem is None or not 0 <= problem < number:
                raise ValueError(f"expected problem to be between 0 and {number - 1}, got {problem}")
            values = {name: self.draws[name][..., problem] for name in self.model.parameters}
            scores = self.data.scores[problem][self.data.mask[problem]]
        values = {name: value.reshape(-1) for name, value in values.items()}
        return NodePosterior(self.model, values, np.zeros(self.num_chains * self.num_draws), scores)

    def prior_for_new_problem(self, features: ArrayLike | Tensor | None = None) -> Prior:
        """Return the prior that the hierarchy gives to a problem that it has not seen.

        Parameters
        ----------
        features : array, shape (num_features,), optional

        Raises
        ------
        ValueError
            If the fit is of one problem.
        """
        if self.hierarchy is None:
            raise ValueError("expected a fit of HierarchicalScores, got one of a single problem")
        return self.hierarchy.population_prior(self.draws, features)


def _pad(rows: Sequence[Tensor], width: int, filler: float) -> Tensor:
    padded = torch.full((len(rows), width), filler, dtype=torch.float64)
    for row, values in zip(padded, rows, strict=True):
        row[: len(values)] = values
    return padded
