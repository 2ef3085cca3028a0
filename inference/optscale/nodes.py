r"""Weighted nodes that know their own error, and the rules that make them for a score model.

Nodes are split into classes, each of which is a quadrature rule of its own: interlaced lattices, or replicates of a
quasi-Monte-Carlo rule. How far the classes disagree about an integral says how good it is.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppl_scaling.inference.optscale.coordinates import Coordinates
from ppl_scaling.inference.optscale.lattice import Lattice, locate
from ppl_scaling.inference.optscale.powers import log_sum
from ppl_scaling.models.scores.base import ScoreModel, Values

__all__ = ["LatticeRule", "Nodes", "Rule"]

Array = NDArray[np.float64]
LogLikelihood = Callable[[Values], Tensor]

MOST_NODES = 400_000
_LARGEST_BLOCK = 2
_SAFETY, _SAFETY_OF_LINES = 25.0, 4.0  # the square of the sublattices' spread times this is taken for the error
_LEAST = 0.25  # of the spread: the error is at least that; of a step in a tail the square of the spread says too little
_NEGLIGIBLE = 0.1  # share of the precision: nodes that weigh no more together are left out
_FIRST, _FIRST_OF_BLOCKS = 21, 11  # nodes on each axis of a first lattice
_MARGIN, _MARGIN_OF_BLOCKS = 5.0, 3.0  # nats below the precision asked for, where densities are cut
_MOST_OF_BLOCKS = 50_000


@dataclass(frozen=True, eq=False)
class Nodes:
    """Nodes of a rule.

    Attributes
    ----------
    tensors : mapping of str to Tensor
        The parameters, of shapes that broadcast.
    kept : array of int or slice
        Which nodes of the flattened broadcast are used: the K that weigh enough.
    log_weights : array, shape (K,)
        Normalized.
    log_total : float
        Logarithm of the sum before that: the log-evidence.
    classes : array, shape (K, C)
        Weights of the rules that the nodes split into, one a column; an integral by one of them is a product with it.
    groups : tuple of slice
        The columns that belong together, one group for each block of parameters.
    power : float
        The error of the whole is about ``scale`` times this power of the spread between the classes of a group.
    scales : tuple of float
        One for each group.
    source : object
        What the rule made them from.
    lost : float
        Weight of the nodes that were left out.
    """

    tensors: Values
    kept: Any
    log_weights: Array
    log_total: float
    classes: Array
    groups: tuple[slice, ...]
    power: float
    scales: tuple[float, ...]
    source: Any
    lost: float = 0.0

    @cached_property
    def weights(self) -> Array:
        """Weights of the nodes, shape (K,); their sum is 1."""
        return np.exp(self.log_weights)

    @property
    def size(self) -> int:
        """The number K of nodes."""
        return len(self.log_weights)

    def values(self) -> dict[str, Tensor]:
        """Each parameter at each node, shape (K,)."""
        tensors = torch.broadcast_tensors(*self.tensors.values())
        return {name: tensor.reshape(-1)[self.kept] for name, tensor in zip(self.tensors, tensors, strict=True)}

    def errors(self, functions: Array, least: float = _LEAST) -> Array:
        """Estimate the error of the mean of functions, contributed by each group; shape (groups,).

        Parameters
        ----------
        functions : array, shape (R, K)
            Values at the nodes, between 0 and 1.
        least : float
            The share of the spread that the error is at least.
        """
        means = functions @ self.classes
        whole = functions @ self.weights
        spread = np.abs(means - whole[:, None]).max(0)
        lost = self.lost / len(self.groups)
        largest = np.array([spread[group].max() for group in self.groups])
        return lost + np.maximum(self.scales * largest**self.power, least * largest)


class Rule(ABC):
    """Makes nodes for the posterior of one model."""

    precision: float

    @abstractmethod
    def start(self) -> Nodes:
        """Return the first nodes."""

    @abstractmethod
    def finer(self, nodes: Nodes, group: int) -> Nodes | None:
        """Return more nodes where a group's error was too large; None where that would be too many."""

    def evidence_errors(self, nodes: Nodes) -> Array:
        """Estimate the relative error of the evidence, contributed by each group; shape (groups,)."""
        return nodes.errors(np.ones((1, nodes.size)), least=0.0)


