"""Independent completions: drawn as one batch, each with what it costs, and the votes and results that are made of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppl_scaling import host
from ppl_scaling.errors import PPLScalingError
from ppl_scaling.inference.answers import Answer, answer_posterior
from ppl_scaling.inference.baselines.base import Baseline, put_together
from ppl_scaling.inference.genealogy import Genealogy
from ppl_scaling.inference.method import OnStep, drive
from ppl_scaling.inference.results import Result, Trajectory
from ppl_scaling.inference.smc_filter import SMCFilter
from ppl_scaling.interfaces import AnswerFormat
from ppl_scaling.models.sessions import ParticleSessions
from ppl_scaling.models.state_space import LanguageModelStateSpace

__all__ = ["Completion", "CompletionsResult", "TokenCost", "draw_completions", "failure", "fields", "in_proportion", "vote"]


@dataclass(frozen=True)
class TokenCost:
    """What one completion takes; the tokens of the problem itself are in the cost of its first completion of a batch.

    Attributes
    ----------
    generated_tokens, lm_tokens_forwarded, prm_tokens_forwarded, prm_calls : int
    """

    generated_tokens: int
    lm_tokens_forwarded: int
    prm_tokens_forwarded: int
    prm_calls: int

    def without_reward_model(self) -> TokenCost:
        """Say what it takes if nothing is scored."""
        return TokenCost(self.generated_tokens, self.lm_tokens_forwarded, 0, 0)


@dataclass(frozen=True)
class Completion:
    """One independent completion.

    Attributes
    ----------
    trajectory : Trajectory
        Its weight is NaN: that is for a method to say.
    cost : TokenCost
    error : PPLScalingError or None
        If the program itself has given it probability zero; it counts as truncated then.
    """

    trajectory: Trajectory
    cost: TokenCost
    error: PPLScalingError | None = None


def draw_completions(
    program: LanguageModelStateSpace, prompts: Sequence[str], answer_format: AnswerFormat, on_step: OnStep | None = None
) -> list[Completion]:
    """Draw one completion for each prompt; a prompt that is to have several stands there several times.

    Each is a group of one particle, so it leaves the batch when it ends and the sessions count its tokens apart.
    """
    smc = SMCFilter(program, None, 1, num_groups=len(prompts))
    drive(smc, prompts, program.max_steps, on_step)
    sessions: ParticleSessions = smc.state.sessions["particles"]
    texts: list[list[str]] = [[] for _ in prompts]
    blocks: list[list[tuple[int, ...]]] = [[] for _ in prompts]
    scores: list[list[float]] = [[] for _ in prompts]
    finished, truncated = [False] * len(prompts), [False] * len(prompts)
    for record in smc.history[1:]:
        logits = record.sites.get(f"score_{record.t}")
        taken = [] if logits is None else host.as_list(logits.double().sigmoid())
        assert record.finished is not None and record.truncated is not None  # the program keeps both
        ends, cuts = host.as_list(record.finished.flatten()), host.as_list(record.truncated.flatten())
        for slot, group in enumerate(record.groups):
            texts[group].append(sessions.texts[record.t][slot])
            blocks[group].append(sessions.token_blocks[record.t][slot])
            if taken:
                scores[group].append(taken[slot])
            finished[group], truncated[group] = ends[slot], cuts[slot]
    lm_tokens = host.as_list(sessions.language.tokens_forwarded)
    prm_tokens = [0] * len(prompts) if sessions.reward is None else host.as_list(sessions.reward.tokens_forwarded)
    completions = []
    for group in range(len(prompts)):
        error = smc.failures.get(group)
        ended = finished[group] and error is None, truncated[group] or error is not None
        trajectory = put_together(texts[group], blocks[group], scores[group], *ended, answer_format)
        calls = 0 if sessions.reward is None else len(blocks[group])
        cost = TokenCost(trajectory.num_tokens, int(lm_tokens[group]), int(prm_tokens[group]), calls)
        completions.append(Completion(trajectory, cost, error))
    return completions


@dataclass(frozen=True, eq=False, repr=False)
class CompletionsResult(Result):
    """Independent completions of a problem, with the weights of a method.

    Attributes
    ----------
    costs : tuple of TokenCost
        What each trajectory took; their sums are the token counts of the result.
    """

    costs: tuple[TokenCost, ...]

    @property
    def num_completions(self) -> int:
        """How many there are."""
        return len(self.trajectories)

    def _details(self) -> dict[str, Any]:
        return {"num_completions": self.num_completions}


def vote(
    trajectories: Sequence[Trajectory], weights: NDArray[np.float64], answer_format: AnswerFormat
) -> tuple[tuple[Trajectory, ...], tuple[Answer, ...]]:
    """Trajectories with their weights, and the shares of the answers with standard errors for independent draws."""
    alone = Genealogy(np.zeros((0, len(weights)), dtype=np.int64), np.zeros(0, dtype=bool), len(weights))
    answers = answer_posterior([one.answer for one in trajectories], weights, alone, answer_format)
    weighted = tuple(
        replace(one, weight=weight, log_weight=math.log(weight) if weight else -math.inf)
        for one, weight in zip(trajectories, weights.tolist(), strict=True)
    )
    return weighted, answers


def fields(
    method: Baseline,
    problem: str,
    trajectories: tuple[Trajectory, ...],
    answers: tuple[Answer, ...],
    costs: Sequence[TokenCost],
    seed: int,
) -> dict[str, Any]:
    """Fields of a result whose trajectories are all that was drawn."""
    return {
        "problem": problem,
        "method": method.method,
        "answer": answers[0].answer if answers else None,
        "answers": answers,
        "no_answer_probability": math.fsum(one.weight for one in trajectories if one.answer is None),
        "trajectories": trajectories,
        "generated_tokens": sum(cost.generated_tokens for cost in costs),
        "lm_tokens_forwarded": sum(cost.lm_tokens_forwarded for cost in costs),
        "prm_tokens_forwarded": sum(cost.prm_tokens_forwarded for cost in costs),
        "prm_calls": sum(cost.prm_calls for cost in costs),
        "seconds": 0.0,
        "seed": seed,
        "configuration": method.configuration,
        "costs": tuple(costs),
    }


def failure(completions: Sequence[Completion]) -> PPLScalingError | None:
    """Return the error of a problem all of whose completions are impossible."""
    if all(one.error is not None for one in completions):
        return completions[0].error
    return None


def in_proportion(scores: Sequence[float]) -> NDArray[np.float64]:
    """Normalise scores; all the same if every one is 0. What died before its first step has the score NaN and counts 0."""
    known = np.nan_to_num(scores)
    total = math.fsum(known)
    return known / total if total else np.full(len(scores), 1 / len(scores))
