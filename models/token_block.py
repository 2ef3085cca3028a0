"""One reasoning step of every particle as a Pyro distribution.

``TokenBlock`` is a distribution over padded token blocks. Sampling it lets the language model write a step; the
log-probability of what was written comes from the session's memory, so the model is never run twice for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from ppl_scaling import host
from ppl_scaling.arguments import check_temperature
from ppl_scaling.interfaces import PAD, LanguageModelSession
from ppl_scaling.token_law import TokenLaw

__all__ = ["AcceptedStep", "TokenBlock", "broadcast_temperature"]


@dataclass(frozen=True, eq=False)
class AcceptedStep:
    """A step that has become the past of R rows.

    Attributes
    ----------
    texts : list of str
        Text of each row's step.
    token_blocks : list of tuple of int
        Tokens of each row's step.
    finished, truncated : Tensor, shape (R,), bool
        How the rows stand after it.
    """

    texts: list[str]
    token_blocks: list[tuple[int, ...]]
    finished: Tensor
    truncated: Tensor


class TokenBlock(TorchDistribution):
    """The language model's law of the next reasoning step.

    Batch shape ``(K,)``, one element for each particle; a value has shape ``(K, L)``, tokens padded with -1, where ``L`` is
    the length of the longest step. No step is drawn yet when Pyro asks for the event shape, so that stands at ``(1,)``. A
    particle that is not active has the empty step with probability 1.

    Parameters
    ----------
    session : LanguageModelSession
        Has one row for each active particle.
    active : Tensor, shape (K,), bool
    slots : Tensor, shape (R,)
        Positions of the active particles among the ``K``, in the order of the session's rows.
    law : TokenLaw
        How the next token of each of the ``K`` particles is drawn.
    target : TokenBlock, optional
        The law that this one is a proposal for. Its log-probability is computed alongside when this one is sampled.
    given : Tensor, shape (K, L), optional
        Blocks that are taken instead of drawn, for the particles whose row does not begin with padding. They have the
        probability that the law gives them, as if they had been drawn.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.independent(constraints.integer, 1)
    has_rsample = False

    def __init__(
        self,
        session: LanguageModelSession,
        active: Tensor,
        slots: Tensor,
        law: TokenLaw,
        target: TokenBlock | None = None,
        given: Tensor | None = None,
    ) -> None:
        super().__init__(batch_shape=active.shape, event_shape=torch.Size((1,)), validate_args=False)
        self.session = session
        self.active = active
        self.slots = slots
        self.law = law
        self.target = target
        self.given = given

    def proposal(
        self,
        temperature: float | Tensor | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        allowed: Tensor | None = None,
    ) -> TokenBlock:
        """Return a proposal for this law: the same model with its tokens drawn otherwise.

        Parameters
        ----------
        temperature : float or Tensor, shape (K,), optional
            Default: as in this law. Above 0; the values of a tensor are not looked at.
        top_k, top_p : int, float, optional
            Default: no truncation.
        allowed : Tensor, shape (V,), bool, optional
            Tokens that may be drawn. Where the target gives the others no weight either, nothing is lost.

        Raises
        ------
        ValueError
            If a setting is out of its range.
        """
        tempered = self.law.temperature if temperature is None else broadcast_temperature(temperature, self.active)
        law = TokenLaw(tempered, top_k, top_p, allowed)
        return TokenBlock(self.session, self.active, self.slots, law, target=self)

    def taking(self, given: Tensor) -> TokenBlock:
        """Return this law with the blocks of some particles given, shape ``(K, L)``; rows of padding are drawn.

        Raises
        ------
        ValueError
            If the shape does not fit.
        """
        if given.dim() != 2 or len(given) != len(self.active):
            raise ValueError(f"expected given blocks of shape ({len(self.active)}, L), got {tuple(given.shape)}")
        return TokenBlock(self.session, self.active, self.slots, self.law, self.target, given)

    def expand(self, batch_shape: Any, _instance: Any = None) -> TokenBlock:
        """Return ``self``: the particles are the batch.

        Raises
        ------
        ValueError
            If another batch shape is asked for.
        """
        if torch.Size(batch_shape) != self.batch_shape:
            raise ValueError(f"expected batch shape {tuple(self.batch_shape)}, got {tuple(batch_shape)}")
        return self

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Write one step for each active particle; shape ``(K, L)``, int64.

        Raises
        ------
        ValueError
            If ``sample_shape`` is not empty: a session has one future for each row.
        """
        if tuple(sample_shape):
            raise ValueError(f"expected an empty sample_shape, got {tuple(sample_shape)}")
        if not len(self.slots):
            return torch.full((len(self.active), 1), PAD, dtype=torch.long, device=self.active.device)
        record: Sequence[TokenLaw] = () if self.target is None else (self.target.law.rows(self.slots),)
        given = None if self.given is None else self.given[self.slots]
        rows = self.session.sample(self.law.rows(self.slots), record, given)
        block = torch.full((len(self.active), rows.shape[1]), PAD, dtype=torch.long, device=rows.device)
        block[self.slots] = rows
        return block

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of a step of each particle, shape ``(K,)``, float64; 0 where not active.

        Parameters
        ----------
        value : Tensor, shape (K, L) or (L,)

        Raises
        ------
        ValueError
            If the shape does not fit, or an active particle's step is empty.
        """
        log_prob = torch.zeros(len(self.active), dtype=torch.float64, device=self.active.device)
        if len(self.slots):
            log_prob[self.slots] = self.session.log_prob(self._rows(value), self.law.rows(self.slots))
        return log_prob

    def accept(self, value: Tensor, last_step: bool) -> AcceptedStep:
        """Make ``value`` the past of the active particles.

        Parameters
        ----------
        value : Tensor, shape (K, L) or (L,)
        last_step : bool
            Whether no step may follow: what has not finished by then is truncated.

        Raises
        ------
        ValueError
            As :meth:`log_prob` does.
        """
        if not len(self.slots):
            return AcceptedStep([], [], self.active[self.slots], self.active[self.slots])
        self.log_prob(value)  # lets a session that has not seen the block (a conditioned site) compute it now
        rows = self._rows(value)
        finished, truncated = self.session.accept(rows, last_step)
        blocks = [tuple(token for token in block if token != PAD) for block in host.as_list(rows)]
        return AcceptedStep(self.session.decode(rows), blocks, finished, truncated)

    def _rows(self, value: Tensor) -> Tensor:
        """Blocks of the session's rows, shape (R, L)."""
        if value.shape[-1:] == value.shape:
            value = value.expand(len(self.active), -1)
        if value.dim() != 2 or len(value) != len(self.active):
            raise ValueError(f"expected token blocks of shape ({len(self.active)}, L) or (L,), got {tuple(value.shape)}")
        rows = value[self.slots]
        if host.is_true((rows[:, 0] == PAD).any()):
            raise ValueError("expected a step of at least one token for every active particle, got an empty one")
        return rows


def broadcast_temperature(temperature: float | Tensor, active: Tensor) -> Tensor:
    """One temperature for each particle, shape (K,). A number is checked to be above 0, a tensor is not: that would wait."""
    if isinstance(temperature, Tensor):
        return temperature.expand(active.shape)
    return torch.full(active.shape, check_temperature(temperature), device=active.device)
