r"""The mode of a log-joint density and the normal approximation around it, for one problem and for thousands.

In a hierarchy the joint mode of population and problems is useless: there the spread between problems is far too large or
too small, depending on the coordinates. So the problems' own coordinates :math:`z` are first integrated out by Laplace's
method,

.. math:: \log p(g \mid y) \approx \log p(g, \hat z(g), y) - \tfrac12 \textstyle\sum_j \log\det H_j(g) + \text{const},

with :math:`\hat z(g)` the best :math:`z` for the population's :math:`g` and :math:`H_j` the curvature of problem :math:`j`
there (nested Laplace). The mode and curvature of this give the law of :math:`g`; problems follow, given :math:`g`.

Coordinates of different problems meet only through the population. One Hessian-vector product with a sum of unit vectors,
one for each problem, therefore reads one column of all :math:`H_j` at once: a handful of products, however many problems.

The approximation serves three masters: it is drawn from, it is where chains start, and it gives the coordinates in which
NUTS and SVI work. In these the posterior is close to a standard normal, so that trajectories are short.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from ppl_scaling.inference.optscale.log_joint import LogJoint

__all__ = ["SLOPE", "Mode", "Whitening", "find_mode"]

SLOPE = 1e-3
"""Largest slope, in nats for each posterior standard deviation, at what is called a mode."""

_INNER_STEPS = 60
_HALVINGS = 12
_SETTLED = 1e-6
_OUTER_STEPS = 6
_FLATTEST = 1e-6  # curvature that stands in for one that is not positive
_APART = 1e-4  # of coordinates of order one, for differences of gradients


@dataclass(frozen=True, eq=False)
class Whitening:
    """A normal law, as an affine map from standard normal coordinates.

    Attributes
    ----------
    centre : Tensor, shape (D,)
    shared, local : int Tensors, shapes (G,) and (J, L)
        Which of the D coordinates belong to the population and which to each problem.
    shared_factor : Tensor, shape (G, G)
        A square root of the covariance of the population's coordinates.
    local_factor : Tensor, shape (J, L, L)
        The same of each problem's coordinates given the population's.
    slope : Tensor, shape (J, L, G)
        How a problem's coordinates follow the population's.
    """

    centre: Tensor
    shared: Tensor
    local: Tensor
    shared_factor: Tensor
    local_factor: Tensor
    slope: Tensor

    def __call__(self, whitened: Tensor) -> Tensor:
        """Map whitened coordinates of shape (..., D) to those of the density."""
        shared = whitened[..., self.shared] @ self.shared_factor.T
        moved = torch.zeros_like(whitened).index_copy(-1, self.shared, shared)
        if self.local.numel():
            own = (self.local_factor @ whitened[..., self.local].unsqueeze(-1)).squeeze(-1)
            own = own + torch.einsum("jlg,...g->...jl", self.slope, shared)
            moved = moved.index_copy(-1, self.local.reshape(-1), own.flatten(-2))
        return self.centre + moved


class Mode(NamedTuple):
    """Where a climb ended.

    Attributes
    ----------
    whitening : Whitening
        The normal law around it.
    steepest : float
        Largest slope there, in nats for each posterior standard deviation: above ``SLOPE`` the climb has failed.
    positive : bool
        Whether the curvature is positive in all directions, as at a strict maximum.
    height : float
        Log-joint density, of the population alone in a hierarchy, up to a constant.
    """

    whitening: Whitening
    steepest: float
    positive: bool
    height: float


class _Marginal:
    """Log-density of the population's coordinates, with the problems' own integrated out by Laplace's method."""

    def __init__(self, log_joint: LogJoint, start: Tensor) -> None:
        self.log_joint = log_joint
        self.shared, self.local = log_joint.shared, log_joint.local
        self.first = start
        self.point = start.clone()
        self.slope = torch.zeros(*self.local.shape, len(self.shared), dtype=start.dtype)
        self.local_factor = torch.zeros(*self.local.shape, self.local.shape[1], dtype=start.dtype)
        self.positive = True

    def __call__(self, shared: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Log-density and its gradient; afterwards ``point`` holds the best coordinates of the problems."""
        moved = torch.from_numpy(np.array(shared)) - self.point[self.shared]
        point = self.point.index_copy(0, self.shared, self.point[self.shared] + moved)
        if not self.local.numel():
            self.point = point
            value, gradient = self._value_and_gradient(point)
            return float(value), gradient.numpy()
        point = self._settle(self._begin(point, (self.slope @ moved)))
        leaf = point.clone().requires_grad_()
        value = self.log_joint(leaf)
        (gradient,) = torch.autograd.grad(value, leaf, create_graph=True)
        band = torch.stack([self._product(gradient, leaf, one) for one in self.shared], -1)[self.local].detach()
        blocks = self._blocks(gradient, leaf)
        total = value - 0.5 * torch.linalg.slogdet(blocks).logabsdet.sum()
        (gradient,) = torch.autograd.grad(total, leaf)
        if not torch.isfinite(total) or not torch.isfinite(gradient).all():
            return -np.inf, np.zeros(len(self.shared))
        self.local_factor, self.positive = _inverse_root(blocks.detach())
        self.slope = self.local_factor @ (self.local_factor.mT @ band)
        self.point = point
        through = torch.einsum("jl,jlg->g", gradient[self.local], self.slope)
        return float(total.detach()), (gradient[self.shared] + through).numpy()

    def _begin(self, point: Tensor, follow: Tensor) -> Tensor:
        """Choose for each problem to start from where it was, to follow the population linearly, or to start afresh."""
        was, first = point[self.local], self.first[self.local]
        best, highest = was, self.terms(point)
        for candidate in (was + follow, first):
            height = self.terms(self._place(point, candidate))
            best = torch.where((height > highest).unsqueeze(-1), candidate, best)
            highest = torch.fmax(height, highest)
        return self._place(point, best)

    def _settle(self, point: Tensor) -> Tensor:
        """Move each problem to its best place, by Newton's steps that are shortened until they climb."""
        for _ in range(_INNER_STEPS):
            leaf = point.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self.log_joint(leaf), leaf, create_graph=True)
            factor, _ = _inverse_root(self._blocks(gradient, leaf).detach())
            slope = factor.mT @ gradient.detach()[self.local].unsqueeze(-1)
            slope = slope.nan_to_num(0.0, 0.0, 0.0)  # a problem where nothing is known of the slope stays where it is
            if float(slope.abs().max()) < _SETTLED:
                break
            here, step = point[self.local], (factor @ slope).squeeze(-1)
            height, length = self.terms(point), torch.ones(len(step), 1, dtype=step.dtype)
            for _ in range(_HALVINGS):
                trial = self._place(point, here + length * step)
                fallen = ~(self.terms(trial) >= height - 1e-12 * height.abs())
                if not fallen.any():
                    break
                length = torch.where(fallen.unsqueeze(-1), 0.5 * length, length)
            else:
                trial = self._place(point, here + torch.where(fallen.unsqueeze(-1), 0.0, length) * step)
            point = trial
        return point

    def terms(self, point: Tensor) -> Tensor:
        with torch.no_grad():
            return self.log_joint.terms(point)

    def _place(self, point: Tensor, local: Tensor) -> Tensor:
        return point.index_copy(0, self.local.reshape(-1), local.reshape(-1))

    def _value_and_gradient(self, point: Tensor) -> tuple[Tensor, Tensor]:
        leaf = point.clone().requires_grad_()
        value = self.log_joint(leaf)
        (gradient,) = torch.autograd.grad(value, leaf)
        return value.detach(), gradient

    def _product(self, gradient: Tensor, leaf: Tensor, where: Tensor) -> Tensor:
        direction = torch.zeros_like(leaf).index_fill(0, where.reshape(-1), 1.0)
        return torch.autograd.grad(gradient, leaf, direction, create_graph=True)[0]

    def _blocks(self, gradient: Tensor, leaf: Tensor) -> Tensor:
        """Minus the Hessian of each problem, shape (J, L, L)."""
        columns = [self._product(gradient, leaf, one)[self.local] for one in self.local.unbind(-1)]
        return -torch.stack(columns, -1)


