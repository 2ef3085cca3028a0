r"""Coordinates of the integration of posteriors of score models: of order one under the prior, and straight where data pin.

Equal scores pin the place of a component of a mixture as closely as its scale is small. Where a place is an origin plus the
exponential of a log-gap, that is a thin curved sheet in those two parameters, which no mixture of ellipses holds; with the
place itself as a coordinate it is flat (``ScoreModel.log_gaps``).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppl_scaling.models.scores.base import ScoreModel

__all__ = ["Coordinates"]

Array = NDArray[np.float64]

EDGE = 20.0
"""Priors are cut at so many standard deviations."""
_LOG_SQRT_TWO_PI = 0.5 * math.log(2 * math.pi)


class Coordinates:
    r"""Coordinates of some of a model's parameters, of order one under the prior.

    A parameter is ``location + scale * z`` with its prior's location and scale, and :math:`z = 20 \tanh(t / 20)`. A log-gap
    is given by the place that it leads to, in units of the prior's spread of that; a place below its origin is impossible.

    Parameters
    ----------
    model : ScoreModel
    names : tuple of str
    """

    def __init__(self, model: ScoreModel, names: tuple[str, ...]) -> None:
        self.names = names
        self.location = np.array([model.prior.location[name] for name in names])
        self.scale = np.array([model.prior.scale[name] for name in names])
        self._gaps = [(names.index(gap), names.index(origin)) for gap, origin in model.log_gaps.items() if gap in names]

    def values(self, points: Array) -> dict[str, Tensor]:
        """Parameters at points of shape (K, d); each of shape (K,). Impossible points have some values all the same."""
        values = self.location + self.scale * self._standardised(points)[0]
        return dict(zip(self.names, torch.from_numpy(values.T.copy()), strict=True))

    def log_prior(self, points: Array) -> Array:
        """Log-density of the prior in these coordinates; minus infinity at impossible points."""
        z, log_stretch = self._standardised(points)
        return (log_stretch - 0.5 * z**2).sum(-1) - len(self.names) * _LOG_SQRT_TWO_PI

    def points(self, z: Array) -> Array:
        """Points at which the parameters are ``z`` prior standard deviations from their locations; shape (K, d)."""
        points = EDGE * np.arctanh(z / EDGE)
        values = self.location + self.scale * z
        for gap, origin in self._gaps:
            centre, spread = self._place(gap, origin)
            points[:, gap] = (values[:, origin] + np.exp(values[:, gap]) - centre) / spread
        return points

    def _standardised(self, points: Array) -> tuple[Array, Array]:
        """Parameters in prior standard deviations, and the log-derivatives of those by the coordinates."""
        t = np.abs(points) / EDGE
        z, log_stretch = EDGE * np.tanh(points / EDGE), 2 * (math.log(2) - t - np.log1p(np.exp(-2 * t)))
        for gap, origin in self._gaps:
            centre, spread = self._place(gap, origin)
            width = centre + spread * points[:, gap] - self.location[origin] - self.scale[origin] * z[:, origin]
            log_width = np.log(np.where(width > 0, width, 1.0))
            away = (log_width - self.location[gap]) / self.scale[gap]
            possible = (width > 0) & (np.abs(away) < EDGE)
            z[:, gap] = np.where(possible, away, 0.0)
            log_stretch[:, gap] = np.where(possible, math.log(spread / self.scale[gap]) - log_width, -np.inf)
        return z, log_stretch

    def _place(self, gap: int, origin: int) -> tuple[float, float]:
        """Centre and spread of the prior of the place that a log-gap leads to, roughly."""
        width = math.exp(self.location[gap])
        return float(self.location[origin] + width), math.hypot(self.scale[origin], width * self.scale[gap])
