"""Exact inference by listing every trajectory, for models small enough.

This is what every sampler of the library is held against. It shares with them the likelihood's increments and nothing
else: no sessions, no blocks, no weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ppl_scaling.errors import AllWeightsZeroError
from ppl_scaling.inference.answers import group_answers
from ppl_scaling.interfaces import AnswerFormat, EnumerableLanguageModel, EnumerableRewardModel
from ppl_scaling.models.state_space import LanguageModelStateSpace
from ppl_scaling.token_law import TokenLaw

__all__ = ["ExactPosterior", "ExactTrajectory", "enumerate_posterior"]


@dataclass(frozen=True)
class ExactTrajectory:
    """One possible answer in full.

    Attributes
    ----------
    steps : tuple of str
        Text of each step, the end token left out.
    text : str
        All of it.
    log_prior : float
        Log-probability under the language model.
    log_joint : float
        With the likelihood of all observations.
    probability : float
        Posterior probability.
    finished, truncated : bool
    """

    steps: tuple[str, ...]
    text: str
    log_prior: float
    log_joint: float
    probability: float
    finished: bool
    truncated: bool


@dataclass(frozen=True, repr=False)
class ExactPosterior:
    """All trajectories of positive probability, most probable first, and the exact evidence."""

    trajectories: tuple[ExactTrajectory, ...]
    log_evidence: float

    def __repr__(self) -> str:
        return f"ExactPosterior(log_evidence={self.log_evidence:.3f}, trajectories={len(self.trajectories)})"

    def answers(self, answer_format: AnswerFormat) -> dict[str | None, float]:
        """Posterior over answers; None holds the trajectories that have none."""
        found = [answer_format.extract(one.text) if one.finished else None for one in self.trajectories]
        numbers = group_answers(found, answer_format)
        names: dict[int | None, str | None] = {None: None}
        posterior: dict[str | None, float] = {}
        for answer, number, one in zip(found, numbers, self.trajectories, strict=True):
            name = names.setdefault(number, answer)
            posterior[name] = posterior.get(name, 0.0) + one.probability
        return posterior


def enumerate_posterior(model: LanguageModelStateSpace, prompt: str, *, max_trajectories: int = 1_000_000) -> ExactPosterior:
    """List the trajectories of a model with finite language and reward models, and weigh them.

    Parameters
    ----------
    model : LanguageModelStateSpace
        Its language model must be able to list its steps, its reward model to score a given text.
    prompt : str
    max_trajectories : int
        Gives up beyond this many.

    Raises
    ------
    TypeError
        If the models cannot be enumerated.
    ValueError
        If there are too many trajectories.
    AllWeightsZeroError
        If no trajectory is possible.
    """
    language, reward, likelihood = model.language_model, model.reward_model, model.likelihood
    if not isinstance(language, EnumerableLanguageModel):
        raise TypeError(f"expected a language model with a method 'steps', got {type(language).__name__}")
    if reward is not None and not isinstance(reward, EnumerableRewardModel):
        raise TypeError(f"expected a reward model with a method 'score_logit', got {type(reward).__name__}")
    law = TokenLaw(torch.tensor([model.temperature], dtype=torch.float64), model.top_k, model.top_p)
    leaves: list[tuple[tuple[str, ...], str, float, float, bool]] = []

    def increment(text: str, logit_before: float) -> tuple[float, float]:
        if reward is None:
            return 0.0, math.inf
        logit = reward.score_logit(prompt, text)
        after, before = torch.tensor([logit, logit_before], dtype=torch.float64)
        return float(likelihood.tempered(likelihood.log_increment(after, before))), logit

    def extend(steps: tuple[str, ...], text: str, num_tokens: int, prior: float, weight: float, logit: float) -> None:
        for step, length, log_prob, finished, exhausted in language.steps(
            prompt,
            text,
            num_tokens,
            law=law,
            max_step_tokens=model.max_step_tokens,
            max_tokens=model.max_tokens,
        ):
            gain, next_logit = increment(text + step, logit)
            so_far = (*steps, step), text + step, num_tokens + length, prior + log_prob, weight + gain
            if finished or exhausted or len(so_far[0]) == model.max_steps:
                leaves.append((so_far[0], so_far[1], so_far[3], so_far[3] + so_far[4], finished))
                if len(leaves) > max_trajectories:
                    raise ValueError(f"expected at most {max_trajectories} trajectories, got more; make the model smaller")
            else:
                extend(*so_far, next_logit)

    extend((), "", 0, 0.0, 0.0, math.inf)
    log_joints = torch.tensor([leaf[3] for leaf in leaves], dtype=torch.float64)
    log_evidence = float(torch.logsumexp(log_joints, 0))
    if log_evidence == -math.inf:
        raise AllWeightsZeroError(model.max_steps, 0, "y")
    trajectories = [
        ExactTrajectory(steps, text, prior, joint, math.exp(joint - log_evidence), finished, not finished)
        for steps, text, prior, joint, finished in leaves
        if joint > -math.inf
    ]
    return ExactPosterior(tuple(sorted(trajectories, key=lambda one: -one.probability)), log_evidence)
