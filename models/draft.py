r"""A smaller language model as the proposal: it writes the steps, and the model's own weighs them.

Weights carry :math:`\log p(x_t) - \log q(x_t)`, so the target stays the model's posterior, restricted to what the draft
model can write. Unlike speculative decoding nothing is drawn from the large model: it reads every step once, and where the
two differ much the weights are uneven, which the effective sample size tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ppl_scaling import host
from ppl_scaling.interfaces import PAD, LanguageModel, LanguageModelSession
from ppl_scaling.models.proposals import SamplingProposal
from ppl_scaling.models.sessions import ParticleSessions
from ppl_scaling.models.state_space import LanguageModelStateSpace
from ppl_scaling.models.token_block import TokenBlock, broadcast_temperature
from ppl_scaling.token_law import TokenLaw

__all__ = ["DraftProposal", "DraftSessions"]

_MUST_AGREE = ("tokens", "end", "delimiter", "boundary", "stop", "end_tokens")


class DraftProposal(SamplingProposal):
    r"""Draws steps from another language model with the same tokens, ends and step boundaries.

    Cost: the draft model generates every token, and each passes through the model's own too, for its probability: one after
    the other, as when it draws. So nothing of the large model's work is saved; this pays where the draft is the better
    *proposal*, such as a model tuned for the task. The draft's tokens are counted as ``draft_tokens_forwarded``.

    Parameters
    ----------
    model : LanguageModelStateSpace
        The model to draw for.
    draft_language_model : LanguageModel
        On the model's device. Its context must hold what the model's holds.
    temperature : float, optional
        Of the draft; default: the model's.
    top_k, top_p : int, float, optional
        Truncate the draft's law. The target is then restricted to what is kept, as with the base class.

    Raises
    ------
    ValueError
        If a setting is out of its range, or the two language models differ in tokens, ends or boundaries.

    Examples
    --------
    >>> from ppl_scaling.backends.finite import FiniteLanguageModel
    >>> from ppl_scaling.inference import ParticleFilter
    >>> large = FiniteLanguageModel({"": {"a": 0.7, "b": 0.2, "$": 0.1}})
    >>> small = FiniteLanguageModel({"": {"a": 0.4, "b": 0.4, "$": 0.2}})
    >>> model = LanguageModelStateSpace(large, None, max_steps=3)
    >>> result = ParticleFilter(model, DraftProposal(model, small), num_particles=1000).run("?", seed=0)
    >>> abs(result.log_evidence) < 0.1  # nothing is observed: the evidence is 1
    True
    """

    def __init__(
        self,
        model: LanguageModelStateSpace,
        draft_language_model: LanguageModel,
        *,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> None:
        super().__init__(model, temperature=temperature, top_k=top_k, top_p=top_p)
        _check_agreement(model.language_model, draft_language_model)
        self.draft_language_model = draft_language_model

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join([type(self.draft_language_model).__name__, *self._given()])})"

    def init(self, state: Any, prompts: Sequence[str]) -> None:
        """Open the draft's session; the latents of ``init`` are left to the model's prior."""
        language = self.draft_language_model.start(
            prompts, state.group_size, max_step_tokens=self.model.max_step_tokens, max_tokens=self.model.max_tokens
        )
        state.sessions["draft"] = DraftSessions(language)

    def law(self, state: Any, t: int) -> TokenBlock:
        """Return what ``x_{t}`` is drawn from."""
        sessions: DraftSessions = state.sessions["draft"]
        active = sessions.follow(state, t)
        own = self.model.token_law(state, active).temperature
        temperature = own if self.temperature is None else broadcast_temperature(self.temperature, active)
        return TokenBlock(sessions.language, active, sessions.slots, TokenLaw(temperature, self.top_k, self.top_p))


class DraftSessions(ParticleSessions):
    """The draft's session of one run. At the beginning of a step it catches up with what was written in the one before."""

    def __init__(self, language: LanguageModelSession) -> None:
        super().__init__(language, None)
        self._begun = 1

    def follow(self, state: Any, t: int) -> Tensor:
        """Read the step before ``t``, then bring the rows in line with ``state``."""
        if state["slot"].device != self.language.device:
            raise ValueError(
                f"expected the draft language model on the model's device {state['slot'].device}, got {self.language.device}"
            )
        self._catch_up(state, t)
        return super().follow(state, t)

    def realign(self, state: Any) -> None:
        """Read the last step, then bring the rows in line with ``state``."""
        self._catch_up(state, 1 + max(state.sessions["particles"].token_blocks, default=0))
        super().realign(state)

    def _catch_up(self, state: Any, t: int) -> None:
        if self._begun == t:
            return
        self._begun = t
        if not len(self.slots):
            return
        written = state.sessions["particles"].token_blocks[t - 1]
        blocks = [list(written[slot]) for slot in host.as_list(self.slots)]
        longest = max(map(len, blocks))
        rows = torch.tensor([block + [PAD] * (longest - len(block)) for block in blocks], device=self.language.device)
        finished, truncated = self.language.accept(rows, last_step=False)
        ended = torch.ones(len(written), dtype=torch.bool, device=rows.device)
        ended[self.slots] = finished | truncated
        going = ~(state["finished"] | state["truncated"])
        if host.is_true((ended[state["slot"]] & going).any()):
            raise ValueError(
                f"expected the draft language model to go on after step {t - 1} wherever the model does, got a row at its "
                "end: give it the same ends and a context as long, or set max_tokens"
            )


def _check_agreement(language_model: Any, draft: Any) -> None:
    """Compare what both say of their tokens, ends and boundaries."""
    for name in _MUST_AGREE:
        if hasattr(language_model, name) and hasattr(draft, name):
            expected, got = getattr(language_model, name), getattr(draft, name)
            if expected != got:
                raise ValueError(f"expected a draft language model with {name} {expected!r} like the model's, got {got!r}")
    tokenizers = [one.tokenizer.get_vocab() for one in (language_model, draft) if hasattr(one, "tokenizer")]
    if len(tokenizers) == 2 and tokenizers[0] != tokenizers[1]:
        sizes = [len(vocabulary) for vocabulary in tokenizers]
        raise ValueError(
            f"expected a draft language model with the model's vocabulary of {sizes[0]} tokens, got another of {sizes[1]}"
        )
