"""Scores as the fitted model would have them: replicas of the data, to be held against it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ppl_scaling.inference.optscale.score_fit import ScoreFit

__all__ = ["posterior_predictive"]


def posterior_predictive(fit: ScoreFit, seed: int) -> NDArray[np.float64]:
    """Draw a replica of the data for each posterior draw: as many scores, of the same problems.

    Parameters
    ----------
    fit : ScoreFit
    seed : int
        The global random generators are left as they are.

    Returns
    -------
    float array, shape (chain, draw, n)
        In the order of ``fit.observed``.

    Examples
    --------
    >>> from ppl_scaling.inference.optscale import fit_laplace
    >>> from ppl_scaling.models.scores import LogitNormalScores
    >>> fit = fit_laplace(LogitNormalScores(), [0.7, 0.9, 0.8], num_draws=10, seed=0)
    >>> posterior_predictive(fit, seed=0).shape
    (1, 10, 3)
    """
    generator = torch.Generator().manual_seed(seed)
    width, replicas = fit.data.mask.shape[-1], []
    for chain in range(fit.num_chains):
        values = {name: torch.from_numpy(fit.draws[name][chain]) for name in fit.model.parameters}
        drawn = fit.model.sample(values, (width,), generator=generator).movedim(0, -1)  # (draw, n) or (draw, J, n_max)
        replicas.append(drawn[..., fit.data.mask].numpy())
    return np.stack(replicas)
