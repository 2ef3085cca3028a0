"""Proposals: what the particles are drawn from when that is not the model itself.

A proposal is Pyro's guide: an object with ``init`` and ``step`` that samples the model's latent sites. It may read the
state and not write it. Weights then carry ``log p - log q``, so the target stays the model's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro

from ppl_scaling.models.state_space import LanguageModelStateSpace

__all__ = ["TemperatureProposal"]


class TemperatureProposal:
    """Draws steps from the language model at another temperature; one pass computes both probabilities.

    Parameters
    ----------
    model : LanguageModelStateSpace
        The model to draw for.
    temperature : float
        Below the model's: bolder steps and fewer different ones; above: more different ones.

    Raises
    ------
    ValueError
        If the temperature is not above 0.
    """

    def __init__(self, model: LanguageModelStateSpace, temperature: float) -> None:
        if not temperature > 0:
            raise ValueError(f"expected a temperature above 0, got {temperature}")
        self.model = model
        self.temperature = temperature

    def init(self, state: Any, prompts: Sequence[str]) -> None:
        """Leave the latents of ``init`` to the model's prior."""

    def step(self, state: Any, t: int) -> None:
        """Draw ``x_{t}``."""
        pyro.sample(f"x_{t}", self.model.transition(state, t).at_temperature(self.temperature))
