"""Language models and reward models that sessions run on.

This is the only place that knows tokenizers, caches and devices. Import :mod:`ppl_scaling.backends.finite` alone to work
without transformers.
"""

from ppl_scaling.backends.finite import FiniteLanguageModel, FiniteRewardModel
from ppl_scaling.backends.presets import PRESETS, Preset
from ppl_scaling.backends.reward_models import TokenClassificationRewardModel, TransformersRewardModel, load_reward_model
from ppl_scaling.backends.stop_patterns import Boxed, StopText, StopWhen
from ppl_scaling.backends.stopping import AnyOf, Delimiter, Sentence, TokenCount, When
from ppl_scaling.backends.transformers_lm import TransformersLanguageModel

__all__ = [
    "PRESETS",
    "AnyOf",
    "Boxed",
    "Delimiter",
    "FiniteLanguageModel",
    "FiniteRewardModel",
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
