"""Beam search and diverse verifier tree search: at every step the reward model says which beams go on, with certainty.

They run on the filter, with a rule in place of resampling. What survives is chosen, not drawn, so the result samples no
posterior, there is no evidence, and no standard error is known (all are NaN). Both keep ``num_particles / beam_width`` beams
and try ``beam_width`` next steps for each, which is the convention of Snell et al. and of the search-and-learn code (whose
default width of 4 is ours).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppl_scaling.arguments import check_integer
from ppl_scaling.errors import PPLScalingError
from ppl_scaling.inference.baselines.base import Baseline, put_together
from ppl_scaling.inference.baselines.completions import in_proportion, vote
from ppl_scaling.inference.group_view import GroupView, read_group
from ppl_scaling.inference.method import OnStep, drive
from ppl_scaling.inference.results import Result, Trajectory, choose_answer
from ppl_scaling.inference.smc_filter import SMCFilter
from ppl_scaling.interfaces import AnswerFormat

__all__ = ["DVTS", "BeamSearch", "TreeSearch"]

_WIDTH = 4


class _SelectingFilter(SMCFilter):
    """A filter whose particles go on as a tree search says."""

    def __init__(self, search: TreeSearch, num_groups: int) -> None:
        super().__init__(search._program(), None, search.num_particles, num_groups=num_groups)
        self.search = search

    def choose_ancestors(self) -> tuple[Tensor, Tensor]:
        """Ask the search, once there are scores."""
        shape = self.log_weights.shape
        state = self.state
        ancestors = self.search.select(
            state["score_logit"].view(shape), state["finished"].view(shape), state["truncated"].view(shape)
        )
        return ancestors, torch.full(shape[:1], len(self.history) > 1, device=ancestors.device)


class TreeSearch(Baseline):
    """Base of the searches; a subclass says which beams go on and who votes at the end.

    Parameters
    ----------
    model : LanguageModelStateSpace
        With a reward model.
    num_particles : int, default 16
        Candidates at every step.
    beam_width : int, optional
        Next steps that are tried for each beam; it divides ``num_particles``. Default: 4, or ``num_particles`` if that is
        less.
    choice : {"best_score", "mode", "sample"}
        The answer of the candidate with the best final score, or the winner of a vote weighted by the final scores, or the
        answer of a candidate drawn with those weights.
    answer_format : AnswerFormat, optional

    Raises
    ------
    TypeError, ValueError
        If the model has no reward model, a number is below 1, or the width does not divide the number of particles.
    """

    budget: ClassVar[str | None] = "num_particles"
    scored: ClassVar[bool] = True

    def __init__(
        self,
        model: Any,
        *,
        num_particles: int = 16,
        beam_width: int | None = None,
        choice: str = "best_score",
        answer_format: AnswerFormat | None = None,
    ) -> None:
        num_particles = check_integer("num_particles", num_particles)
        beam_width = min(_WIDTH, num_particles) if beam_width is None else check_integer("beam_width", beam_width)
        if num_particles % beam_width:
            raise ValueError(f"expected num_particles to be a multiple of beam_width, got {num_particles} and {beam_width}")
        super().__init__(model, choice=choice, answer_format=answer_format)
        self.num_particles = num_particles
        self.beam_width = beam_width

    @property
    def configuration(self) -> dict[str, Any]:
        """Settings of model and method, for the record of a result."""
        return {**super().configuration, "beam_width": self.beam_width, "choice": self.choice}

    @abstractmethod
    def select(self, score_logits: Tensor, finished: Tensor, truncated: Tensor) -> Tensor:
        """Say which candidates go on.

        Parameters
        ----------
        score_logits : Tensor, shape (G, N)
        finished, truncated : Tensor, shape (G, N), bool

        Returns
        -------
        Tensor, shape (G, N)
            The candidate that each particle continues. Ties go to the candidate that stands first.
        """

    @abstractmethod
    def electorate(self, trajectories: Sequence[Trajectory], slots: Sequence[int]) -> list[int]:
        """Positions of the trajectories that the final answer is chosen from; ``slots`` says where they stood."""

    def _infer(self, problems: Sequence[str], seed: int, on_step: OnStep | None) -> list[Result | PPLScalingError]:
        smc = _SelectingFilter(self, len(problems))
        drive(smc, problems, self.model.max_steps, on_step)
        return [
            smc.failures[group] if group in smc.failures else self._result(smc, group, problem, seed)
            for group, problem in enumerate(problems)
        ]

    def _result(self, smc: SMCFilter, group: int, problem: str, seed: int) -> Result:
        view, costs = read_group(smc, group)
        ended, slots = self._ended(view)
        trajectories, answers = vote(ended, self._weights(ended, slots), self.answer_format)
        answers = tuple(replace(one, standard_error=math.nan) for one in answers)
        return Result(
            problem=problem,
            method=self.method,
            answer=choose_answer(trajectories, answers, self.choice, seed) if answers else None,
            answers=answers,
            no_answer_probability=math.fsum(one.weight for one in trajectories if one.answer is None),
            trajectories=trajectories,
            **vars(costs),
            seconds=0.0,
            seed=seed,
            configuration=self.configuration,
        )

    def _ended(self, view: GroupView) -> tuple[list[Trajectory], list[int]]:
        """Put together all candidates that have ended, and say where they stood; copies of them are left out."""
        ancestors, finished, truncated = (view.series(name) for name in ("ancestors", "finished", "truncated"))
        trajectories, slots = [], []
        for t in range(1, len(view.records)):
            for slot in np.flatnonzero(finished[t - 1] | truncated[t - 1]).tolist():
                if not view.token_blocks(t)[slot]:  # it had ended before
                    continue
                path = [slot]
                for parents in ancestors[t - 1 : 0 : -1]:
                    path.append(int(parents[path[-1]]))
                past = list(enumerate(reversed(path), start=1))
                logits = torch.tensor([view.site(s, f"score_{s}")[place] for s, place in past], dtype=torch.float64)
                trajectories.append(
                    put_together(
                        [view.texts(s)[place] for s, place in past],
                        [view.token_blocks(s)[place] for s, place in past],
                        logits.sigmoid().tolist(),
                        bool(finished[t - 1, slot]),
                        bool(truncated[t - 1, slot]),
                        self.answer_format,
                    )
                )
                slots.append(slot)
        return trajectories, slots

    def _weights(self, trajectories: Sequence[Trajectory], slots: Sequence[int]) -> NDArray[np.float64]:
        """In proportion to the final scores of those who vote, 0 for the others."""
        voters = self.electorate(trajectories, slots)
        weights = np.zeros(len(trajectories))
        weights[voters] = in_proportion([trajectories[i].score for i in voters])
        return weights


class BeamSearch(TreeSearch):
    """The best ``num_particles / beam_width`` of all candidates of a problem go on.

    A finished candidate competes with its final score and, if it is kept, takes one place; the other places are shared
    evenly by the beams that go on, the better ones first. So a beam has at least ``beam_width`` next steps. When all beams
    that are kept have finished, the search is over. Truncated candidates, which can't come to an answer, rank last. All
    candidates that have finished on the way vote, those that were not kept included. (In the search-and-learn code finished
    candidates take no place and the search goes on until all candidates of one step finish, which takes more tokens.)

    Costs at most ``num_particles`` steps, each of them scored, at every step of the longest beam.

    References
    ----------
    Snell et al. (2024), Scaling LLM test-time compute optimally, arXiv 2408.03314; Beeching, Tunstall and Rush (2024),
    Scaling test-time compute with open models.
    """

    method: ClassVar[str] = "beam search"

    def select(self, score_logits: Tensor, finished: Tensor, truncated: Tensor) -> Tensor:
        """Keep the best; places that finished beams do not need go to the others."""
        size, num_kept = self.num_particles, self.num_particles // self.beam_width
        kept = _ranked(score_logits, truncated)[:, :num_kept]
        going = ~(finished | truncated).gather(1, kept)
        num_going = going.sum(-1, keepdim=True)
        room = size - (num_kept - num_going)
        divisor = num_going.clamp(min=1)
        share = room // divisor + (going.cumsum(-1) - 1 < room % divisor)
        copies = torch.where(going, share, torch.ones_like(share))
        copies = torch.where(num_going == 0, torch.full_like(copies, self.beam_width), copies)
        copies = torch.zeros_like(score_logits, dtype=torch.long).scatter(1, kept, copies)
        places = torch.arange(size, device=copies.device).repeat(len(copies), 1)
        return torch.searchsorted(copies.cumsum(-1), places, right=True)

    def electorate(self, trajectories: Sequence[Trajectory], slots: Sequence[int]) -> list[int]:
        """Return all of them."""
        return list(range(len(trajectories)))


class DVTS(TreeSearch):
    """Diverse verifier tree search: ``num_particles / beam_width`` searches that know nothing of each other.

    Each subtree tries ``beam_width`` next steps and goes on with the best one; it is over when that one has finished.
    Truncated candidates rank last. At the end each subtree votes for the best of the candidates that have ended in it.

    Costs at most ``num_particles`` steps, each of them scored, at every step of the longest beam.

    References
    ----------
    Beeching, Tunstall and Rush (2024), Scaling test-time compute with open models.
    """

    method: ClassVar[str] = "dvts"

    def select(self, score_logits: Tensor, finished: Tensor, truncated: Tensor) -> Tensor:
        """Keep the best of each subtree."""
        shape = (-1, self.beam_width)
        best = _ranked(score_logits.reshape(shape), truncated.reshape(shape))[:, :1].view(len(score_logits), -1)
        first = torch.arange(best.shape[1], device=best.device) * self.beam_width
        return (best + first).repeat_interleave(self.beam_width, 1)

    def electorate(self, trajectories: Sequence[Trajectory], slots: Sequence[int]) -> list[int]:
        """Return the best of each subtree."""
        best: dict[int, int] = {}
        for i, slot in enumerate(slots):
            subtree = slot // self.beam_width
            if subtree not in best or _standing(trajectories[i]) > _standing(trajectories[best[subtree]]):
                best[subtree] = i
        return sorted(best.values())


def _standing(one: Trajectory) -> tuple[bool, float]:
    return one.answer is not None, one.score


def _ranked(score_logits: Tensor, truncated: Tensor) -> Tensor:
    """Positions in the last dimension, best score first; truncated candidates after all others."""
    by_score = score_logits.argsort(stable=True, dim=-1, descending=True)
    return by_score.gather(-1, truncated.gather(-1, by_score).int().argsort(stable=True, dim=-1))