def find_mode(log_joint: LogJoint, start: Tensor) -> Mode:
    """Climb from ``start`` of shape (D,) to the mode, and approximate the density by a normal law around it."""
    marginal = _Marginal(log_joint, start)

    def downhill(shared: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        value, gradient = marginal(shared)
        return (-value, -gradient) if np.isfinite(value) else (np.inf, np.zeros_like(gradient))

    first = start[log_joint.shared].numpy()
    climbed = minimize(downhill, first, jac=True, method="L-BFGS-B", options={"maxiter": 200})
    best = climbed.x
    for _ in range(_OUTER_STEPS):
        height, gradient = marginal(best)
        differences = [marginal(best + h)[1] - marginal(best - h)[1] for h in _APART * np.eye(len(best))]
        hessian = -torch.from_numpy(np.stack(differences) / (2 * _APART))
        factor, positive = _inverse_root(hessian)
        slope = factor.mT @ torch.from_numpy(gradient)
        steepest = float(slope.abs().max())
        if steepest < SLOPE or not positive:
            break
        trial = best + (factor @ slope).numpy()
        if not marginal(trial)[0] >= height - 1e-9 * abs(height):
            break
        best = trial
    height, _ = marginal(best)
    whitening = Whitening(
        marginal.point.detach(), log_joint.shared, log_joint.local, factor, marginal.local_factor, marginal.slope
    )
    return Mode(whitening, steepest, positive and marginal.positive, height)


def _inverse_root(blocks: Tensor) -> tuple[Tensor, bool]:
    """Return a square root of the inverse of symmetric matrices, and whether they are positive definite."""
    symmetric = 0.5 * (blocks + blocks.mT)
    known = symmetric.isfinite().all(-1, keepdim=True).all(-2, keepdim=True)
    if not known.all():  # far out, where densities overflow
        symmetric = torch.where(known, symmetric, torch.eye(blocks.shape[-1], dtype=blocks.dtype))
    values, vectors = torch.linalg.eigh(symmetric)
    return vectors * values.abs().clamp_min(_FLATTEST).rsqrt().unsqueeze(-2), bool((values > 0).all())
