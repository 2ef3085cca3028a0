r"""LLM generation as a state-space model in Pyro.

Prompt :math:`c`; the state :math:`x_t` is one reasoning step, and

.. math::

    x_t \sim p_\mathrm{LM}(\cdot \mid c, x_{<t}), \qquad y_t \sim p(\cdot \mid c, x_{\le t}), \qquad y_t = 1,

where the emission is a :class:`~ppl_scaling.models.likelihoods.Likelihood` of the reward model's score. It is an ordinary
Pyro program with ``init`` and ``step``, without a loop over time and without resampling. Subclass it, or write such an
object yourself, to make another generative model:

>>> class Diverse(LanguageModelStateSpace):                      # doctest: +SKIP
...     def init(self, state, prompts):
...         super().init(state, prompts)
...         state["temperature"] = pyro.sample("temperature", dist.LogNormal(0.0, 0.2))
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyro
import torch
from torch import Tensor

from ppl_scaling import host
from ppl_scaling.arguments import check_integer, check_temperature
from ppl_scaling.errors import ScoreError
from ppl_scaling.interfaces import LanguageModel, RewardModel
from ppl_scaling.models.likelihoods import BernoulliLikelihood, Likelihood, TwistLikelihood
from ppl_scaling.models.sessions import ParticleSessions
from ppl_scaling.models.token_block import TokenBlock, broadcast_temperature
from ppl_scaling.token_law import TokenLaw, check_truncation

__all__ = ["LanguageModelStateSpace", "default_likelihood", "name_of"]


class LanguageModelStateSpace:
    """A language model that writes step by step and a reward model that watches.

    Pyro sites of step ``t``: ``x_{t}``, the token block, and ``y_{t}``, the emission; ``score_{t}``, the logit of the
    score (NaN for a particle that the reward model never had room for), and ``log_likelihood_{t}``, of all observations so
    far and before any power, are deterministic. A particle that has ended is absorbing: its block is empty and its increment
    0. One that reaches ``max_steps`` or runs out of tokens is *truncated*: it keeps its weight.

    Entries of the state, each with the particles on its leading dimension: ``finished`` and ``truncated`` (bool),
    ``score_logit`` (logit of the score so far), ``log_likelihood``, ``slot`` (for the sessions), and two that a subclass may
    put there: ``temperature`` divides the LM's logits in place of the constant, ``beta`` is the likelihood's power in place
    of its own.

    Parameters
    ----------
    language_model : LanguageModel
    reward_model : RewardModel or None
        Without one there is no emission, and the model is the language model's own law.
    likelihood : Likelihood, optional
        Default: ``BernoulliLikelihood()`` if the reward model scores single steps, as in the paper, and
        ``TwistLikelihood()`` if it scores whole prefixes (its ``scores_prefixes``), which the other would count once more at
        every step. The power is the one that the reward model recommends (its ``likelihood_beta``), else 1.
    temperature : float, default 1.0
        Divides the LM's logits; it is part of the model, so weights do not correct for it.
    top_k, top_p : int, float, optional
        Truncate the law of every token, as part of the model too. To truncate what particles are *drawn* from and have
        the weights correct for it, use :class:`~ppl_scaling.models.proposals.SamplingProposal`.
    max_steps : int, default 20
        Longest answer in steps.
    max_step_tokens : int, default 64
        A step that has not ended by then ends there.
    max_tokens : int, optional
        Longest answer in tokens; default: what the context holds.

    Raises
    ------
    ValueError
        If a limit is no integer of at least 1, the temperature is not above 0, or the truncation is out of its range.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        reward_model: RewardModel | None,
        likelihood: Likelihood | None = None,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        max_steps: int = 20,
        max_step_tokens: int = 64,
        max_tokens: int | None = None,
    ) -> None:
        check_truncation(top_k, top_p)
        self.language_model = language_model
        self.reward_model = reward_model
        self.likelihood = default_likelihood(reward_model) if likelihood is None else likelihood
        self.temperature = check_temperature(temperature)
        self.top_k = top_k
        self.top_p = top_p
        self.max_steps = check_integer("max_steps", max_steps)
        self.max_step_tokens = check_integer("max_step_tokens", max_step_tokens)
        self.max_tokens = None if max_tokens is None else check_integer("max_tokens", max_tokens)

    @property
    def configuration(self) -> dict[str, Any]:
        """Settings, for the record of a result."""
        return {
            "model": type(self).__name__,
            "likelihood": repr(self.likelihood),
            "reward_model": name_of(self.reward_model),
            "fingerprints": [getattr(one, "fingerprint", None) for one in (self.language_model, self.reward_model)],
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "max_steps": self.max_steps,
            "max_step_tokens": self.max_step_tokens,
            "max_tokens": self.max_tokens,
        }

    def init(self, state: Any, prompts: Sequence[str]) -> None:
        """Open the sessions and set up the state.

        Parameters
        ----------
        state : ParticleState
        prompts : sequence of str
            One for each group.

        Raises
        ------
        ValueError
            If there are more prompts or fewer.
        """
        if len(prompts) != state.num_groups:
            raise ValueError(f"expected one prompt for each of the {state.num_groups} groups, got {len(prompts)}")
        language = self.language_model.start(
            prompts, state.group_size, max_step_tokens=self.max_step_tokens, max_tokens=self.max_tokens
        )
        reward = None if self.reward_model is None else self.reward_model.start(prompts, state.group_size)
        sessions = ParticleSessions(language, reward)
        state.sessions["particles"] = sessions
        state["slot"] = sessions.slots
        state["finished"] = torch.zeros_like(sessions.slots, dtype=torch.bool)
        state["truncated"] = torch.zeros_like(state["finished"])
        state["score_logit"] = torch.full(sessions.slots.shape, torch.inf, dtype=torch.float64, device=language.device)
        state["log_likelihood"] = torch.zeros_like(state["score_logit"])
        if reward is not None:
            self.likelihood.init(state)

    def step(self, state: Any, t: int) -> None:
        """Write step ``t`` (from 1) of every active particle and observe it."""
        transition = self.transition(state, t)
        token_block = pyro.sample(f"x_{t}", transition)
        self.advance(state, t, transition, token_block)

    def texts(self, state: Any, t: int) -> list[str]:
        """Text that each particle has written in step ``t``, empty where it was not active; after :meth:`step` only."""
        return state.sessions["particles"].texts[t]

    def transition(self, state: Any, t: int) -> TokenBlock:
        """Law of the token block of step ``t``; a proposal may start from it too."""
        sessions: ParticleSessions = state.sessions["particles"]
        active = sessions.follow(state, t)
        return TokenBlock(sessions.language, active, sessions.slots, self.token_law(state, active))

    def token_law(self, state: Any, active: Tensor) -> TokenLaw:
        """How the next token of each particle is drawn."""
        temperature = state["temperature"] if "temperature" in state else self.temperature
        return TokenLaw(broadcast_temperature(temperature, active), self.top_k, self.top_p)

    def advance(self, state: Any, t: int, transition: TokenBlock, token_block: Tensor) -> None:
        """Make ``token_block`` part of every active particle: contexts, ends, score and emission ``y_{t}``.

        Raises
        ------
        ScoreError
            If a score is NaN.
        """
        sessions: ParticleSessions = state.sessions["particles"]
        active, slots = transition.active, transition.slots
        step = transition.accept(token_block, last_step=t == self.max_steps)
        sessions.note(t, step, len(active))
        texts, finished, truncated = step.texts, step.finished, step.truncated
        if sessions.reward is not None and texts:
            fits = sessions.reward.fits(texts).to(active.device)
            # What the reward model has no room to score counts as cut, even if it came to an end.
            finished, truncated = finished & fits, truncated | ~fits
            logits = sessions.reward.score(texts).to(active.device).double()
            bad = torch.isnan(logits) & fits
            if host.is_true(bad.any()):
                raise ScoreError("score", math.nan, t, host.as_list(slots[bad])[0])
            before = state["score_logit"]
            scored = torch.zeros_like(active)
            scored[slots] = fits
            after = before.clone()
            after[slots] = torch.where(fits, logits, before[slots])
            state["score_logit"] = after
            # What has never been scored has the logit that likelihoods begin with; that is no score to report.
            pyro.deterministic(f"score_{t}", after.masked_fill(~scored & (before == torch.inf), math.nan))
            likelihood = self.likelihood.given(state)
            increment = likelihood.log_increment(after, before)
            total = state["log_likelihood"] + torch.where(scored, increment, torch.zeros_like(increment))
            state["log_likelihood"] = pyro.deterministic(f"log_likelihood_{t}", total)
            power = (state["beta"],) if "beta" in state else ()
            likelihood.observe(f"y_{t}", after, before, scored, *power)
        state["finished"] = state["finished"].index_put((slots,), finished)
        state["truncated"] = state["truncated"].index_put((slots,), truncated)
        state["slot"] = torch.arange(len(active), device=active.device)


def default_likelihood(reward_model: RewardModel | None, beta: float | None = None) -> Likelihood:
    """Likelihood for what the reward model scores, steps or whole prefixes, with ``beta`` or the power it recommends."""
    if beta is None:
        beta = getattr(reward_model, "likelihood_beta", 1.0)
    kind = TwistLikelihood if reward_model is not None and reward_model.scores_prefixes else BernoulliLikelihood
    return kind(beta)


def name_of(part: Any) -> str | None:
    """Name a part for the record of a result: its ``repr`` if it or a base has one of its own, else its class."""
    if part is None:
        return None
    own = any("__repr__" in vars(one) for one in type(part).__mro__[:-1])
    return repr(part) if own else type(part).__name__
