"""The log-joint density of parameters and scores over one flat vector of unconstrained coordinates.

Samplers, optimisers and approximations need a function of a vector; people and programs think in named parameters. This file
goes between: for a score model of one problem, and for a Pyro program over many problems.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import sum_rightmost
from pyro.infer.autoguide.initialization import init_to_mean
from pyro.infer.mcmc.util import initialize_model
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from ppl_scaling.models.scores.base import ScoreModel

__all__ = ["LogJoint", "ProblemLogJoint", "ProgramLogJoint", "recorded"]

PLATE = "problem"
"""Sites in this plate belong to one problem each; all others to the population."""


class LogJoint(ABC):
    """A log-density over vectors of D coordinates.

    Attributes
    ----------
    shared : int Tensor, shape (G,)
        The coordinates of the population; for a single problem all of them.
    local : int Tensor, shape (J, L)
        The coordinates of each problem. Given the shared ones, those of different problems are independent.
    batched : bool
        Whether it takes points of shape (..., D) as well.
    """

    batched: bool = False
    shared: Tensor
    local: Tensor

    @property
    def size(self) -> int:
        """The number D of coordinates."""
        return len(self.shared) + self.local.numel()

    @abstractmethod
    def __call__(self, point: Tensor) -> Tensor:
        """Log-joint density at ``point`` of shape (D,), up to a constant; differentiable twice."""

    def terms(self, point: Tensor) -> Tensor:
        """Share of each problem in the log-joint density given the shared coordinates, shape (J,)."""
        return torch.zeros(0, dtype=point.dtype)

    @abstractmethod
    def start(self) -> Tensor:
        """Return a point, shape (D,), from which to climb."""

    @abstractmethod
    def constrain(self, points: Tensor) -> dict[str, Tensor]:
        """Turn points of shape (S, D) into named values of shape (S, ...)."""


class ProblemLogJoint(LogJoint):
    """A score model and the scores of one problem.

    It is the density of the model's Pyro program, computed without running the program: from sufficient statistics where the
    model has some.

    Parameters
    ----------
    model : ScoreModel
    scores : Tensor, shape (n,)
    correct : Tensor, shape (n,), optional
        For models of score and correctness.
    """

    batched = True

    def __init__(self, model: ScoreModel, scores: Tensor, correct: Tensor | None = None) -> None:
        self.model = model
        self.shared = torch.arange(len(model.parameters))
        self.local = torch.empty((0, 0), dtype=torch.long)
        self._log_likelihood: Callable[[dict[str, Tensor]], Tensor]
        if correct is not None:
            self._log_likelihood = lambda values: model.log_likelihood(scores, values, correct)  # type: ignore[call-arg]
        else:
            statistics = model.statistics(scores)
            self._log_likelihood = lambda values: model.log_likelihood_of(statistics, values)

    def __call__(self, point: Tensor) -> Tensor:
        """Log-joint density at ``point`` of shape (..., D)."""
        values = dict(zip(self.model.parameters, point.unbind(-1), strict=True))
        return self.model.prior.log_prob(values) + self._log_likelihood(values)

    def start(self) -> Tensor:
        """Return the prior's centre."""
        return torch.tensor([self.model.prior.location[name] for name in self.model.parameters], dtype=torch.float64)

    def constrain(self, points: Tensor) -> dict[str, Tensor]:
        """Name the columns of ``points``."""
        return dict(zip(self.model.parameters, points.unbind(-1), strict=True))


