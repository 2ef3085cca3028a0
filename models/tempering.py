"""A program whose groups have likelihood powers of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

__all__ = ["Tempered"]


class Tempered:
    """A language-model state space in which each group has its own power of the likelihood.

    Parameters
    ----------
    program : LanguageModelStateSpace
    powers : sequence of float
        One for each group, not negative; they take the place of the likelihood's own.

    Raises
    ------
    ValueError
        If a power is negative or not finite, or ``init`` finds another number of groups.
    """

    def __init__(self, program: Any, powers: Sequence[float]) -> None:
        self.program = program
        self.powers = tuple(powers)
        if not all(math.isfinite(power) and power >= 0 for power in self.powers):
            raise ValueError(f"expected powers to be finite numbers >= 0, got {self.powers}")

    def init(self, state: Any, prompts: Sequence[str]) -> None:
        """Run the program's ``init`` and give every particle the power of its group."""
        if len(self.powers) != state.num_groups:
            raise ValueError(f"expected a power for each of the {state.num_groups} groups, got {len(self.powers)}")
        self.program.init(state, prompts)
        slots = state["slot"]
        beta = torch.tensor(self.powers, dtype=torch.float64, device=slots.device)
        state["beta"] = beta.repeat_interleave(state.group_size)

    def step(self, state: Any, t: int) -> None:
        """Run the program's ``step``, which reads the powers."""
        self.program.step(state, t)
