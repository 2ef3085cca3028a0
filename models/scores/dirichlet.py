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
from typing import Any, ClassVar, Protocol

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.distributions import constraints

from ppl_scaling.models.scores.base import RESOLUTION, validate_scores

__all__ = ["BaseLaw", "BinnedScores", "DirichletScores", "HierarchicalDirichletScores", "StepLaw"]


class BaseLaw(Protocol):
    """A continuous law on [0, 1]: a :class:`StepLaw`, or any of ``scipy.stats``, frozen."""

    def cdf(self, x: Any) -> Any:
        """Probability of at most ``x``."""

    def ppf(self, q: Any) -> Any:
        """Quantile."""

    def logpdf(self, x: Any) -> Any:
        """Log-density."""


class StepLaw:
    """A law with a constant density in each of some bins; with one bin it is the uniform one.

    Parameters
    ----------
    masses : array, shape (num_bins,)
        Probabilities of the bins; they need not sum to 1.
    edges : array, shape (num_bins + 1,)
        From 0 to 1.
    """

    def __init__(self, masses: ArrayLike = (1.0,), edges: ArrayLike = (0.0, 1.0)) -> None:
        self.masses, self.edges = np.asarray(masses, dtype=float) / np.sum(masses), np.asarray(edges, dtype=float)
        self._heights = np.concatenate([[0.0], np.cumsum(self.masses)])
        self._heights[-1] = 1.0

    def cdf(self, x: ArrayLike) -> NDArray:
        """Probability of at most ``x``."""
        return np.interp(x, self.edges, self._heights)

    def ppf(self, q: ArrayLike) -> NDArray:
        """Quantile."""
        return np.interp(q, self._heights, self.edges)

    def logpdf(self, x: ArrayLike) -> NDArray:
        """Log-density."""
        place = np.clip(np.searchsorted(self.edges, x, side="right") - 1, 0, len(self.masses) - 1)
        with np.errstate(divide="ignore"):
            inside = np.log(self.masses / np.diff(self.edges))[place]
        return np.where((np.asarray(x) < 0) | (np.asarray(x) > 1), -np.inf, inside)


class BinnedScores(dist.TorchDistribution):
    """Scores that fall into bin ``b`` with probability ``weights[..., b]``, and within it follow a base law.

    Parameters
    ----------
    weights : Tensor, shape (..., num_bins)
        Probabilities of the bins.
    edges : ndarray, shape (num_bins + 1,)
        From 0 to 1. A bin holds its lower edge, the last one its upper edge too.
    base : BaseLaw
        What scores follow within a bin.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {"weights": constraints.simplex}
    support = constraints.unit_interval

    def __init__(self, weights: Tensor, edges: NDArray, base: BaseLaw, validate_args: bool | None = None) -> None:
        self.weights, self.edges, self.base = weights, edges, base
        super().__init__(weights.shape[:-1], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> BinnedScores:
        """Expand to ``batch_shape``."""
        weights = self.weights.expand(*batch_shape, self.weights.shape[-1])
        return BinnedScores(weights, self.edges, self.base, validate_args=self._validate_args)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Draw a bin, then a score of the base law within it."""
        bins = dist.Categorical(self.weights).sample(sample_shape)
        edges = torch.as_tensor(np.asarray(self.base.cdf(self.edges), dtype=float))
        probability = edges[bins] + (edges[bins + 1] - edges[bins]) * torch.rand(bins.shape, dtype=torch.float64)
        return torch.as_tensor(np.asarray(self.base.ppf(probability.numpy()), dtype=float)).clamp(0, 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of scores, shape (...)."""
        if self._validate_args:
            self._validate_sample(value)
        bins = bins_of(value, self.edges)
        shape = torch.broadcast_shapes(value.shape, self.batch_shape)
        weights = self.weights.expand(*shape, self.weights.shape[-1])
        inside = self.base.logpdf(np.clip(value.detach().numpy(), RESOLUTION, 1 - RESOLUTION))
        inside = torch.as_tensor(inside - np.log(np.diff(self.base.cdf(self.edges)))[bins.numpy()])
        return weights.gather(-1, bins.expand(shape).unsqueeze(-1)).squeeze(-1).log() + inside


def bins_of(scores: Tensor, edges: NDArray) -> Tensor:
    """Bin of each score: the last edge that is not above it."""
    return torch.bucketize(scores, torch.as_tensor(edges[1:-1]), right=True)


def check_edges(bins: int | ArrayLike, base: BaseLaw) -> NDArray:
    """Return the edges of ``bins``, a number of equal bins or the edges themselves."""
    edges = np.linspace(0, 1, bins + 1) if isinstance(bins, int) else np.asarray(bins, dtype=float)
    if edges.ndim != 1 or len(edges) < 2 or edges[0] != 0 or edges[-1] != 1 or not (np.diff(edges) > 0).all():
        raise ValueError(f"expected bins to be a number >= 1 or edges that rise from 0 to 1, got {bins!r}")
    if not (np.diff(base.cdf(edges)) > 0).all():
        raise ValueError("expected the base law to give every bin some probability; use fewer bins or another law")
    return edges


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
        if not (isinstance(self.base, StepLaw) and len(self.base.masses) == 1):
            raise TypeError("expected a DirichletScores with the uniform base law, so that it can be saved")
        return {"concentration": self.concentration, "bins": self.edges}

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
            raise ValueError("expected either scores or num_scores")
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
