"""One pass of a particle filter over groups that are chains, read back for the next one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ppl_scaling.errors import PPLScalingError
from ppl_scaling.inference.conditional_smc import ConditionalSMCFilter, Reference
from ppl_scaling.inference.group_view import Costs, GroupView, read_group
from ppl_scaling.inference.particle_summary import normalized
from ppl_scaling.inference.results import Trajectory
from ppl_scaling.inference.smc_filter import SMCFilter
from ppl_scaling.interfaces import AnswerFormat
from ppl_scaling.token_law import draw_categorical

__all__ = ["Sweep", "read_sweeps"]


@dataclass(frozen=True, eq=False)
class Sweep:
    """What one group wrote in one pass.

    Attributes
    ----------
    trajectories : tuple of Trajectory
        The weighted particles.
    weights : float array, shape (N,)
    draw : Reference
        One of them, drawn from the weights: where the chain goes on from.
    log_evidence : float
    costs : Costs
        The reference's tokens are not drawn; what ancestor sampling reads is counted in the others.
    """

    trajectories: tuple[Trajectory, ...]
    weights: NDArray[np.float64]
    draw: Reference
    log_evidence: float
    costs: Costs


def read_sweeps(smc: SMCFilter, model: Any, answer_format: AnswerFormat) -> list[Sweep | PPLScalingError]:
    """Read every group of a filter that has run, and draw from each."""
    outcomes: list[Sweep | PPLScalingError] = []
    for group in range(smc.num_groups):
        if group in smc.failures:
            outcomes.append(smc.failures[group])
            continue
        if isinstance(smc, ConditionalSMCFilter):
            view, costs = read_group(smc, group, {0: smc.references[group].token_blocks})
            costs += Costs(prm_calls=smc.num_rehearsed[group])
        else:
            view, costs = read_group(smc, group)
        weights = normalized(view.last("log_weights"))
        trajectories = view.trajectories(weights, answer_format)
        outcomes.append(
            Sweep(
                trajectories=trajectories,
                weights=weights,
                draw=_draw(view, trajectories, weights, model),
                log_evidence=float(view.last("log_evidence")),
                costs=costs,
            )
        )
    return outcomes


def _draw(view: GroupView, trajectories: tuple[Trajectory, ...], weights: NDArray[np.float64], model: Any) -> Reference:
    chosen = int(draw_categorical(torch.from_numpy(weights)[None]))
    log_likelihood = torch.tensor(view.log_likelihoods()[chosen], dtype=torch.float64)
    likelihood = getattr(model, "likelihood", None)
    return Reference(
        token_blocks=trajectories[chosen].token_blocks,
        latents={name: values[chosen] for name, values in view.latents().items()},
        log_likelihood=float(log_likelihood if likelihood is None else likelihood.tempered(log_likelihood)),
        trajectory=trajectories[chosen],
    )
