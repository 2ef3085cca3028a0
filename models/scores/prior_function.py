"""Priors of a problem that depend on what is known of it before the first score.

The paper on OptScale trains a predictor of location and spread for this. Here a predictor is any callable that gives a
:class:`~ppl_scaling.models.scores.base.Prior`; the one in this file is linear, as a hierarchy learns it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ppl_scaling.models.scores.base import Prior

__all__ = ["LinearPriorFunction", "PriorFunction"]


@runtime_checkable
class PriorFunction(Protocol):
    """Any callable from a problem, or from its features (say, hidden states of the language model), to its prior."""

    def __call__(self, features: Any) -> Prior:
        """Return the prior of the score model's parameters for this problem."""


class LinearPriorFunction:
    r"""Location linear in the features, with the uncertainty of the regression in the spread.

    A parameter's location is :math:`a + x^\top w`, its variance :math:`\tau^2 + (1, x)\, C\, (1, x)^\top` with :math:`C`
    the covariance of :math:`(a, w)`: far from the features that were learned from, the prior widens.

    Parameters
    ----------
    coefficients : mapping of str to array, shape (1 + num_features,)
        :math:`(a, w)` of each parameter.
    spread : mapping of str to float
        :math:`\tau` of each parameter, positive.
    covariance : mapping of str to array, shape (1 + num_features, 1 + num_features), optional
        :math:`C` of each parameter, by default 0.

    Raises
    ------
    ValueError
        If the mappings name different parameters or hold arrays that do not fit.
    """

    def __init__(
        self,
        coefficients: Mapping[str, ArrayLike],
        spread: Mapping[str, float],
        covariance: Mapping[str, ArrayLike] | None = None,
    ) -> None:
        self.coefficients = {name: np.asarray(row, dtype=float) for name, row in coefficients.items()}
        sizes = {row.shape for row in self.coefficients.values()}
        if len(sizes) != 1 or len(next(iter(sizes))) != 1:
            raise ValueError(f"expected coefficients of one shape (1 + num_features,), got {sorted(sizes)}")
        self.num_features = next(iter(sizes))[0] - 1
        self.spread = {name: float(value) for name, value in spread.items()}
        zero: NDArray = np.zeros((self.num_features + 1, self.num_features + 1))
        given = dict.fromkeys(self.coefficients, zero) if covariance is None else covariance
        self.covariance = {name: np.asarray(matrix, dtype=float) for name, matrix in given.items()}
        if not set(self.coefficients) == set(self.spread) == set(self.covariance):
            raise ValueError(
                f"expected coefficients, spread and covariance of the same parameters, got {sorted(self.coefficients)}, "
                f"{sorted(self.spread)} and {sorted(self.covariance)}"
            )
        for name, matrix in self.covariance.items():
            if matrix.shape != zero.shape:
                raise ValueError(f"expected the covariance of {name!r} to have shape {zero.shape}, got {matrix.shape}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.coefficients)}, num_features={self.num_features})"

    def __call__(self, features: ArrayLike | Tensor | None = None) -> Prior:
        """Return the prior of a problem with ``features``, shape (num_features,); none where there are none.

        Raises
        ------
        ValueError
            If the features have another shape.
        """
        x = np.zeros(0) if features is None else np.asarray(features, dtype=float)
        if x.shape != (self.num_features,):
            raise ValueError(f"expected features of shape ({self.num_features},), got {x.shape}")
        row = np.concatenate([[1.0], x])
        location = {name: float(row @ weights) for name, weights in self.coefficients.items()}
        uncertainty = {name: float(row @ matrix @ row) for name, matrix in self.covariance.items()}
        return Prior(location, {name: math.sqrt(self.spread[name] ** 2 + uncertainty[name]) for name in location})
