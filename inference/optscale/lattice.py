r"""Trapezoid rules that fit a density of one or two coordinates: where it is, how wide, and how fine a lattice it needs.

For a smooth density that vanishes at the ends, the trapezoid rule of spacing :math:`h` errs by about
:math:`2 e^{-2 \pi^2 \sigma^2 / h^2}` if it is normal, and by :math:`e^{-c / h}` if it is analytic. So a few nodes for each
standard deviation give many digits, if they are where the density is.

Posteriors of a location and a scale are funnels: the smaller the scale, the narrower the law of the location. No box in the
plane fits a funnel. So two coordinates are integrated one after the other: the second on an outer lattice, and for each of
its nodes the first on a lattice of its own, which covers what counts there. Only the integral over a slice need be smooth in
the outer coordinate, not the ends of the slices. What counts is judged by mass, not by density: the neck of a funnel is
where the density is highest, and next to nothing of the mass is there.

Every other node of a slice, and every other slice, make a rule of twice the spacing. There are :math:`2^d` of these
interlaced rules; the spread between them measures *their* error for any quantity, at no cost. The error of the whole is
about its square, because halving :math:`h` doubles the exponent at least.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ppl_scaling.inference.optscale.climbing import LogDensity, evaluate

__all__ = ["Lattice", "locate"]

Array = NDArray[np.float64]

_RANGE = 8.0  # the first look reaches so far, in prior standard deviations
_SCAN = 33  # nodes of a slice in the first look
_FILLED = 0.65  # share of an axis that the density must fill before a lattice is taken
_ROUNDS = 40
_SURELY = 5.0  # a slice that is so much below the cut, peaks between nodes included, is left alone


@dataclass(frozen=True, eq=False)
class Lattice:
    """An outer lattice, and on each of its slices an inner one.

    Attributes
    ----------
    log_density : callable
        Of points of shape (K, d).
    cut : float
        Slices are left out whose integral is less than the largest by more than this factor (as a logarithm); so are the
        ends of slices, where the density is lower than at the slice's mode by that less what the slice itself lags behind.
    plane : bool
        Whether there are two coordinates; with one there is one slice.
    outer : array, shape (S,)
        Where the slices are, evenly spaced.
    lower, upper : array, shape (S,)
        Ends of each slice.
    values : array, shape (S, P)
        Log-density on the slices.
    """

    log_density: LogDensity
    cut: float
    plane: bool
    outer: Array
    lower: Array
    upper: Array
    values: Array

    @property
    def inner(self) -> Array:
        """Inner coordinates of the nodes, shape (S, P)."""
        return _spread(self.lower, self.upper, self.values.shape[1])

    @property
    def masses(self) -> Array:
        """Logarithm of the integral over each slice, shape (S,)."""
        return _masses(self.values, self.lower, self.upper)

    def inner_error(self) -> float:
        """Relative error of the integral, as far as it is due to the inner spacing, from points half-way between nodes.

        The spread of interlaced rules misses it where the density has a kink that happens to lie a quarter of the way
        between two nodes of each of them: just there it moves the points half-way most.
        """
        masses, size = self.masses, self.values.shape[1]
        keep = np.flatnonzero(masses > masses.max() - self.cut)
        cells = (self.upper - self.lower) / (size - 1)
        lower, upper = (self.lower + cells / 2)[keep], (self.upper - cells / 2)[keep]
        points = _points(_spread(lower, upper, size - 1), self.outer[keep], plane=self.plane)
        values = evaluate(self.log_density, points).reshape(len(keep), -1) + np.log(cells[keep])[:, None]
        return 0.5 * abs(float(np.expm1(np.logaddexp.reduce(values.ravel()) - np.logaddexp.reduce(masses[keep]))))

    def finer(self) -> Lattice:
        """Return a lattice with half as many nodes again on each axis."""
        slices, size = self.values.shape
        outer = np.linspace(self.outer[0], self.outer[-1], 3 * slices // 2 if self.plane else 1)
        return self.at(outer, 3 * size // 2)

    def at(self, outer: Array, size: int) -> Lattice:
        """Return a lattice of other slices, with ends that hold those of the slices next to them, then fitted."""
        if self.plane:
            place = np.clip((outer - self.outer[0]) / (self.outer[1] - self.outer[0]), 0, len(self.outer) - 1)
            before, after = np.floor(place).astype(int), np.ceil(place).astype(int)
            lower = np.minimum(self.lower[before], self.lower[after])
            upper = np.maximum(self.upper[before], self.upper[after])
        else:
            lower, upper = self.lower, self.upper
        return fitted(replace(self, outer=outer, lower=lower, upper=upper), size)

    def nodes(self) -> tuple[Array, Array, NDArray[np.int64]]:
        """Points, log-weights that sum to the integral, and to which of the interlaced rules each belongs.

        Returns
        -------
        points : array, shape (K, d)
        log_weights : array, shape (K,)
        parity : array of int, shape (K,)
            From 0 to ``2**d - 1``.
        """
        slices, size = self.values.shape
        cells = (self.upper - self.lower)[:, None] / (size - 1)
        if self.plane:
            cells = cells * (self.outer[1] - self.outer[0])
        parity = np.arange(size) % 2 + 2 * (np.arange(slices) % 2)[:, None]
        masses = self.masses
        keep = np.flatnonzero(masses > masses.max() - self.cut)
        points = _points(self.inner[keep], self.outer[keep], plane=self.plane)
        return points, (self.values + np.log(cells))[keep].ravel(), parity[keep].ravel()


def locate(log_density: LogDensity, dimension: int, *, cut: float, count: int) -> Lattice:
    """Return a first lattice for a density: look at the prior's range, then closer and closer where the density is.

    Parameters
    ----------
    log_density : callable
        In coordinates in which the prior is of order one.
    dimension : int
        1 or 2.
    cut : float
        See :class:`Lattice`.
    count : int
        Nodes on each axis.
    """
    plane = dimension == 2
    outer = np.linspace(-_RANGE, _RANGE, count) if plane else np.zeros(1)
    ends = np.full(len(outer), _RANGE)
    lattice = Lattice(log_density, cut, plane, outer, -ends, ends, np.empty((len(outer), _SCAN)))
    lattice = fitted(lattice, count)
    for _ in range(_ROUNDS if plane else 0):
        masses = lattice.masses
        first, last, filled = _extent((masses > masses.max() - cut)[None])
        lower, upper = _ends(lattice.outer[:1], lattice.outer[-1:], first, last, count)
        if filled[0] >= _FILLED:
            break
        lattice = lattice.at(np.linspace(lower[0], upper[0], count), count)
    return lattice


def fitted(lattice: Lattice, size: int) -> Lattice:
    """Move the ends of each slice until they just hold what counts."""
    lower, upper, size_now = lattice.lower, lattice.upper, max(lattice.values.shape[1], size)
    for _ in range(_ROUNDS):
        inner = _spread(lower, upper, size_now)
        points = _points(inner, lattice.outer, plane=lattice.plane)
        values = evaluate(lattice.log_density, points).reshape(inner.shape)
        peak, masses = values.max(1), _masses(values, lower, upper)
        spare = lattice.cut + masses - masses.max()
        inside = (values > (peak - spare)[:, None]) | (values == peak[:, None])
        first, last, filled = _extent(inside)
        open_ended = (first == 0) | (last == size_now - 1)
        hidden = _vertex(values) - peak
        dead = (spare < 0) & (hidden < np.maximum(-spare - _SURELY, 1.0))
        settled = (filled >= _FILLED) | (dead & ~open_ended)
        if settled.all() and size_now == size:
            break
        closer, farther = _ends(lower, upper, first, last, size_now)
        lower, upper = np.where(settled & ~dead, lower, closer), np.where(settled & ~dead, upper, farther)
        size_now = size
    return replace(lattice, lower=lower, upper=upper, values=values)


def _masses(values: Array, lower: Array, upper: Array) -> Array:
    return np.logaddexp.reduce(values, axis=1) + np.log((upper - lower) / (values.shape[1] - 1))


def _extent(inside: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
    """First and last node inside of each row, and which share of the row lies between; 0 where it runs into an end."""
    size = inside.shape[1]
    first, last = inside.argmax(1), size - 1 - inside[:, ::-1].argmax(1)
    share = (last - first + 1) / size
    return first, last, np.where((first == 0) | (last == size - 1), 0.0, share)


def _ends(lower: Array, upper: Array, first: NDArray[np.intp], last: NDArray[np.intp], size: int) -> tuple[Array, Array]:
    """Put ends one node beyond the nodes inside; well beyond where those run into an end."""
    width = upper - lower
    below = np.where(first > 0, (first - 1) / (size - 1), -0.75)
    above = np.where(last < size - 1, (last + 1) / (size - 1), 1.75)
    return lower + below * width, lower + above * width


def _vertex(values: Array) -> Array:
    """Height of the parabola through the highest node of each row and its neighbours: a normal peak between nodes."""
    size = values.shape[1]
    middle = np.clip(values.argmax(1), 1, size - 2)
    rows = np.arange(len(values))
    before, peak, after = (np.maximum(values[rows, middle + k], -1e12) for k in (-1, 0, 1))
    bent = np.maximum(2 * peak - before - after, 1e-12)
    rise = np.where(values.argmax(1) == middle, (after - before) ** 2 / (8 * bent), 0.0)
    return np.maximum(values.max(1), peak + rise)


def _spread(lower: Array, upper: Array, size: int) -> Array:
    return lower[:, None] + (upper - lower)[:, None] * np.linspace(0.0, 1.0, size)


def _points(inner: Array, outer: Array, *, plane: bool) -> Array:
    """Points of slices, shape (S * P, d), from inner coordinates (S, P) and outer ones (S,)."""
    if not plane:
        return inner.reshape(-1, 1)
    return np.stack([inner, np.broadcast_to(outer[:, None], inner.shape)], -1).reshape(-1, 2)
