r"""Quasi-Monte-Carlo nodes for posteriors of three parameters and more: mixtures, with several modes or none to speak of.

Points of Sobol's sequence go through a *defensive mixture*: the prior, and a t law of five degrees of freedom at each mode
that climbing finds, which is then fitted to the weighted points. All components' points are weighed with the density of the
whole mixture (the balance heuristic), so the weights are bounded wherever the prior has a share. Eight shifts of the points,
which are part of the rule and not drawn, are eight rules, and their spread is the error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats
from torch import Tensor

from ppl_scaling.inference.optscale.climbing import climb, evaluate, width_at
from ppl_scaling.inference.optscale.coordinates import Coordinates
from ppl_scaling.inference.optscale.nodes import MOST_NODES, Nodes, Rule
from ppl_scaling.models.scores.base import ScoreModel, Values

__all__ = ["QuasiMonteCarloRule"]

Array = NDArray[np.float64]

_SHIFTS = 8
_DEGREES = 5.0
_SCOUTS = 2048
_CLIMBS = 8
_ADAPTATIONS = 3
_FIRST = 8  # log2 of the points of each shift
_MOST_POINTS = 2**19  # of all shifts: ten seconds
_ADDITIONS = 32
_ENOUGH = 0.45  # effective share of the points with which no more laws are added
_DEFENSIVE = 0.15  # share of the prior


@dataclass(frozen=True, eq=False)
class _Proposal:
    """The prior with share ``_DEFENSIVE``, and t laws with the others.

    Attributes
    ----------
    coordinates : Coordinates
    shares : array, shape (C,)
    centres : array, shape (C, d)
    roots : array, shape (C, d, d)
        Of their scale matrices.
    """

    coordinates: Coordinates
    shares: Array
    centres: Array
    roots: Array

    def points(self, log2_size: int) -> tuple[Array, NDArray[np.int64]]:
        """Points of all components and shifts, and the shift of each."""
        dimension = self.centres.shape[1]
        # One coordinate more for the radius of the t law; the same points serve every component.
        base = stats.qmc.Sobol(dimension + 1, scramble=False).random_base2(log2_size)
        shifts = stats.qmc.Halton(dimension + 1, scramble=False).random(_SHIFTS + 1)[1:]
        points, labels = [], []
        for label, shift in enumerate(shifts):
            uniform = (base + shift) % 1.0
            uniform = np.clip(uniform + 0.5 / len(base), 1e-12, 1 - 1e-12) % 1.0
            normal, radius = special.ndtri(np.clip(uniform[:, :-1], 1e-12, 1 - 1e-12)), uniform[:, -1:]
            radius = np.sqrt(_DEGREES / (2 * special.gammaincinv(_DEGREES / 2, np.clip(radius, 1e-12, 1 - 1e-12))))
            # Which component a point goes to is decided by its place in the sequence, so each gets an even part of it.
            ladder = np.cumsum([_DEFENSIVE, *((1 - _DEFENSIVE) * self.shares)])
            place = ((np.arange(len(base)) * 0.6180339887498949 + shift[0]) % 1.0) * ladder[-1]
            component = np.minimum(np.searchsorted(ladder, place, side="right"), len(self.shares))
            moved = self.coordinates.points(normal)
            for one in range(len(self.shares)):
                own = component == one + 1
                moved[own] = self.centres[one] + (radius[own] * normal[own]) @ self.roots[one].T
            points.append(moved)
            labels.append(np.full(len(moved), label))
        return np.concatenate(points), np.concatenate(labels)

    def log_density(self, points: Array) -> Array:
        """Log-density of the whole mixture."""
        prior = math.log(_DEFENSIVE) + self.coordinates.log_prior(points)
        return np.logaddexp.reduce(np.vstack([prior[None], self.log_densities(points)]))

    def log_densities(self, points: Array) -> Array:
        """Log-density of each t law, with its share; shape (C, K)."""
        dimension = points.shape[1]
        constant = math.lgamma((_DEGREES + dimension) / 2) - math.lgamma(_DEGREES / 2)
        constant -= 0.5 * dimension * math.log(_DEGREES * math.pi)
        result = []
        for share, centre, root in zip(self.shares, self.centres, self.roots, strict=True):
            squares = (np.linalg.solve(root, (points - centre).T) ** 2).sum(0)
            log_volume = np.linalg.slogdet(root)[1]
            result.append(
                math.log((1 - _DEFENSIVE) * max(share, 1e-300))
                + constant
                - log_volume
                - (_DEGREES + dimension) / 2 * np.log1p(squares / _DEGREES)
            )
        return np.array(result)


class QuasiMonteCarloRule(Rule):
    """Quasi-Monte-Carlo for all parameters of a model together.

    Parameters
    ----------
    model : ScoreModel
    log_likelihood : callable
        Of the model's parameters.
    precision : float, optional
        Default: 0.01.
    """

    def __init__(
        self, model: ScoreModel, log_likelihood: Callable[[Values], Tensor], precision: float | None = None
    ) -> None:
        self.precision = precision or 1e-2
        self._coordinates = Coordinates(model, model.parameters)
        self._log_likelihood = log_likelihood

    def start(self) -> Nodes:
        """Find the modes, fit the proposal, and weigh its points."""
        proposal = self._at_modes()
        for _ in range(_ADAPTATIONS):
            points, _ = proposal.points(_FIRST - 1)
            proposal = _refit(proposal, points, self._weighed(proposal, points))
        for _ in range(_ADDITIONS):
            points, _ = proposal.points(_FIRST - 1)
            log_weights = self._weighed(proposal, points)
            if 1 / (special.softmax(log_weights) ** 2).sum() > _ENOUGH * len(points):
                break
            proposal = self._wider(proposal, points, log_weights)
        return self._nodes(proposal, _FIRST)

    def finer(self, nodes: Nodes, group: int) -> Nodes | None:
        """Double the number of points."""
        proposal, log2_size = nodes.source
        # Points of no weight are no nodes, but they take their time as well.
        most = 2 * nodes.size > MOST_NODES or _SHIFTS << (log2_size + 1) > _MOST_POINTS
        return None if most else self._nodes(proposal, log2_size + 1)

    def _log_density(self, points: Array) -> Array:
        return self._log_likelihood(self._coordinates.values(points)).numpy() + self._coordinates.log_prior(points)

    def _weighed(self, proposal: _Proposal, points: Array) -> Array:
        return evaluate(self._log_density, points) - proposal.log_density(points)

    def _at_modes(self) -> _Proposal:
        dimension = len(self._coordinates.names)
        levels = (stats.qmc.Sobol(dimension, scramble=False).random(_SCOUTS) + 0.5 / _SCOUTS) % 1.0
        scouts = self._coordinates.points(special.ndtri(levels))
        values = evaluate(self._log_density, scouts)
        starts: list[Array] = []
        for one in np.argsort(-values, kind="stable"):  # the best, but far from each other
            if all(np.linalg.norm(scouts[one] - other) > 1.5 for other in starts):
                starts.append(scouts[one])
            if len(starts) == _CLIMBS:
                break
        heights: list[float] = []
        centres: list[Array] = []
        roots: list[Array] = []
        for start in starts:
            height, mode, axes = climb(self._log_density, start, 0.5 * np.eye(dimension))
            back = np.linalg.inv(axes)
            if all(np.linalg.norm(back @ (mode - other)) > 0.5 for other in centres):
                heights.append(height + np.linalg.slogdet(axes)[1])
                centres.append(mode)
                roots.append(axes)
        shares = special.softmax(np.maximum(heights, max(heights) - 6.0))
        return _Proposal(self._coordinates, shares, np.array(centres), np.array(roots))

    def _wider(self, proposal: _Proposal, points: Array, log_weights: Array) -> _Proposal:
        """Add a t law at the heaviest point, as wide as the density is there, and share out anew.

        Where the posterior lies along a curve, as that of a mixture does if one component explains all scores, no t law at
        its modes holds it, but a chain of them does.
        """
        place = points[log_weights.argmax()]
        root = width_at(self._log_density, place)
        count = len(proposal.shares)
        shares = np.append(proposal.shares * count, 1.0) / (count + 1)
        centres, roots = np.vstack([proposal.centres, place]), np.concatenate([proposal.roots, root[None]])
        wider = replace(proposal, shares=shares, centres=centres, roots=roots)
        new, _ = wider.points(_FIRST - 1)
        return _reshared(wider, new, self._weighed(wider, new))

    def _nodes(self, proposal: _Proposal, log2_size: int) -> Nodes:
        points, labels = proposal.points(log2_size)
        log_weights = self._weighed(proposal, points)
        log_total = float(np.logaddexp.reduce(log_weights))
        evidence = log_total - math.log(len(points))
        kept = np.flatnonzero(log_weights > log_weights.max() - 40)
        weights = np.exp(log_weights[kept] - log_total)
        classes = np.stack([_SHIFTS * weights * (labels[kept] == one) for one in range(_SHIFTS)], -1)
        tensors = self._coordinates.values(points[kept])
        # The largest of eight deviations is about 1.4 standard deviations, and the mean of eight has sqrt(8) times less.
        return Nodes(
            tensors,
            slice(None),
            np.log(weights),
            evidence,
            classes,
            (slice(0, _SHIFTS),),
            1.0,
            (0.5,),
            (proposal, log2_size),
        )


def _reshared(proposal: _Proposal, points: Array, log_weights: Array) -> _Proposal:
    """Set the shares of the t laws to what they hold of the weighted points."""
    held = special.softmax(proposal.log_densities(points), axis=0) @ special.softmax(
        np.minimum(log_weights, np.quantile(log_weights, 0.999))
    )
    shares = np.maximum(held, 0.2 / len(held))
    return replace(proposal, shares=shares / shares.sum())


def _refit(proposal: _Proposal, points: Array, log_weights: Array) -> _Proposal:
    """One step of EM of the t laws to the weighted points."""
    weights = special.softmax(log_weights)
    own = special.softmax(proposal.log_densities(points), axis=0) * weights
    shares, centres, roots = [], [], []
    dimension = points.shape[1]
    for part, centre, root in zip(own, proposal.centres, proposal.roots, strict=True):
        total = part.sum()
        effective = total**2 / max((part**2).sum(), 1e-300)
        shares.append(max(total, 1e-3))
        if effective < 5 * dimension:
            centres.append(centre)
            roots.append(root)
            continue
        centre = part @ points / total
        moved = points - centre
        covariance = (part[:, None] * moved).T @ moved / total
        centres.append(centre)
        roots.append(np.linalg.cholesky(covariance * (_DEGREES - 2) / _DEGREES * 1.2 + 1e-12 * np.eye(dimension)))
    return replace(proposal, shares=np.array(shares) / sum(shares), centres=np.array(centres), roots=np.array(roots))
