"""Keeps the rows of the sessions in step with the particles of the filter.

The filter moves particles between steps: it resamples them and drops groups that have ended. It knows tensors only. So the
program writes every particle's slot number into the state; after the filter has moved them these numbers tell where each
particle came from, and :meth:`ParticleSessions.follow` makes the sessions follow, in one gather, leaving out the
particles that have ended.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ppl_scaling import host
from ppl_scaling.interfaces import LanguageModelSession, RewardModelSession
from ppl_scaling.models.token_block import AcceptedStep

__all__ = ["ParticleSessions"]


class ParticleSessions:
    """The language model's and the reward model's session of one run.

    Attributes
    ----------
    slots : Tensor, shape (R,)
        The active particle that each row belongs to.
    texts, token_blocks : dict of int to list
        Text and tokens of each step ``t`` for every particle in the batch at that step; empty where not active.
    """

    def __init__(self, language: LanguageModelSession, reward: RewardModelSession | None) -> None:
        self.language = language
        self.reward = reward
        self.slots = torch.arange(language.num_rows, device=language.device)
        self._row_of_slot = self.slots
        self.texts: dict[int, list[str]] = {}
        self.token_blocks: dict[int, list[tuple[int, ...]]] = {}
        self._t: int | None = None

    def follow(self, state: Any, t: int) -> Tensor:
        """Bring the rows in line with ``state`` at the beginning of step ``t``, once, whoever asks first.

        Returns
        -------
        Tensor, shape (K,), bool
            Which particles are active.
        """
        if self._t != t:
            self._t = t
            self._align(state)
        return ~(state["finished"] | state["truncated"])

    def look_ahead(self, state: Any) -> Tensor:
        """Bring the rows in line with ``state`` before its particles are moved, to try something on them.

        The state must not be locked: every particle gets the number of its slot anew.

        Returns
        -------
        Tensor, shape (K,), bool
            Which particles are active.
        """
        for other in state.sessions.values():
            if other is not self and isinstance(other, ParticleSessions):
                other.realign(state)
        active = self._align(state)
        state["slot"] = torch.arange(len(active), device=active.device)
        return active

    def realign(self, state: Any) -> None:
        """Bring the rows in line with ``state`` because its slots are about to be numbered anew."""
        self._align(state)

    def _align(self, state: Any) -> Tensor:
        active = ~(state["finished"] | state["truncated"])
        self.slots = host.positions(active)
        rows = self._row_of_slot[state["slot"][self.slots]]
        # Resampling may leave no active particle at all; the sessions then have nothing more to do.
        if len(rows):
            self.language.select(rows)
        if len(rows) and self.reward is not None:
            self.reward.select(rows.to(self.reward.device))
        self._row_of_slot = torch.full(active.shape, -1, dtype=torch.long, device=active.device)
        self._row_of_slot[self.slots] = torch.arange(len(self.slots), device=active.device)
        return active

    def note(self, t: int, step: AcceptedStep, num_particles: int) -> None:
        """Keep what the rows wrote at step ``t`` for the trajectories of the result."""
        self.texts[t], self.token_blocks[t] = [""] * num_particles, [()] * num_particles
        for slot, text, tokens in zip(host.as_list(self.slots), step.texts, step.token_blocks, strict=True):
            self.texts[t][slot], self.token_blocks[t][slot] = text, tokens
