r"""Scores without a shape: the Dirichlet process, its finite form over bins, and the hierarchy of those over problems.

The law of scores :math:`F` is drawn from a Dirichlet process :math:`DP(\alpha, G_0)`: around the base law :math:`G_0` on
[0, 1], as loosely as :math:`\alpha` further scores would allow. Given :math:`n` scores, the chance of staying below
:math:`x` is known in closed form,

.. math::

    F(x^-) \mid s_{1:n} \sim
    \mathrm{Beta}\bigl(\alpha G_0(x^-) + \#\{s_i < x\},\; \alpha (1 - G_0(x^-)) + \#\{s_i \ge x\}\bigr),

so no sampler is needed for a single problem. A Pyro program cannot hold all of :math:`F`; it holds its masses on bins, which
are Dirichlet *exactly*, whatever the bins. Within a bin it lets scores follow the base law.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ppl_scaling.models.scores.base import validate_scores
from ppl_scaling.models.scores.binned import BaseLaw, BinnedScores, StepLaw, bins_of, check_edges

__all__ = ["DirichletScores", "HierarchicalDirichletScores"]


class DirichletScores:
    r"""The law of scores is drawn from a Dirichlet process: no shape is assumed.

    As ``concentration`` goes to 0 this becomes the **Bayesian bootstrap**. 0 itself is allowed where scores have been seen
    (``infer_scores``, ``cdf_posterior``, ``sample``). It is refused where something must be said before the first score: by
    the Pyro program, and by the methods that draw completions (``OptScale``); a concentration of 1e-6 says nearly the same.
    Know what that cannot do: every further score repeats a seen one, so the chance of beating the best score is exactly 0,
    no number of completions is enough for a target above it, and a single score leaves no uncertainty. The base law is what
    says something about the region where no score has been; with ``concentration`` 1, the default, it weighs as much as
    one score. Take a law of earlier problems for it (:meth:`HierarchicalDirichletScores.population`).

    Parameters
    ----------
    concentration : float, default 1.0
        How many scores the base law is worth, >= 0.
    base : BaseLaw, optional
        Continuous law on [0, 1], by default the uniform one.
    bins : int or array, default 20
        Bins of the Pyro program: their number (of equal width) or their edges. The closed form does not use them.

    Raises
    ------
    ValueError
        If ``concentration`` is negative or not finite, or if ``bins`` do not cover [0, 1].
    """

    name: ClassVar[str] = "dirichlet"

    def __init__(self, concentration: float = 1.0, base: BaseLaw | None = None, bins: int | ArrayLike = 20) -> None:
        if not (math.isfinite(concentration) and concentration >= 0):
            raise ValueError(f"expected concentration to be a finite number >= 0, got {concentration}")
        self.concentration = float(concentration)
        self.base: BaseLaw = StepLaw() if base is None else base
        self.edges = check_edges(bins, self.base)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(concentration={self.concentration}, bins={len(self.edges) - 1})"

    def saved_arguments(self) -> dict[str, Any]:
        """Give what makes the same model again, for a saved result; a base law has to be written down by whoever made it."""
        if not isinstance(self.base, StepLaw):
            raise TypeError(f"expected a StepLaw as base law, so that it can be saved, got {type(self.base).__name__}")
        return {"concentration": self.concentration, "base": self.base, "bins": self.edges}

    def cdf_posterior(self, score: ArrayLike, scores: ArrayLike | Tensor) -> tuple[NDArray, NDArray]:
        """Parameters of the Beta law of ``F(score) = P(s < score)`` given ``scores``; exact.

        A parameter of 0 says that ``F`` is surely 0 (the first) or surely 1 (the second).

        Parameters
        ----------
        score : float or array, shape (...)
            Where the law is asked for. A score equal to it is not below it.
        scores : array, shape (n,)
            The scores seen.

        Returns
        -------
        tuple of two arrays, shape (...)
            Weight of what lies below ``score`` and of what does not.

        Raises
        ------
        ValueError
            If there is neither a score nor a base law (``concentration`` 0).
        """
        seen = np.sort(validate_scores(scores).numpy())
        if self.concentration == 0 and not len(seen):
            raise ValueError("expected a score or a concentration above 0: the Bayesian bootstrap has no prior")
        return self.cdf_weights(np.asarray(score, dtype=float), seen)

    def cdf_weights(self, score: NDArray, ordered: NDArray) -> tuple[NDArray, NDArray]:
        """:meth:`cdf_posterior` given scores that have been checked and sorted."""
        below = np.searchsorted(ordered, score, side="left")
        base = np.clip(self.base.cdf(score), 0, 1)
        return self.concentration * base + below, self.concentration * (1 - base) + (len(ordered) - below)

    def sample(self, scores: ArrayLike | Tensor, sample_shape: tuple[int, int], seed: int) -> Tensor:
        """Draw sets of further scores given ``scores``; the scores of a row share one ``F`` (Blackwell-MacQueen urn).

        Parameters
        ----------
        scores : array, shape (n,)
            The scores seen; there may be none.
        sample_shape : tuple of int
            Number of rows, and of scores in each.
        seed : int
            Seed of the draws.

        Returns
        -------
        Tensor of shape ``sample_shape``
        """
        seen = validate_scores(scores).numpy()
        if self.concentration == 0 and not len(seen):
            raise ValueError("expected a score or a concentration above 0: the Bayesian bootstrap has no prior")
        rng, rows, number = np.random.default_rng(seed), np.arange(sample_shape[0]), sample_shape[1]
        fresh = np.clip(self.base.ppf(rng.random(sample_shape)), 0, 1)
        urn = np.concatenate([np.broadcast_to(seen, (len(rows), len(seen))), fresh], axis=1)
        for drawn in range(len(seen), len(seen) + number):
            # A ball of the urn, or with weight `concentration` a fresh one, which is there already.
            ball = np.floor(rng.random(len(rows)) * (drawn + self.concentration)).astype(int)
            urn[:, drawn] = urn[rows, np.minimum(ball, drawn)]
        return torch.as_tensor(urn[:, len(seen) :].copy())

    def weights_posterior(self, scores: ArrayLike | Tensor) -> Tensor:
        """Return the Dirichlet parameters of the bins' masses given ``scores``, shape (num_bins,)."""
        scores = validate_scores(scores)
        prior = torch.as_tensor(self.concentration * np.diff(self.base.cdf(self.edges)))
        return prior + torch.bincount(bins_of(scores, self.edges), minlength=len(prior))

    def __call__(self, scores: Tensor | None = None, *, num_scores: int | None = None) -> Tensor:
        """Run the finite program: site "weights" over the bins, and "score" in plate "completion".

        Parameters
        ----------
        scores : Tensor, shape (n,), optional
            Observed scores.
        num_scores : int, optional
            How many scores to draw where none are given.
        """
        if self.concentration == 0:
            raise ValueError("expected a concentration above 0: the Bayesian bootstrap has no prior to draw from")
        if (scores is None) == (num_scores is None):
            raise ValueError(f"expected either scores or num_scores, got {'neither' if scores is None else 'both'}")
        scores = None if scores is None else validate_scores(scores)
        weights = pyro.sample("weights", dist.Dirichlet(self.weights_posterior(torch.zeros(0, dtype=torch.float64))))
        with pyro.plate("completion", num_scores if scores is None else len(scores)):
            return pyro.sample("score", BinnedScores(weights, self.edges, self.base), obs=scores)


