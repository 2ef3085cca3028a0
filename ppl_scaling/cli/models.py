"""The models that the options of a command stand for, once they are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ppl_scaling.cli.options import SAMPLING, ModelOptions
from ppl_scaling.cli.settings import state_space_settings
from ppl_scaling.interfaces import LanguageModel, RewardModel
from ppl_scaling.models import DraftProposal, LanguageModelStateSpace, SamplingProposal

__all__ = ["Models"]


@dataclass(frozen=True)
class Models:
    """Loaded models, which any number of state spaces may share."""

    language_model: LanguageModel
    reward_model: RewardModel
    options: ModelOptions
    draft_language_model: LanguageModel | None = None

    def state_space(self, **given: Any) -> LanguageModelStateSpace:
        """Make the model of a run; ``given`` settings of likelihood and sampling win over the options."""
        likelihood = self.options.likelihood_with(given, self.reward_model)
        sampling = {name: given.get(name, getattr(self.options, name, None)) for name in SAMPLING}
        settings = state_space_settings(self.options.preset, **sampling)
        return LanguageModelStateSpace(self.language_model, self.reward_model, likelihood, **settings)

    def proposal(
        self, program: LanguageModelStateSpace, *, draft: bool | None = None, **drawing: Any
    ) -> SamplingProposal | DraftProposal | None:
        """Make what draws the steps; None for the model itself.

        Parameters
        ----------
        program : LanguageModelStateSpace
        draft : bool, optional
            Whether the draft model draws; default: if there is one.
        **drawing
            Temperature and truncation.

        Raises
        ------
        ValueError
            If ``draft`` is no truth value, there is no draft model to draw, or it does not agree with the model.
        """
        if not isinstance(draft, bool | None):
            raise ValueError(f"expected draft to be true or false, got {draft!r}")
        if draft and self.options.draft is None:
            raise ValueError("expected --draft with a language model for draft=true, got none")
        if self.draft_language_model is not None and draft is not False:
            return DraftProposal(program, self.draft_language_model, **drawing)
        return SamplingProposal(program, **drawing) if drawing else None
