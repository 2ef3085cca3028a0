"""Language models and reward models that sessions run on.

This is the only place that knows tokenizers, caches and devices. Import :mod:`ppl_scaling.backends.finite` alone to work
without transformers.
"""

from ppl_scaling.backends.finite import FiniteLanguageModel, FiniteRewardModel
from ppl_scaling.backends.reward_models import TokenClassificationRewardModel, TransformersRewardModel, load_reward_model
from ppl_scaling.backends.stopping import Delimiter
from ppl_scaling.backends.transformers_lm import TransformersLanguageModel

__all__ = [
    "Delimiter",
    "FiniteLanguageModel",
    "FiniteRewardModel",
    "TokenClassificationRewardModel",
    "TransformersLanguageModel",
    "TransformersRewardModel",
    "load_reward_model",
]
