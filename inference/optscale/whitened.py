"""The posterior of a score model or a hierarchy in the coordinates in which all offline fits work.

In them Laplace's approximation is a standard normal (:mod:`ppl_scaling.inference.optscale.laplace`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyro
import torch
from numpy.typing import NDArray
from pyro import poutine
from torch import Tensor

from ppl_scaling.inference.optscale.convergence import Convergence
from ppl_scaling.inference.optscale.laplace import find_mode
from ppl_scaling.inference.optscale.log_joint import LogJoint, ProblemLogJoint, ProgramLogJoint, recorded
from ppl_scaling.inference.optscale.score_fit import ObservedScores, ScoreFit
from ppl_scaling.models.scores.base import ScoreModel
from ppl_scaling.models.scores.hierarchy import HierarchicalScores
from ppl_scaling.seeding import seeded

__all__ = ["WhitenedPosterior", "isolated"]


class WhitenedPosterior:
    """The log-joint density of a model and data in whitened coordinates.

    Parameters
    ----------
    model : ScoreModel or HierarchicalScores
    scores, mask, features, correct
        As for :func:`~ppl_scaling.inference.optscale.fitting.fit_nuts`.

    Attributes
    ----------
    size : int
        The number D of coordinates.
    batched : bool
        Whether points of shape (..., D) may be given.
    hierarchical : bool
    mode : Mode
        Where the coordinates have their origin.
    """

    def __init__(self, model: Any, scores: Any, *, mask: Any = None, features: Any = None, correct: Any = None) -> None:
        self._model = model
        self._log_joint, self._data = _log_joint(model, scores, mask, features, correct)
        self.size, self.batched = self._log_joint.size, self._log_joint.batched
        self.hierarchical = isinstance(model, HierarchicalScores)
        with pyro.validation_enabled(False):
            self.mode = find_mode(self._log_joint, self._log_joint.start())

    def __call__(self, point: Tensor) -> Tensor:
        """Log-joint density at ``point`` of shape (D,), up to a constant."""
        return self._log_joint(self.mode.whitening(point))

    def draws(self, points: Tensor) -> dict[str, NDArray[np.float64]]:
        """Turn points of shape (chain, draw, D) into named parameters of shape (chain, draw, ...)."""
        named = self._log_joint.constrain(self.mode.whitening(points.flatten(0, 1)))
        return {name: value.reshape(*points.shape[:2], *value.shape[1:]).numpy() for name, value in named.items()}

    def log_density(self, points: Tensor) -> NDArray[np.float64]:
        """Log-joint density at points of shape (chain, draw, D)."""
        with torch.no_grad(), pyro.validation_enabled(False):
            if self.batched:
                return self(points).numpy()
            density = recorded(self, torch.zeros(self.size, dtype=torch.float64))
            values = [float(density(point)) for point in points.flatten(0, 1)]
        return np.array(values).reshape(points.shape[:2])

    def fit(
        self,
        method: str,
        draws: Mapping[str, NDArray[np.float64]],
        statistics: Mapping[str, NDArray],
        diagnostics: Convergence,
        settings: Mapping[str, Any],
        seed: int,
    ) -> ScoreFit:
        """Put a result together."""
        hierarchy = self._model if self.hierarchical else None
        law = self._model.model if self.hierarchical else self._model
        return ScoreFit(method, law, hierarchy, self._data, draws, statistics, diagnostics, settings, seed)


@contextmanager
def isolated(seed: int) -> Iterator[None]:
    """Run a block with seeded generators and a parameter store of its own, seen by none of the caller's Pyro handlers."""
    with seeded(seed), pyro.get_param_store().scope(), poutine.block():
        yield


def _log_joint(
    model: ScoreModel | HierarchicalScores, scores: Any, mask: Any, features: Any, correct: Any
) -> tuple[LogJoint, ObservedScores]:
    if isinstance(model, HierarchicalScores):
        data = ObservedScores.of_many(scores, mask, correct, features)
        names = ("scores", "mask", "features", "correct")
        arguments = {name: getattr(data, name) for name in names if getattr(data, name) is not None}
        return ProgramLogJoint(model, arguments, model.model.parameters), data
    if not isinstance(model, ScoreModel):
        raise TypeError(f"expected a ScoreModel or HierarchicalScores, got {type(model).__name__}")
    if mask is not None or features is not None:
        raise ValueError(f"expected mask and features with HierarchicalScores only, got them with {type(model).__name__}")
    data = ObservedScores.of_one(scores, correct)
    return ProblemLogJoint(model, data.scores, data.correct), data
