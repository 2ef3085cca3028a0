"""Arithmetic of log-weights: pure functions of tensors, with particles on the last dimension.

The convention everywhere is ``log_weights`` of shape ``(G, N)``, in float64, minus infinity for an impossible particle.
Nothing here changes its arguments, and NaN is never repaired.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["ROUNDING", "ess", "log_mean_exp", "normalize", "too_unequal"]

ROUNDING = 1e-12
"""Relative differences of sums of weights up to this one are noise."""


def log_mean_exp(log_weights: Tensor) -> Tensor:
    """Logarithm of the mean weight over the last dimension.

    Parameters
    ----------
    log_weights : Tensor, shape (..., N)

    Returns
    -------
    Tensor, shape (...)
        Minus infinity where all weights are zero.
    """
    return torch.logsumexp(log_weights, dim=-1) - math.log(log_weights.shape[-1])


def normalize(log_weights: Tensor) -> Tensor:
    """Weights that sum to one over the last dimension.

    Parameters
    ----------
    log_weights : Tensor, shape (..., N)

    Returns
    -------
    Tensor, shape (..., N)
        NaN in a group whose weights are all zero: such a group has no distribution.
    """
    return torch.softmax(log_weights, dim=-1)


def ess(log_weights: Tensor) -> Tensor:
    r"""Effective sample size :math:`(\sum_i w_i)^2 / \sum_i w_i^2` over the last dimension.

    Parameters
    ----------
    log_weights : Tensor, shape (..., N)

    Returns
    -------
    Tensor, shape (...)
        Between 1 and N; 0 where all weights are zero.

    References
    ----------
    Kong, Liu, Wong (1994), Sequential imputations and Bayesian missing data problems, JASA 89.
    """
    log_sum = torch.logsumexp(log_weights, dim=-1)
    log_sum_of_squares = torch.logsumexp(2 * log_weights, dim=-1)
    effective = torch.exp(2 * log_sum - log_sum_of_squares)
    return torch.where(log_sum == -math.inf, torch.zeros_like(effective), effective)


def too_unequal(log_weights: Tensor, threshold: float) -> Tensor:
    """Whether the effective sample size is below a fraction of the number of particles, so that resampling pays.

    Equal weights never are: to resample them would be noise alone. Rounding must not say otherwise, so a threshold of 1
    stands for weights that differ by more than rounding.

    Parameters
    ----------
    log_weights : Tensor, shape (..., N)
    threshold : float
        In (0, 1].

    Returns
    -------
    Tensor, shape (...), bool
    """
    return ess(log_weights) < threshold * log_weights.shape[-1] * (1 - ROUNDING)
