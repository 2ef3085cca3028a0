r"""Ancestor sampling: which particle's past the reference's future goes on from.

In conditional SMC the reference keeps its own past, so the early steps of a chain hardly ever change: all lineages meet in
the reference. Where a group is resampled, ancestor sampling draws the reference's ancestor anew, with probability

.. math::

    P(a = i) \propto W_{t-1}^i \, \frac{\gamma(x_{<t}^i, x'_{t:T})}{\gamma(x_{<t}^i)}
      = W_{t-1}^i \prod_{s=t}^{T} p_\mathrm{LM}(x'_s \mid c, x_{<t}^i, x'_{t:s-1})\, g_s(x_{<t}^i, x'_{t:s})

with :math:`x'` the reference, :math:`g` the increments of the likelihood and :math:`\gamma` the target up to a constant. It
leaves the target alone whatever the proposal is, for it is a Gibbs step on the ancestor.

The reference's future is rehearsed behind every particle that goes on: the language model reads it and the reward model
scores it. That costs, for each resampling before step :math:`t`, :math:`N` times the tokens of the steps :math:`t` to
:math:`T` in either model. With ``lookahead=L`` only the next :math:`L` steps are read; that is cheaper and **not exact**.

A particle that has ended can't be the past of a reference that goes on, and the other way round; nor can one behind which
the steps do not fit, or end elsewhere. Those have probability zero.

References
----------
Lindsten, Jordan and Schön (2014), Particle Gibbs with ancestor sampling, JMLR 15, arXiv 1401.0604.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ppl_scaling import host
from ppl_scaling.errors import ScoreError
from ppl_scaling.models.sessions import ParticleSessions
from ppl_scaling.models.state_space import LanguageModelStateSpace

__all__ = ["Continuations", "check_rehearsable", "rehearse"]

Steps = Sequence[Sequence[int]]


@dataclass(frozen=True, eq=False)
class Continuations:
    """What the futures of the references are worth behind each particle.

    Attributes
    ----------
    log_ratios : Tensor, shape (G, N)
        Logarithm of the target with the future by the target without it.
    num_scored : list of int, length G
        Steps that the reward model scored for it.
    """

    log_ratios: Tensor
    num_scored: list[int]


def check_rehearsable(model: Any) -> None:
    """Refuse programs of which it is not known what a step adds to the target, so that steps can't be tried.

    Raises
    ------
    TypeError
        If the steps are not those of ``LanguageModelStateSpace``.
    """
    own = type(model)
    for name in ("step", "advance", "transition"):
        if getattr(own, name, None) is not getattr(LanguageModelStateSpace, name):
            raise TypeError(
                f"expected a model with the method {name!r} of LanguageModelStateSpace, as steps are weighed that have not "
                f"been taken (by ancestor sampling or a look-ahead); got {own.__name__} with another one"
            )


def rehearse(
    model: LanguageModelStateSpace, state: Any, t: int, futures: Sequence[Steps | None], lookahead: int | None
) -> Continuations:
    """Weigh the futures of the references behind every particle, before step ``t``.

    Parameters
    ----------
    model : LanguageModelStateSpace
    state : ParticleState
        Its particles have not been moved since the last step.
    t : int
    futures : sequence of (sequence of token blocks, or None), length G
        Steps of each group's reference from ``t`` on, none if it has ended; None for groups that are not asked for.
    lookahead : int, optional
        Steps that are read.
    """
    sessions: ParticleSessions = state.sessions["particles"]
    active = sessions.look_ahead(state)
    size, slots = state.group_size, host.as_list(sessions.slots)
    log_ratios = torch.full(active.shape, -math.inf, dtype=torch.float64, device=active.device)
    has_future = torch.tensor([bool(steps) for steps in futures], device=active.device).repeat_interleave(size)
    # Nothing follows the end, with certainty.
    log_ratios = log_ratios.masked_fill(~active & ~has_future, 0.0)
    steps = [list(futures[slot // size] or ())[:lookahead] for slot in slots]
    num_scored = [0] * len(futures)
    if any(steps):
        ends = [len(own) == len(futures[slot // size] or ()) for own, slot in zip(steps, slots, strict=True)]
        gains, scored = _rehearse_rows(model, state, t, active, steps, ends)
        wanted = torch.tensor([bool(own) for own in steps], device=active.device)
        log_ratios = log_ratios.index_put((sessions.slots,), torch.where(wanted, gains, torch.full_like(gains, -math.inf)))
        for slot, count in zip(slots, scored, strict=True):
            num_scored[slot // size] += count
    return Continuations(log_ratios.view(-1, size), num_scored)


def _rehearse_rows(
    model: LanguageModelStateSpace, state: Any, t: int, active: Tensor, steps: list[list[Sequence[int]]], ends: list[bool]
) -> tuple[Tensor, list[int]]:
    """Log-probability and log-likelihood of the steps of each row, shape (R,), and how many steps were scored."""
    sessions: ParticleSessions = state.sessions["particles"]
    slots = sessions.slots
    law = model.token_law(state, active).rows(slots)
    tried = sessions.language.rehearse(steps, law, model.max_steps - t + 1)
    gains, ended = tried.log_prob, tried.ended
    num_scored = [0] * len(steps)
    if sessions.reward is not None:
        possible = host.as_list(gains > -math.inf)
        texts = [own if go else [] for own, go in zip(tried.texts, possible, strict=True)]
        num_scored = [len(own) for own in texts]
        if any(texts):
            logits, fits = (part.to(active.device) for part in sessions.reward.rehearse(texts))
            logits = logits.double()
            _check(torch.isnan(logits) & fits, slots, t)
            num_steps = torch.tensor(num_scored, device=active.device)
            is_step = torch.arange(fits.shape[1], device=active.device) < num_steps[:, None]
            # A row ends where the reward model has no room; that must be the reference's last step.
            is_last = torch.arange(fits.shape[1], device=active.device) == num_steps[:, None] - 1
            ended = ended | (is_last & ~fits).any(1)
            gains = gains.masked_fill((is_step & ~is_last & ~fits).any(1), -math.inf)
            previous = torch.cat([state["score_logit"][slots][:, None], logits[:, :-1]], dim=1)
            power = state["beta"][slots][:, None] if "beta" in state else None
            likelihood = model.likelihood.given(state, slots)
            increments = likelihood.tempered(likelihood.log_increment(logits, previous), power)
            gains = gains + torch.where(fits, increments, torch.zeros_like(increments)).sum(1)
    must_end = torch.tensor(ends, device=active.device)
    return gains.masked_fill(ended != must_end, -math.inf), num_scored


def _check(bad: Tensor, slots: Tensor, t: int) -> None:
    if host.is_true(bad.any()):
        row, step = host.as_list(bad.nonzero())[0]
        raise ScoreError("rehearsed score", math.nan, t + step, host.as_list(slots)[row])
