r"""Masses of a normal law between two points of [0, 1], wherever it lies; for decisions, which need no gradient.

Three forms, each where it does not cancel: differences of erf where the hump is between the bounds, tails written with
:math:`\operatorname{erfcx}(x) = e^{x^2} \operatorname{erfc}(x)` beside it, and Gauss's nodes where the density is flat.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, erfcx

__all__ = ["GAUSS_NODES", "GAUSS_WEIGHTS", "NARROW", "log_mass"]

Array = NDArray[np.float64]

_SQRT_TWO = math.sqrt(2)
_LOG_TWO = math.log(2)
_LOG_SQRT_PI = 0.5 * math.log(math.pi)

NARROW = 0.1
"""Change of the log-density between two bounds below which Gauss's five nodes err by less than 1e-13."""
GAUSS_NODES, GAUSS_WEIGHTS = (part / 2 for part in np.polynomial.legendre.leggauss(5))
GAUSS_NODES = GAUSS_NODES + 0.5  # on [0, 1]


def log_mass(lower: Array, upper: Array, location: Array, log_scale: Array) -> Array:
    r"""``log P(lower < z < upper)`` of ``Normal(location, scale)``, plus :math:`(e - \mu)^2 / 2 \sigma^2`.

    Here :math:`e` is the point of [0, 1] nearest to the location: so the mass is relative to the density there, and huge
    parts do not cancel.

    Parameters
    ----------
    lower, upper : array
        With 0 <= lower <= upper <= 1. All four broadcast.
    location, log_scale : array
    """
    rate, edge = np.exp(-log_scale) / _SQRT_TWO, np.clip(location, 0.0, 1.0)
    rate, edge, below, above, location = np.broadcast_arrays(rate, edge, lower - location, upper - location, location)
    width, left = np.broadcast_to(upper - lower, below.shape), above < 0
    straddles = (below <= 0) & ~left
    start = np.where(left, -above, below)  # from the location to the nearer bound
    gap = np.where(left, edge - upper, lower - edge)  # from `edge` to the nearer bound
    across = width * rate
    narrow = across * rate * np.where(straddles, width, 2 * start + width) < NARROW
    hump, from_start = straddles & ~narrow, start * rate
    squares = np.where(straddles, below * below, gap * (start + np.abs(location - edge)))
    found = np.where(hump, 0.0, -squares * rate * rate)
    tail = ~(hump | narrow)
    for form, holds in ((_hump, hump), (_tail, tail), (_slab, narrow)):
        if holds.all():
            return found + form(from_start, across)
        if holds.any():
            found[holds] += form(from_start[holds], across[holds])
    return found


def _hump(start: Array, width: Array) -> Array:
    """Log-mass of two parts of the hump, left and right of the location: ``start`` is negative."""
    return np.log(erf(-start) + erf(start + width)) - _LOG_TWO


def _tail(start: Array, width: Array) -> Array:
    """Log-mass beyond ``start`` less that beyond ``start + width``, relative to the density at ``start``."""
    log_near = np.log(erfcx(start))
    fall = width * (2 * start + width) + log_near - np.log(erfcx(start + width))
    return log_near - _LOG_TWO + np.log(-np.expm1(-fall))


def _slab(start: Array, width: Array) -> Array:
    """Log-mass where the density hardly changes, relative to it at ``start``."""
    step = width[..., None] * GAUSS_NODES
    heights = np.exp(-step * (2 * start[..., None] + step))
    with np.errstate(divide="ignore"):
        return np.log(width) + np.log(heights @ GAUSS_WEIGHTS) - _LOG_SQRT_PI