class ProgramLogJoint(LogJoint):
    """A Pyro program over many problems, with the change of volume of Pyro's transforms to unconstrained coordinates.

    Parameters
    ----------
    program : callable
        Its sample sites in the plate ``"problem"`` belong to one problem each.
    arguments : dict
        Keyword arguments that it is called with.
    returned : tuple of str
        Deterministic sites that :meth:`constrain` returns beside the shared sample sites.
    """

    def __init__(self, program: Any, arguments: dict[str, Any], returned: tuple[str, ...]) -> None:
        self._program, self._arguments, self._returned = program, arguments, returned
        initial, _, self._transforms, trace = initialize_model(program, (), arguments, init_strategy=init_to_mean)
        self._slices: dict[str, tuple[slice, torch.Size]] = {}
        shared, local, at, starts = [], [], 0, []
        for name, value in initial.items():
            index = torch.arange(at, at + value.numel())
            self._slices[name] = slice(at, at + value.numel()), value.shape
            if _in_plate(trace.nodes[name]):
                local.append(index.reshape(len(value), -1))
            else:
                shared.append(index)
            starts.append(value.detach().reshape(-1).to(torch.float64))
            at += value.numel()
        self._shared_names = tuple(name for name in initial if not _in_plate(trace.nodes[name]))
        self.shared = torch.cat(shared)
        self.local = torch.cat(local, -1) if local else torch.empty((0, 0), dtype=torch.long)
        self._start = torch.cat(starts)

    def __call__(self, point: Tensor) -> Tensor:
        """Log-joint density at ``point`` of shape (D,)."""
        shared, local = self._terms(point)
        return shared + local.sum()

    def terms(self, point: Tensor) -> Tensor:
        """Share of each problem in the log-joint density given the shared coordinates, shape (J,)."""
        return self._terms(point)[1]

    def start(self) -> Tensor:
        """Return the centre of the prior."""
        return self._start

    def constrain(self, points: Tensor) -> dict[str, Tensor]:
        """Run the program at each point and keep the shared sites and those asked for."""
        draws: dict[str, list[Tensor]] = {}
        with torch.no_grad(), pyro.validation_enabled(False):
            for point in points:
                nodes = self._trace(point).nodes
                for name in (*self._shared_names, *self._returned):
                    draws.setdefault(name, []).append(nodes[name]["value"])
        return {name: torch.stack(values) for name, values in draws.items()}

    def _named(self, point: Tensor) -> dict[str, Tensor]:
        return {name: point[where].reshape(shape) for name, (where, shape) in self._slices.items()}

    def _terms(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """Log-joint density of the shared sites, and of the sites of each problem given them."""
        trace, unconstrained = self._trace(point), self._named(point)
        trace.compute_log_prob()
        shared, local = point.new_zeros(()), point.new_zeros(len(self.local))
        for name, site in trace.nodes.items():
            if site["type"] != "sample" or site["infer"].get("_deterministic") or site_is_subsample(site):
                continue
            log_prob = site["log_prob"]
            if name in unconstrained:
                change = self._transforms[name].log_abs_det_jacobian(site["value"], unconstrained[name])
                log_prob = log_prob - sum_rightmost(change, change.dim() - log_prob.dim())
            if _in_plate(site):
                local = local + log_prob
            else:
                shared = shared + log_prob.sum()
        return shared, local

    def _trace(self, point: Tensor) -> Any:
        values = {name: self._transforms[name].inv(value) for name, value in self._named(point).items()}
        return poutine.trace(poutine.condition(self._program, values)).get_trace(**self._arguments)


def _in_plate(site: dict[str, Any]) -> bool:
    return any(frame.name == PLATE for frame in site["cond_indep_stack"])


def recorded(density: Callable[[Tensor], Tensor], point: Tensor) -> Callable[[Tensor], Tensor]:
    """Record ``density`` at ``point`` with torch.jit: running the recording is several times quicker than a Pyro program.

    The recording is compared with ``density`` in value and gradient, at three points. If it cannot be made or differs,
    ``density`` itself is returned.
    """
    try:
        with pyro.validation_enabled(False), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what may be wrong in a recording: it is compared below
            recording = torch.jit.trace(density, (point,), check_trace=False)
            for shift in (0.0, 0.3, -0.2):
                here = [_value_and_gradient(one, point + shift) for one in (recording, density)]
                for ours, theirs in zip(*here, strict=True):
                    if not torch.allclose(ours, theirs, rtol=1e-9, atol=1e-9, equal_nan=True):
                        return density
    except (RuntimeError, TypeError, ValueError):
        return density
    return recording


def _value_and_gradient(density: Callable[[Tensor], Tensor], point: Tensor) -> tuple[Tensor, Tensor]:
    point = point.clone().requires_grad_()
    value = density(point)
    return value.detach(), torch.autograd.grad(value, point)[0]
