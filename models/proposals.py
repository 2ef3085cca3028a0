"""Proposals: what the particles are drawn from when that is not the model itself.

A proposal is Pyro's guide: an object with ``init`` and ``step`` that samples the model's latent sites. It may read the
state and not write it. Weights then carry ``log p - log q``, so the target stays the model's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyro
import torch

from ppl_scaling.arguments import check_temperature
from ppl_scaling.interfaces import PAD
from ppl_scaling.models.state_space import LanguageModelStateSpace
from ppl_scaling.models.token_block import TokenBlock
from ppl_scaling.token_law import check_truncation

__all__ = ["GivenSteps", "SamplingProposal"]


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
        check_truncation(top_k, top_p)
        self.model = model
        self.temperature = None if temperature is None else check_temperature(temperature)
        self.top_k = top_k
        self.top_p = top_p

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._given())})"

    def init(self, state: Any, prompts: Sequence[str]) -> None:
        """Leave the latents of ``init`` to the model's prior."""

    def law(self, state: Any, t: int) -> TokenBlock:
        """Return what ``x_{t}`` is drawn from."""
        return self.model.transition(state, t).proposal(self.temperature, self.top_k, self.top_p)

    def step(self, state: Any, t: int) -> None:
        """Draw ``x_{t}``."""
        pyro.sample(f"x_{t}", self.law(state, t))

    def _given(self) -> list[str]:
        settings = {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p}
        return [f"{name}={value}" for name, value in settings.items() if value is not None]


class GivenSteps:
    """Takes the steps of some particles from trajectories that are known, and draws all others as another proposal does.

    A taken step weighs as if it had been drawn: with the proposal's probability in the denominator. So a reference
    trajectory in conditional SMC has the weight of its own prefix, and a trajectory that is replayed up to some step and
    goes on freely has the weight of a drawn one.

    Parameters
    ----------
    model : LanguageModelStateSpace
    trajectories : mapping of int to mapping of int to sequence of token blocks
        ``trajectories[group][particle]`` are the steps of that particle, from the first one; after the last of them the
        particle is free. Groups are those of the beginning of the run, particles positions within their group.
    proposal : object with a method ``law``, optional
        Such as :class:`SamplingProposal`; default: the model itself.
    """

    def __init__(
        self,
        model: LanguageModelStateSpace,
        trajectories: Mapping[int, Mapping[int, Sequence[Sequence[int]]]],
        proposal: SamplingProposal | None = None,
    ) -> None:
        self.model = model
        self.trajectories = trajectories
        self.proposal = proposal

    def init(self, state: Any, prompts: Sequence[str]) -> None:
        """Leave the latents of ``init`` to the model's prior; a proposal may have something to open."""
        if self.proposal is not None:
            self.proposal.init(state, prompts)

    def step(self, state: Any, t: int) -> None:
        """Take or draw ``x_{t}``."""
        law = self.model.transition(state, t) if self.proposal is None else self.proposal.law(state, t)
        blocks = {
            position * state.group_size + particle: steps[t - 1]
            for position, group in enumerate(state.groups)
            for particle, steps in self.trajectories.get(group, {}).items()
            if t <= len(steps)
        }
        if blocks:
            longest = max(map(len, blocks.values()))
            rows = [list(blocks.get(slot, ())) for slot in range(len(law.active))]
            given = torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])
            law = law.taking(given.to(law.active.device))
        pyro.sample(f"x_{t}", law)