class LatticeRule(Rule):
    """The product of one lattice for each block of parameters.

    Parameters
    ----------
    model : ScoreModel
    log_likelihood : callable
        Of the model's parameters.
    precision : float, optional
        Default: 1e-4 for a single block, 1e-3 for several.
    """

    def __init__(self, model: ScoreModel, log_likelihood: LogLikelihood, precision: float | None = None) -> None:
        blocks = model.blocks
        self.precision = precision or (1e-4 if len(blocks) == 1 else 1e-3)
        single = len(blocks) == 1
        self._cut = (_MARGIN if single else _MARGIN_OF_BLOCKS) - math.log(self.precision)
        self._count = _FIRST if single else _FIRST_OF_BLOCKS
        self._most = MOST_NODES if single else _MOST_OF_BLOCKS
        self._coordinates = [Coordinates(model, names) for names in blocks]
        self._log_likelihood = log_likelihood
        centre = {name: torch.tensor(model.prior.location[name], dtype=torch.float64) for name in model.parameters}
        self._centre: Values = centre
        # The likelihood is the product of those of the blocks, each with the others at the centre, over this power of that.
        self._surplus = (len(blocks) - 1) * float(log_likelihood(centre)) if len(blocks) > 1 else 0.0

    @staticmethod
    def suits(model: ScoreModel) -> bool:
        """Whether no block of the model is too large for a lattice."""
        return all(len(names) <= _LARGEST_BLOCK for names in model.blocks)

    def start(self) -> Nodes:
        """Locate each block."""
        return self._nodes(
            tuple(
                locate(self._log_density(block), len(block.names), cut=self._cut, count=self._count)
                for block in self._coordinates
            )
        )

    def finer(self, nodes: Nodes, group: int) -> Nodes | None:
        """Narrow the spacing of one block's lattice."""
        lattices = list(nodes.source)
        if nodes.size * (2.25 if lattices[group].plane else 1.5) > self._most:
            return None
        lattices[group] = lattices[group].finer()
        return self._nodes(tuple(lattices))

    def evidence_errors(self, nodes: Nodes) -> Array:
        """Estimate the error in two ways, and believe the larger one."""
        return np.maximum(super().evidence_errors(nodes), [lattice.inner_error() for lattice in nodes.source])

    def _log_density(self, block: Coordinates) -> Callable[[Array], Array]:
        def log_density(points: Array) -> Array:
            values = {**self._centre, **block.values(points)}
            return self._log_likelihood(values).numpy() + block.log_prior(points)

        return log_density

    def _nodes(self, lattices: tuple[Lattice, ...]) -> Nodes:
        found = [lattice.nodes() for lattice in lattices]
        count = len(found)
        log_weights = sum_outer([one for _, one, _ in found])
        log_total = log_sum(log_weights)
        kept, lost = weighty(np.exp(log_weights - log_total), _NEGLIGIBLE * self.precision)
        indices = np.unravel_index(kept, [len(one) for _, one, _ in found])
        parities = [one[2][index] for one, index in zip(found, indices, strict=True)]
        tensors: dict[str, Tensor] = {}
        used: Any = kept
        for k, (block, (points, _, _)) in enumerate(zip(self._coordinates, found, strict=True)):
            shape = [-1 if j == k else 1 for j in range(count)]
            tensors |= {name: value.reshape(shape) for name, value in block.values(points).items()}
        if count == 1:
            tensors, used = {name: value[kept] for name, value in tensors.items()}, slice(None)
            log_weights = log_weights[indices[0]]
        else:
            log_weights = log_weights[kept]
        log_weights = log_weights - log_sum(log_weights)
        weights = np.exp(log_weights)
        columns: list[Array] = []
        groups: list[slice] = []
        for parity, lattice in zip(parities, lattices, strict=True):
            number = 4 if lattice.plane else 2
            groups.append(slice(len(columns), len(columns) + number))
            columns += [np.where(parity == one, number * weights, 0.0) for one in range(number)]
        classes = np.stack(columns).T
        log_evidence = log_total - self._surplus
        scales = tuple(_SAFETY if lattice.plane else _SAFETY_OF_LINES for lattice in lattices)
        return Nodes(tensors, used, log_weights, log_evidence, classes, tuple(groups), 2.0, scales, lattices, lost)


def weighty(weights: Array, most: float) -> tuple[NDArray[np.int64], float]:
    """Return the indices of the heaviest nodes, so many that the others weigh at most ``most``, and what those weigh."""
    order = np.sort(weights)
    sums = np.cumsum(order)
    place = min(int(np.searchsorted(sums, most)), len(order) - 1)
    return np.flatnonzero(weights >= order[place]), float(sums[place - 1]) if place else 0.0


def sum_outer(vectors: list[Array]) -> Array:
    """Return sums of one element of each vector, flattened as a tensor product."""
    total = np.zeros(1)
    for vector in vectors:
        total = np.add.outer(total, vector).ravel()
    return total