class HierarchicalDirichletScores:
    """Problems whose laws of scores are drawn around one learned law, as tightly as is learned too.

    Sites: "proportions", the population's masses of the bins, ``Dirichlet(1, ..., 1)`` so that no shape is preferred;
    "log_concentration", ``Normal(1, 1.5)``, so that a problem resembles the population as much as 0.14 to 50 scores of it
    would say (two standard deviations); and in plate "problem" the counts of a problem's scores, "counts",
    Dirichlet-multinomial: the problem's own masses are integrated out, and thousands of problems cost no latent variable.

    Parameters
    ----------
    bins : int or array, default 20
        Number of bins of equal width, or their edges. Within a bin scores are uniform.
    """

    name: ClassVar[str] = "hierarchical-dirichlet"

    def __init__(self, bins: int | ArrayLike = 20) -> None:
        self.edges = check_edges(bins, StepLaw())

    def counts(self, scores: Tensor, mask: Tensor | None = None) -> Tensor:
        """Count the scores of each problem in each bin.

        Parameters
        ----------
        scores : Tensor, shape (num_problems, n_max)
            Padded scores.
        mask : Tensor, shape (num_problems, n_max), optional
            Where there is a score, by default everywhere.

        Returns
        -------
        Tensor, shape (num_problems, num_bins)
        """
        if scores.ndim != 2:
            raise ValueError(f"expected scores of shape (num_problems, n_max), got {tuple(scores.shape)}")
        mask = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask
        validate_scores(scores[mask])
        bins = bins_of(scores.to(torch.float64), self.edges)
        counts = torch.zeros(len(scores), len(self.edges) - 1, dtype=torch.float64)
        return counts.scatter_add_(1, bins.clamp(max=len(self.edges) - 2), mask.to(torch.float64))

    def __call__(self, counts: Tensor) -> Tensor:
        """Run the program on the :meth:`counts` of each problem."""
        if counts.ndim != 2 or counts.shape[1] != len(self.edges) - 1:
            raise ValueError(f"expected counts of shape (num_problems, {len(self.edges) - 1}), got {tuple(counts.shape)}")
        proportions = pyro.sample("proportions", dist.Dirichlet(counts.new_ones(counts.shape[1])))
        log_concentration = pyro.sample("log_concentration", dist.Normal(counts.new_tensor(1.0), 1.5))
        with pyro.plate("problem", len(counts)):
            law = dist.DirichletMultinomial(log_concentration.exp() * proportions, counts.sum(-1), is_sparse=True)
            return pyro.sample("counts", law, obs=counts)

    def population(self, draws: Mapping[str, ArrayLike | Tensor]) -> DirichletScores:
        """Return the model of a new problem that posterior draws of the population imply.

        Moments are matched: the base law is the mean of the proportions, and the concentration gives the masses of the bins
        their total variance, of problems around the population and of what is not known about the population. That a new
        problem is a mixture over draws, and no Dirichlet process itself, is left out.

        Parameters
        ----------
        draws : mapping
            "proportions", shape (..., num_bins), and "log_concentration", shape (...).
        """
        proportions = np.asarray(draws["proportions"], dtype=float).reshape(-1, len(self.edges) - 1)
        concentration = np.exp(np.asarray(draws["log_concentration"], dtype=float)).reshape(-1, 1)
        mean = proportions.mean(0)
        within = (proportions * (1 - proportions) / (concentration + 1)).mean(0)
        variance = (within + proportions.var(0)).sum()
        concentration = max(float((mean * (1 - mean)).sum() / variance - 1), 0.0)
        return DirichletScores(concentration, StepLaw(mean, self.edges), self.edges)
