"""Language models and reward models that sessions run on.

This is the only place that knows tokenizers, caches and devices.

A language model is a :class:`TransformersLanguageModel`, or a :class:`FiniteLanguageModel` given by a table. A reward
model comes from :func:`load_reward_model`, which finds its family, or is any function: :class:`FunctionRewardModel`.
Where a reasoning step ends is said by a boundary (:class:`Delimiter`, :class:`Sentence`, :class:`TokenCount`,
:class:`When`, :class:`AnyOf`), and where an answer ends before the model says so, by a stop pattern (:class:`Boxed`,
:class:`StopText`, :class:`StopWhen`). A :class:`Preset` of :data:`PRESETS` holds the settings of a paper.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ppl_scaling.backends.finite import FiniteLanguageModel, FunctionRewardModel
from ppl_scaling.backends.presets import PRESETS, Preset
from ppl_scaling.backends.stop_patterns import Boxed, StopText, StopWhen
from ppl_scaling.backends.stopping import AnyOf, Delimiter, TokenCount
from ppl_scaling.backends.text_boundaries import Sentence, When

if TYPE_CHECKING:
    from ppl_scaling.backends.reward_models import (
        TokenClassificationRewardModel,
        TransformersRewardModel,
        load_reward_model,
    )
    from ppl_scaling.backends.transformers_lm import TransformersLanguageModel

__all__ = [
    "PRESETS",
    "AnyOf",
    "Boxed",
    "Delimiter",
    "FiniteLanguageModel",
    "FunctionRewardModel",
    "Preset",
    "Sentence",
    "StopText",
    "StopWhen",
    "TokenClassificationRewardModel",
    "TokenCount",
    "TransformersLanguageModel",
    "TransformersRewardModel",
    "When",
    "load_reward_model",
]

# transformers takes seconds to import; tables, boundaries and presets need none of it.
_OF_TRANSFORMERS = {
    "TokenClassificationRewardModel": "reward_models",
    "TransformersLanguageModel": "transformers_lm",
    "TransformersRewardModel": "reward_models",
    "load_reward_model": "reward_models",
}


def __getattr__(name: str) -> Any:
    if name not in _OF_TRANSFORMERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_OF_TRANSFORMERS[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
