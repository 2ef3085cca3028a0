"""One pass of a particle filter over groups that are chains, read back for the next one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ppl_scaling.errors import PPLScalingError
from ppl_scaling.inference.conditional_smc import ConditionalSMCFilter, Reference
from ppl_scaling.inference.group_view import GroupView
from ppl_scaling.inference.results import Trajectory
from ppl_scaling.inference.smc_filter import SMCFilter
from ppl_scaling.interfaces import AnswerFormat
from ppl_scaling.models.sessions import ParticleSessions
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
    generated_tokens, lm_tokens_forwarded, prm_tokens_forwarded, draft_tokens_forwarded, prm_calls : int
        As in a result. The reference's tokens are not drawn; what ancestor sampling reads is counted in the others.
    """

    trajectories: tuple[Trajectory, ...]
    weights: NDArray[np.float64]
    draw: Reference
    log_evidence: float
    generated_tokens: int
    lm_tokens_forwarded: int
    prm_tokens_forwarded: int
    draft_tokens_forwarded: int
    prm_calls: int


def read_sweeps(smc: SMCFilter, model: Any, answer_format: AnswerFormat) -> list[Sweep | PPLScalingError]:
    """Read every group of a filter that has run, and draw from each."""
    sessions: ParticleSessions = smc.state.sessions["particles"]
    lm_tokens = sessions.language.tokens_forwarded.tolist()
    prm_tokens = [0] * smc.num_groups if sessions.reward is None else sessions.reward.tokens_forwarded.tolist()
    draft: ParticleSessions | None = smc.state.sessions.get("draft")
    draft_tokens = [0] * smc.num_groups if draft is None else draft.language.tokens_forwarded.tolist()
    outcomes: list[Sweep | PPLScalingError] = []
    for group in range(smc.num_groups):
        if group in smc.failures:
            outcomes.append(smc.failures[group])
            continue
        records = [record for record in smc.history if group in record.groups]
        view = GroupView(records, sessions, group, smc.group_size)
        given, num_rehearsed = 0, 0
        if isinstance(smc, ConditionalSMCFilter):
            given = sum(map(len, smc.references[group].token_blocks))
            num_rehearsed = smc.num_rehearsed[group]
        log_weights = view.last("log_weights")
        weights = np.exp(log_weights - np.logaddexp.reduce(log_weights))
        trajectories = view.trajectories(weights, answer_format)
        outcomes.append(
            Sweep(
                trajectories=trajectories,
                weights=weights,
                draw=_draw(view, trajectories, weights, model),
                log_evidence=float(view.last("log_evidence")),
                generated_tokens=view.generated_tokens - given,
                lm_tokens_forwarded=lm_tokens[group],
                prm_tokens_forwarded=prm_tokens[group],
                draft_tokens_forwarded=draft_tokens[group],
                prm_calls=0 if sessions.reward is None else view.num_blocks + num_rehearsed,
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
