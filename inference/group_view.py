"""The record of one group of particles, read back as arrays and trajectories on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ppl_scaling.inference.genealogy import Genealogy
from ppl_scaling.inference.records import StepRecord, latent_name
from ppl_scaling.inference.results import Trajectory
from ppl_scaling.inference.smc_filter import SMCFilter
from ppl_scaling.interfaces import AnswerFormat
from ppl_scaling.models.sessions import ParticleSessions

__all__ = ["Costs", "GroupView", "read_group"]


@dataclass(frozen=True)
class Costs:
    """What a run has cost one group; costs add up.

    Attributes
    ----------
    generated_tokens : int
        Tokens drawn; steps that were replayed are not.
    lm_tokens_forwarded, prm_tokens_forwarded, prm_calls : int
        Replayed steps are counted.
    draft_tokens_forwarded : int
    """

    generated_tokens: int = 0
    lm_tokens_forwarded: int = 0
    prm_tokens_forwarded: int = 0
    prm_calls: int = 0
    draft_tokens_forwarded: int = 0

    def __add__(self, other: Costs) -> Costs:
        return Costs(*(mine + its for mine, its in zip(vars(self).values(), vars(other).values(), strict=True)))


class GroupView:
    """The record of one group, as arrays on the CPU."""

    def __init__(self, records: list[StepRecord], sessions: ParticleSessions, group: int, num_particles: int) -> None:
        self.records = records
        self._sessions = sessions
        self._positions = [record.groups.index(group) for record in records]
        self._size = num_particles
        self.genealogy = Genealogy(
            ancestors=self.series("ancestors"), resampled=self.series("resampled"), num_particles=num_particles
        )
        self._sites: dict[tuple[int, str], NDArray[Any]] = {}

    def slots(self, t: int) -> slice:
        """Slots of the group in the batch of step ``t``."""
        return slice(self._positions[t] * self._size, (self._positions[t] + 1) * self._size)

    def series(self, name: str) -> NDArray[Any]:
        """Return a field of the records of steps 1 to T."""
        rows = [
            getattr(record, name)[position].cpu().numpy()
            for record, position in zip(self.records, self._positions, strict=True)
        ]
        return np.stack(rows)[1:]  # those of ``init`` say what an empty array looks like

    def last(self, name: str) -> NDArray[Any]:
        """Return a field of the last record."""
        return getattr(self.records[-1], name)[self._positions[-1]].cpu().numpy()

    def site(self, t: int, name: str) -> NDArray[Any]:
        """Values of a site of step ``t``, shape (N, ...)."""
        if (t, name) not in self._sites:
            self._sites[t, name] = self.records[t].sites[name][self.slots(t)].cpu().numpy()
        return self._sites[t, name]

    def texts(self, t: int) -> list[str]:
        """Text of each particle's step ``t``."""
        return self._sessions.texts[t][self.slots(t)]

    def num_tokens(self, t: int) -> list[int]:
        """Length of each particle's step ``t``, 0 where it was not active."""
        return [len(block) for block in self.token_blocks(t)]

    def token_blocks(self, t: int) -> list[tuple[int, ...]]:
        """Tokens of each particle's step ``t``, none where it was not active."""
        return self._sessions.token_blocks[t][self.slots(t)]

    @property
    def generated_tokens(self) -> int:
        """Tokens drawn, those of particles that did not survive included."""
        return sum(sum(self.num_tokens(t)) for t in range(1, len(self.records)))

    @property
    def num_blocks(self) -> int:
        """Reasoning steps drawn, those of particles that did not survive included."""
        return sum(length > 0 for t in range(1, len(self.records)) for length in self.num_tokens(t))

    def latents(self) -> dict[str, NDArray[Any]]:
        """Sites other than blocks, scores and log-likelihoods, followed along the lineages.

        Steps may use one name for sites of their own, so a site of step ``t`` ends in ``_{t}`` here, as ``x_{t}`` does.
        """
        lineages = self.genealogy.lineages()
        return {
            latent_name(name, t): self.site(t, name)[lineages[t]]
            for t, record in enumerate(self.records)
            for name in record.sites
            if name not in (f"x_{t}", f"score_{t}", f"log_likelihood_{t}")
        }

    def log_likelihoods(self) -> NDArray[np.float64]:
        """Log-likelihood of each final particle, before any power; NaN if the program does not keep it."""
        lineages = self.genealogy.lineages()
        for t in range(len(self.records) - 1, 0, -1):
            name = f"log_likelihood_{t}"
            if name in self.records[t].sites:  # it does not change where no particle of the batch goes on
                return self.site(t, name)[lineages[t]]
        return np.full(self._size, 0.0 if self._sessions.reward is None else np.nan)

    def trajectories(self, weights: NDArray[Any], answer_format: AnswerFormat) -> tuple[Trajectory, ...]:
        """Put together what each final particle wrote, step by step along its lineage."""
        log_weights = self.last("log_weights")
        lineages = self.genealogy.lineages()
        finished, truncated = self.last("finished"), self.last("truncated")
        written = [self.token_blocks(t) for t in range(1, len(self.records))]
        texts_written = [self.texts(t) for t in range(1, len(self.records))]
        trajectories = []
        for particle in range(self._size):
            texts, scores, blocks, totals = [], [], [], [0.0]
            for t in range(1, len(self.records)):
                slot = int(lineages[t, particle])
                if not written[t - 1][slot]:
                    break
                blocks.append(written[t - 1][slot])
                texts.append(texts_written[t - 1][slot])
                if f"score_{t}" in self.records[t].sites:
                    scores.append(float(self.site(t, f"score_{t}")[slot]))
                if f"log_likelihood_{t}" in self.records[t].sites:
                    totals.append(float(self.site(t, f"log_likelihood_{t}")[slot]))
            probabilities = torch.tensor(scores, dtype=torch.float64).sigmoid().tolist()
            text = "".join(texts)
            trajectories.append(
                Trajectory(
                    steps=tuple(step for step in map(str.strip, texts) if step),
                    text=text,
                    scores=tuple(probabilities),
                    score=probabilities[-1] if probabilities else float("nan"),
                    log_weight=float(log_weights[particle]),
                    weight=float(weights[particle]),
                    answer=answer_format.extract(text) if finished[particle] else None,
                    finished=bool(finished[particle]),
                    truncated=bool(truncated[particle]),
                    num_tokens=sum(map(len, blocks)),
                    token_blocks=tuple(blocks),
                    log_likelihoods=tuple(new - old for old, new in pairwise(totals)),  # NaN after minus infinity
                )
            )
        return tuple(trajectories)


def read_group(
    smc: SMCFilter, group: int, given: Mapping[int, Sequence[Sequence[int]]] | None = None
) -> tuple[GroupView, Costs]:
    """Read back what a filter has written in a group and what that has cost; ``given`` steps were not drawn."""
    sessions: ParticleSessions = smc.state.sessions["particles"]
    view = GroupView([record for record in smc.history if group in record.groups], sessions, group, smc.group_size)
    written = [view.token_blocks(t) for t in range(1, len(view.records))]
    replayed = sum(
        len(blocks[particle]) for particle, steps in (given or {}).items() for blocks, _ in zip(written, steps, strict=False)
    )
    draft: ParticleSessions | None = smc.state.sessions.get("draft")
    cost = Costs(
        generated_tokens=view.generated_tokens - replayed,
        lm_tokens_forwarded=int(sessions.language.tokens_forwarded[group]),
        prm_tokens_forwarded=0 if sessions.reward is None else int(sessions.reward.tokens_forwarded[group]),
        prm_calls=0 if sessions.reward is None else view.num_blocks,
        draft_tokens_forwarded=0 if draft is None else int(draft.language.tokens_forwarded[group]),
    )
    return view, cost
