"""Whether draws can be trusted: R-hat and effective sample size of chains, and the Pareto k of approximations.

References
----------
Vehtari, Gelman, Simpson, Carpenter and Buerkner (2021), Rank-normalization, folding, and localization: an improved R-hat.
Yao, Vehtari, Simpson and Gelman (2018), Yes, but did it work? Evaluating variational inference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ppl_scaling.draw_statistics import ess, rhat

__all__ = ["Convergence", "chain_convergence"]

Array = NDArray[np.float64]

R_HAT = 1.01
ESS = 100.0  # for each chain
PARETO_K = 0.7


@dataclass(frozen=True, eq=False)
class Convergence:
    """What speaks for and against a fit.

    Attributes
    ----------
    r_hat : mapping of str to float array
        Rank-normalised split R-hat of every component, with the draws' shape (...); NaN for a value that does not vary
        and for a single chain. Empty for approximations, whose draws are independent.
    ess : mapping of str to float array
        Effective sample size (bulk), likewise.
    num_divergent : int
        Trajectories of NUTS that went astray.
    pareto_k : float
        Tail index (:func:`~ppl_scaling.pareto.pareto_k`) of the importance weights from the approximation to the posterior,
        over all coordinates together: below 0.7 they are close. NaN for NUTS. In a hierarchy with many problems it is large
        for any approximation, because small errors of each problem multiply; there it is not held against the fit.
    reasons : tuple of str
        Why the fit should not be trusted; empty if nothing speaks against it.
    """

    r_hat: Mapping[str, Array]
    ess: Mapping[str, Array]
    num_divergent: int
    pareto_k: float
    reasons: tuple[str, ...]

    @property
    def converged(self) -> bool:
        """Whether nothing speaks against the fit."""
        return not self.reasons

    @property
    def worst_r_hat(self) -> float:
        """The largest R-hat; NaN if there is none."""
        return max((float(np.nanmax(one)) for one in self.r_hat.values() if not np.isnan(one).all()), default=math.nan)

    @property
    def smallest_ess(self) -> float:
        """The smallest effective sample size; NaN if there is none."""
        return min((float(np.nanmin(one)) for one in self.ess.values() if not np.isnan(one).all()), default=math.nan)


def chain_convergence(draws: Mapping[str, Array], diverging: NDArray[np.bool_]) -> Convergence:
    """Judge Markov chains: R-hat below 1.01, 100 effective draws for each chain, and no divergence.

    Parameters
    ----------
    draws : mapping of str to float array, shape (chain, draw, ...)
    diverging : bool array, shape (chain, draw)
    """
    r_hat = {name: _per_component(value, rhat) for name, value in draws.items()}
    effective = {name: _per_component(value, ess) for name, value in draws.items()}
    found = Convergence(r_hat, effective, int(diverging.sum()), math.nan, ())
    enough = ESS * diverging.shape[0]
    reasons = []
    if diverging.shape[0] < 2:
        reasons.append("a single chain has nothing to agree with")
    elif not found.worst_r_hat < R_HAT:
        reasons.append(f"R-hat of {_worst(r_hat, 1)} is {found.worst_r_hat:.3f}, expected below {R_HAT}")
    if not found.smallest_ess >= enough:
        reasons.append(
            f"{_worst(effective, -1)} has {found.smallest_ess:.0f} effective draws, expected at least {enough:.0f}"
        )
    if found.num_divergent:
        reasons.append(f"{found.num_divergent} of {diverging.size} trajectories diverged: raise target_accept_prob")
    return Convergence(r_hat, effective, found.num_divergent, math.nan, tuple(reasons))


def _per_component(draws: Array, measure: Callable[[Array], float]) -> Array:
    flat = draws.reshape(*draws.shape[:2], -1)
    return np.array([measure(flat[..., place]) for place in range(flat.shape[-1])]).reshape(draws.shape[2:])


def _worst(measures: Mapping[str, Array], sign: int) -> str:
    """Name the component with the extreme value, the largest for ``sign`` 1, such as ``location[17]``."""
    values = {name: sign * one for name, one in measures.items() if not np.isnan(one).all()}
    if not values:
        return "every parameter"
    name = max(values, key=lambda name: float(np.nanmax(values[name])))
    where = np.unravel_index(np.nanargmax(values[name]), values[name].shape)
    return name + (f"[{', '.join(str(int(place)) for place in where)}]" if where else "")
