"""Scores in bins: laws with a constant density in each, and the Pyro distribution of scores whose bins have given masses."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import numpy as np
import pyro.distributions as dist
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.distributions import constraints

from ppl_scaling.models.scores.base import RESOLUTION

__all__ = ["BaseLaw", "BinnedScores", "StepLaw", "bins_of", "check_edges"]


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

    Raises
    ------
    ValueError
        If there is not one mass for each bin, a mass is negative or not finite, all are 0, or the edges do not rise.
    """

    def __init__(self, masses: ArrayLike = (1.0,), edges: ArrayLike = (0.0, 1.0)) -> None:
        given, self.edges = np.asarray(masses, dtype=float), _rising(edges)
        if given.shape != (len(self.edges) - 1,) or not ((given >= 0) & np.isfinite(given)).all() or not given.any():
            raise ValueError(f"expected {len(self.edges) - 1} masses of at least 0, not all of them 0, got {given.tolist()}")
        self.masses = given / given.sum()
        self._heights = np.concatenate([[0.0], np.cumsum(self.masses)])
        self._heights[-1] = 1.0

    def saved_arguments(self) -> dict[str, Any]:
        """Give what makes the same law again, for a saved result."""
        return {"masses": self.masses, "edges": self.edges}

    def cdf(self, x: ArrayLike) -> NDArray:
        """Probability of at most ``x``."""
        return np.interp(np.asarray(x, dtype=float), self.edges, self._heights)

    def ppf(self, q: ArrayLike) -> NDArray:
        """Quantile."""
        return np.interp(np.asarray(q, dtype=float), self._heights, self.edges)

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
    if isinstance(bins, int) and bins < 1:
        raise ValueError(f"expected bins to be a number >= 1 or edges that rise from 0 to 1, got {bins}")
    edges = _rising(np.linspace(0, 1, bins + 1) if isinstance(bins, int) else bins)
    if not (np.diff(base.cdf(edges)) > 0).all():
        raise ValueError("expected the base law to give every bin some probability; use fewer bins or another law")
    return edges


def _rising(edges: ArrayLike) -> NDArray:
    checked = np.asarray(edges, dtype=float)
    if checked.ndim != 1 or len(checked) < 2 or checked[0] != 0 or checked[-1] != 1 or not (np.diff(checked) > 0).all():
        raise ValueError(f"expected the edges of bins to rise from 0 to 1, got {edges!r}")
    return checked
