"""Newton steps from differences of a log-density, taken at the scale of its width.

Second differences over about one standard deviation are a better guide than derivatives where a density is skew or rough,
and need nothing but values, many of which come from one call of the density.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["LogDensity", "climb", "evaluate", "width_at"]

Array = NDArray[np.float64]
LogDensity = Callable[[Array], Array]
"""Log-density of points of shape (K, d), up to a constant; shape (K,). Minus infinity and NaN are impossible points."""

_STEPS = 40
_LONGEST = 3.0  # step, in units of the axes
_FLATTEST = 1e-3


def evaluate(log_density: LogDensity, points: Array) -> Array:
    """Log-density with NaN as minus infinity."""
    values = log_density(points)
    return np.where(np.isnan(values), -np.inf, values)


def climb(log_density: LogDensity, start: Array, axes: Array) -> tuple[float, Array, Array]:
    """Climb to a mode.

    Parameters
    ----------
    log_density : callable
    start : array, shape (d,)
    axes : array, shape (d, d)
        Its columns are the first guess of directions and widths.

    Returns
    -------
    height : float
        Log-density at the mode.
    mode : array, shape (d,)
        To a small fraction of the width.
    axes : array, shape (d, d)
        Principal axes there; each column is one standard deviation of the normal law of the same curvature.
    """
    dimension = len(start)
    unit = np.eye(dimension)
    pairs = list(itertools.combinations(range(dimension), 2))
    corners = [a * unit[i] + b * unit[j] for i, j in pairs for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
    stencil = np.vstack([np.zeros((1, dimension)), unit, -unit, *([np.array(corners)] if corners else [])])
    here = start
    best_value, best = -np.inf, start
    for _ in range(_STEPS):
        points = here + stencil @ axes.T
        values = evaluate(log_density, points)
        highest = int(values.argmax())
        if values[0] < best_value - 1e-9:  # the last step went too far
            if values[highest] > best_value:
                best_value, best = values[highest], points[highest]
            here, axes = best, 0.5 * axes
            continue
        if values[highest] > values[0] + 1.0:
            best_value, best = values[highest], points[highest]
        else:
            best_value, best = values[0], here
        floored = np.where(np.isfinite(values), values, values[highest] - 1e3)
        ahead, behind = floored[1 : dimension + 1], floored[dimension + 1 : 2 * dimension + 1]
        gradient, hessian = (ahead - behind) / 2, np.diag(ahead + behind - 2 * floored[0])
        for k, (i, j) in enumerate(pairs):
            a, b, c, d = floored[2 * dimension + 1 + 4 * k : 2 * dimension + 5 + 4 * k]
            hessian[i, j] = hessian[j, i] = (a - b - c + d) / 4
        curvature, turn = np.linalg.eigh(-hessian)
        bent = np.maximum(np.abs(curvature), _FLATTEST)
        step = (turn.T @ gradient) / bent
        settled = np.abs(step * np.sqrt(bent)).max() < 0.1 and curvature.min() > 0.6 and curvature.max() < 1.7
        scaled = axes @ turn * np.clip(bent**-0.5, 0.1, 4.0)
        if settled:
            return float(values[0]), here, scaled
        here = here + axes @ turn @ (step * (_LONGEST / max(_LONGEST, np.abs(step).max())))
        axes = scaled
    return float(best_value), best, axes


def width_at(log_density: LogDensity, place: Array, widest: float = 0.7, step: float = 1e-4) -> Array:
    """Return a square root of the covariance of the normal law that curves as the density does at a place.

    Directions in which it does not curve downwards, or less than the normal law of standard deviation ``widest``, get that.
    """
    dimension = len(place)
    unit = step * np.eye(dimension)
    pairs = [(one, other) for one in range(dimension) for other in range(one, dimension)]
    corners = np.array(
        [place + a * unit[i] + b * unit[j] for i, j in pairs for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
    )
    values = evaluate(log_density, corners).reshape(-1, 4) @ np.array([1.0, -1.0, -1.0, 1.0]) / (4 * step**2)
    hessian = np.zeros((dimension, dimension))
    for (i, j), value in zip(pairs, values, strict=True):
        hessian[i, j] = hessian[j, i] = value
    curvature, turn = np.linalg.eigh(-np.nan_to_num(hessian, posinf=0.0, neginf=0.0))
    return turn * np.maximum(curvature, widest**-2) ** -0.5
