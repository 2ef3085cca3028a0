"""Proposals: what the particles are drawn from when that is not the model itself.

A proposal is Pyro's guide: an object with ``init`` and ``step`` that samples the model's latent sites. It may read the
state and not write it. Weights then carry ``log p - log q``, so the target stays the model's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro

from ppl_scaling.models.state_space import LanguageModelStateSpace
from ppl_scaling.token_law import check_truncation

__all__ = ["SamplingProposal"]


class SamplingProposal:
    r"""Draws steps from the language model with other sampling settings; one pass computes both probabilities.

    The weights carry :math:`\log p(x_t) - \log q(x_t)`. At another temperature the target stays the model's. A truncated
    proposal never draws what it cuts off, so the target is the model's posterior *restricted* to answers all of whose
    tokens the proposal keeps, and the evidence is the probability of the observations together with such an answer: no
    more than the model's own. To make the truncation part of the model, give ``top_k`` and ``top_p`` to
    :class:`~ppl_scaling.models.state_space.LanguageModelStateSpace`.

    Parameters
    ----------
    model : LanguageModelStateSpace
        The model to draw for.
    temperature : float, optional
        Below the model's: likelier steps, and fewer different ones; above: more different ones. Default: the model's.
    top_k : int, optional
        Draw from the k most probable tokens.
    top_p : float, optional
        Draw from the fewest most probable tokens that have at least this probability.

    Raises
    ------
    ValueError
        If a setting is out of its range.

    Examples
    --------
    >>> from ppl_scaling.backends.finite import FiniteLanguageModel
    >>> from ppl_scaling.inference import ParticleFilter
    >>> from ppl_scaling.models import LanguageModelStateSpace
    >>> model = LanguageModelStateSpace(FiniteLanguageModel({"": {"a": 0.7, "b": 0.2, "$": 0.1}}), None, max_steps=3)
    >>> result = ParticleFilter(model, SamplingProposal(model, top_p=0.8)).run("?", seed=0)
    >>> round(result.log_evidence, 3)  # every token is one of the two kept: 3 log 0.9
    -0.316
    """

    def __init__(
        self,
        model: LanguageModelStateSpace,
        *,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> None:
        if temperature is not None and not temperature > 0:
            raise ValueError(f"expected a temperature above 0, got {temperature}")
        check_truncation(top_k, top_p)
        self.model = model
        self.temperature = temperature
        self.top_k = top_k
        self.top_p = top_p

    def __repr__(self) -> str:
        settings = {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p}
        given = ", ".join(f"{name}={value}" for name, value in settings.items() if value is not None)
        return f"{type(self).__name__}({given})"

    def init(self, state: Any, prompts: Sequence[str]) -> None:
        """Leave the latents of ``init`` to the model's prior."""

    def step(self, state: Any, t: int) -> None:
        """Draw ``x_{t}``."""
        law = self.model.transition(state, t)
        pyro.sample(f"x_{t}", law.proposal(self.temperature, self.top_k, self.top_p))
