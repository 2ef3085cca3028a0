r"""Moves of whole trajectories: keep the first steps, write the rest again, accept or refuse.

Target
------
:func:`cut_and_regrow` is a Markov kernel that leaves, for any power :math:`\lambda`,

.. math::  \pi_\lambda(x) \propto q(x)\, W(x)^\lambda, \qquad W(x) = p(x)\, L(x) / q(x)

invariant: :math:`p` the language model, :math:`L` the product of the likelihood's factors, and :math:`q` the proposal, by
default the language model itself, so that :math:`\pi_\lambda = p L^\lambda`. At :math:`\lambda = 1` it is the model's
posterior whatever the proposal.

A trajectory of :math:`T` steps is cut before one of them, chosen uniformly. The steps before the cut are kept, the rest is
drawn from :math:`q`, and the new trajectory, of :math:`T'` steps, is accepted with probability

.. math::  \min\Bigl(1, \bigl(W(x') / W(x)\bigr)^\lambda \; T / T'\Bigr) .

The likelihood may depend on the whole prefix. A trajectory that was cut by a limit is one like the others.

Cost
----
A move draws, on average, about half of a trajectory's tokens. The kept steps are not drawn again but pass through both
models again, so a move forwards as many tokens as writing a whole answer.

References
----------
Gilks and Berzuini (2001), Following a moving target, JRSS B 63; Goodman et al. (2008), Church (single-site moves of
programs, where the ratio of the numbers of sites comes from).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ppl_scaling.errors import PPLScalingError
from ppl_scaling.inference.group_view import Costs, GroupView, read_group
from ppl_scaling.inference.method import OnStep, drive
from ppl_scaling.inference.results import Trajectory
from ppl_scaling.inference.smc_filter import SMCFilter
from ppl_scaling.models.proposals import GivenSteps

__all__ = ["NoAnswers", "Population", "check_latents", "cut_and_regrow", "write"]

Steps = Sequence[Sequence[int]]


@dataclass(frozen=True, eq=False)
class Population:
    """N trajectories of one problem.

    Attributes
    ----------
    problem : str
    trajectories : tuple of Trajectory
        Their weights and answers have no meaning here.
    log_weights : float array, shape (N,)
        ``log W`` of each: the log-likelihood of all its steps, and ``log p - log q`` if there is a proposal.
    """

    problem: str
    trajectories: tuple[Trajectory, ...]
    log_weights: NDArray[np.float64]

    def __getitem__(self, ancestors: NDArray[np.int64]) -> Population:
        """Particles at some positions, which may be repeated."""
        chosen = tuple(self.trajectories[ancestor] for ancestor in ancestors)
        return Population(self.problem, chosen, self.log_weights[ancestors])

    def lengths(self) -> NDArray[np.int64]:
        """Count the steps of each trajectory."""
        return np.array([len(one.token_blocks) for one in self.trajectories])


class NoAnswers:
    """Leaves answers for later: most trajectories of a move are thrown away."""

    def extract(self, text: str) -> str | None:
        """Find nothing."""
        return None

    def equivalent(self, first: str, second: str) -> bool:
        """Compare as texts."""
        return first == second


def write(
    model: Any,
    proposal: Any | None,
    problems: Sequence[str],
    num_particles: int,
    *,
    given: Mapping[int, Mapping[int, Steps]] | None = None,
    num_steps: int | None = None,
    on_step: OnStep | None = None,
) -> tuple[list[Population | PPLScalingError], list[Costs]]:
    """Write trajectories of every problem in one batch, without resampling.

    Parameters
    ----------
    model, proposal
        As in the particle filter; the proposal has a method ``law``.
    problems : sequence of str
    num_particles : int
    given : mapping of int to mapping of int to sequence of token blocks, optional
        Steps that are taken instead of drawn, as in ``GivenSteps``.
    num_steps : int, optional
        Stop after this many; default: when every trajectory has ended.
    on_step : callable, optional

    Returns
    -------
    populations : list of Population or PPLScalingError
        An error for a problem none of whose trajectories is possible.
    costs : list of Costs
    """
    given = {} if given is None else given
    guide = GivenSteps(model, given, proposal) if given else proposal
    smc = SMCFilter(model, guide, num_particles, num_groups=len(problems), ess_threshold=0.5 / num_particles)
    drive(smc, problems, model.max_steps if num_steps is None else num_steps, on_step)
    populations: list[Population | PPLScalingError] = []
    costs = []
    for group, problem in enumerate(problems):
        view, cost = read_group(smc, group, given.get(group))
        costs.append(cost)
        if group in smc.failures:
            populations.append(smc.failures[group])
            continue
        check_latents(view)
        trajectories = view.trajectories(np.full(num_particles, 1 / num_particles), NoAnswers())
        populations.append(Population(problem, trajectories, view.last("log_weights")))
    return populations, costs


def cut_and_regrow(
    model: Any,
    proposal: Any | None,
    populations: Sequence[Population],
    powers: Sequence[float],
    *,
    num_steps: int | None = None,
) -> tuple[list[Population], list[NDArray[np.bool_]], list[Costs]]:
    """Move every trajectory of every population once, all in one batch.

    Parameters
    ----------
    model, proposal
        What the populations were written with.
    populations : sequence of Population
        All of one size.
    powers : sequence of float
        Power of the target for each of them.
    num_steps : int, optional
        The present: trajectories are those of the first so many steps.

    Returns
    -------
    populations : list of Population
    accepted : list of bool array, shape (N,)
    costs : list of Costs
    """
    size = len(populations[0].trajectories)
    given = {}
    for group, population in enumerate(populations):
        lengths = torch.from_numpy(population.lengths())
        kept = (torch.rand(size, dtype=torch.float64) * lengths).long().clamp(max=lengths - 1).tolist()
        given[group] = {i: one.token_blocks[: kept[i]] for i, one in enumerate(population.trajectories)}
    problems = [population.problem for population in populations]
    proposed, costs = write(model, proposal, problems, size, given=given, num_steps=num_steps)
    moved, accepted = [], []
    for old, new, power in zip(populations, proposed, powers, strict=True):
        uniform = torch.rand(size, dtype=torch.float64).numpy()
        if isinstance(new, PPLScalingError):  # nothing that was proposed is possible
            moved.append(old)
            accepted.append(np.zeros(size, dtype=bool))
            continue
        takes = np.log(uniform) < _log_ratio(old, new, power)
        chosen = [(new if take else old).trajectories[i] for i, take in enumerate(takes)]
        moved.append(replace(old, trajectories=tuple(chosen), log_weights=np.where(takes, new.log_weights, old.log_weights)))
        accepted.append(takes)
    return moved, accepted, costs


def _log_ratio(old: Population, new: Population, power: float) -> NDArray[np.float64]:
    """Logarithm of the acceptance ratio; from an impossible trajectory any possible one is accepted."""
    lengths = np.log(old.lengths() / new.lengths())
    if power == 0:
        return lengths
    change = np.full(len(lengths), -math.inf)
    possible = new.log_weights > -math.inf
    change[possible] = power * (new.log_weights[possible] - old.log_weights[possible])
    return change + lengths


def check_latents(view: GroupView) -> None:
    """Refuse programs with latents that are no token blocks: a replay would draw them again."""
    if other := sorted(view.latents()):
        raise TypeError(f"expected a model whose only latent sites are the token blocks x_t, got {', '.join(other)} as well")
