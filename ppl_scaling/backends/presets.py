r"""Prompts and sampling settings under which published results were obtained.

>>> preset = PRESETS["qwen2.5-math"]
>>> preset.for_state_space()
{'temperature': 0.8, 'top_p': None, 'max_steps': 40, 'max_step_tokens': 2048, 'max_tokens': None}

so that ``TransformersLanguageModel.from_pretrained(name, **preset.for_language_model())`` and
``LanguageModelStateSpace(language_model, reward_model, **preset.for_state_space())`` follow the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ppl_scaling.backends.stop_patterns import Boxed, StopPattern
from ppl_scaling.backends.stopping import Delimiter, StepBoundary

__all__ = ["PRESETS", "Preset", "preset_named"]


@dataclass(frozen=True)
class Preset:
    """Settings of a published experiment, all but the models and the method.

    Attributes
    ----------
    name : str
        Its key in :data:`PRESETS`, and its name on the command line.
    source : str
        Where the settings are stated.
    system_prompt : str
        Goes in front of the problem in the chat template of the language model.
    boundary : StepBoundary
        Where a reasoning step ends.
    stop : StopPattern or None
        Which texts are complete answers although the model would go on; None if only the model ends its text.
    temperature : float
        Divides the logits of the language model.
    max_steps : int
        Longest answer in steps.
    max_step_tokens : int
        Longest step in tokens.
    max_tokens : int or None
        Longest answer in tokens; None where only the steps and the model's context limit it.
    top_p : float or None
        Nucleus of the sampler; None where the whole vocabulary is sampled from.
    """

    name: str
    source: str
    system_prompt: str
    boundary: StepBoundary
    stop: StopPattern | None
    temperature: float
    max_steps: int
    max_step_tokens: int
    max_tokens: int | None = None
    top_p: float | None = None

    def for_language_model(self) -> dict[str, Any]:
        """Keyword arguments of ``TransformersLanguageModel``: ``system_prompt``, ``boundary`` and ``stop``."""
        return {"system_prompt": self.system_prompt, "boundary": self.boundary, "stop": self.stop}

    def for_state_space(self) -> dict[str, Any]:
        """Keyword arguments of ``LanguageModelStateSpace``: the sampling settings and the limits."""
        return {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_steps": self.max_steps,
            "max_step_tokens": self.max_step_tokens,
            "max_tokens": self.max_tokens,
        }


_PURI = (
    "Puri et al. (2025), arXiv 2502.01618: temperature 0.8 and steps that end at an empty line from the paper, 40 steps of "
    "at most 2048 tokens and the end at \\boxed from the code released with it"
)

_REASON = r"Please reason step by step, and put your final answer within \boxed{}."

PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name="qwen2.5-math",
            source=_PURI + "; the system prompt is the one of the model card of Qwen2.5-Math-Instruct",
            system_prompt=_REASON,
            boundary=Delimiter("\n\n"),
            stop=Boxed(),
            temperature=0.8,
            max_steps=40,
            max_step_tokens=2048,
        ),
        Preset(
            name="llama-3",
            source=_PURI + "; the system prompt asks, in our words, for the format that Llama 3 was evaluated with on MATH",
            system_prompt=(
                "You solve mathematical problems. Keep the solution of an easy problem short. Split that of a harder one "
                "into steps, each under a heading of the form\n\n## Step 1: what is done here\n\nwith the calculation below "
                "it and an empty line after it. In any case close with the sentence\n\n"
                "Therefore, the final answer is: $\\boxed{answer}$.\n\n"
                "where answer is the final number or expression alone."
            ),
            boundary=Delimiter("\n\n"),
            stop=Boxed(),
            temperature=0.8,
            max_steps=40,
            max_step_tokens=2048,
        ),
        Preset(
            name="optscale",
            source=(
                "Wang et al. (2026), arXiv 2506.22376, the code released with it for DeepSeek-R1-Distill-Qwen-7B: whole "
                "answers of at most 10 000 tokens, scored by steps that end at an empty line. There the instruction is "
                "worded a little differently and stands in the user's turn"
            ),
            system_prompt=_REASON,
            boundary=Delimiter("\n\n"),
            stop=None,
            temperature=0.7,
            top_p=0.95,
            max_steps=10_000,
            max_step_tokens=10_000,
            max_tokens=10_000,
        ),
    )
}
"""Presets by name: ``"qwen2.5-math"``, ``"llama-3"`` and ``"optscale"``."""


def preset_named(name: str) -> Preset:
    """Look a preset up.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if name not in PRESETS:
        raise ValueError(f"expected a preset among {', '.join(PRESETS)}, got {name!r}")
    return PRESETS[name]
