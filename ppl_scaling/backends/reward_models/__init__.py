r"""Process reward models of transformers, one class a family, on one incremental engine.

``load_reward_model`` tells the family from a checkpoint's configuration:

=========================== ================================ =======================================================
family                      recognised by                    score
=========================== ================================ =======================================================
``token-classification``    ``...ForTokenClassification``    label at the separator after each step (TRL)
``qwen-math-prm``           ``Qwen2ForProcessRewardModel``   label at ``<extra_0>`` after each step
``math-shepherd``           Mistral and the name             ``+`` against ``-`` at the tag after each step
``rlhflow``                 Llama and the name               ``+`` against ``-`` as the assistant's answer to a step
``skywork``                 ``Qwen2ForPrmModel``             value at the line feed after each step
``sequence-classification`` ``...ForSequenceClassification`` label or reward of problem and answer so far
``judge``                   only ``family="judge"``          Yes against No, asked about the answer so far
=========================== ================================ =======================================================

No remote code is run for any of them. Heads are applied in float32, whatever the model runs in.

A family of your own is a class that lays out the tokens and reads the score; caches, resampling, aggregation and the probe
at load time come with it:

>>> from transformers import AutoModelForTokenClassification
>>> from ppl_scaling.backends.reward_models import TransformersRewardModel, linear, load_reward_model
>>> class Numbered(TransformersRewardModel):
...     family = "numbered"
...     auto_class = AutoModelForTokenClassification
...
...     def layout(self, problem, steps):
...         lines = [problem, *(f"{number}. {step.strip()}" for number, step in enumerate(steps, start=1))]
...         return list(self.encode("\n".join(lines) + "\n"))
...
...     def logit(self, hidden):
...         wrong, right = linear(self.model.score, hidden).unbind(-1)
...         return right - wrong
>>> from ppl_scaling.models.pretrained import REWARD_MODEL_PATH
>>> reward_model = load_reward_model(REWARD_MODEL_PATH, family=Numbered, aggregation="min", device="cpu")
>>> reward_model
Numbered(family='numbered', aggregation='min', incremental)
>>> session = reward_model.start(["What is 2 plus 3?"], num_particles=2)
>>> session.score(["2 + 3 = 5", "2 + 3 = 6"]).shape
torch.Size([2])
"""

from ppl_scaling.backends.reward_models.aggregation import AGGREGATIONS
from ppl_scaling.backends.reward_models.base import TransformersRewardModel
from ppl_scaling.backends.reward_models.heads import CandidateRewardModel, HeadedRewardModel, linear
from ppl_scaling.backends.reward_models.judge import JudgeRewardModel
from ppl_scaling.backends.reward_models.loader import FAMILIES, load_reward_model
from ppl_scaling.backends.reward_models.math_shepherd import MathShepherdRewardModel
from ppl_scaling.backends.reward_models.qwen2 import Qwen2ForPrmModel, Qwen2ForProcessRewardModel
from ppl_scaling.backends.reward_models.qwen_math import QwenMathRewardModel
from ppl_scaling.backends.reward_models.rlhflow import RLHFlowRewardModel
from ppl_scaling.backends.reward_models.sequence_classification import SequenceClassificationRewardModel
from ppl_scaling.backends.reward_models.session import TransformersRewardSession
from ppl_scaling.backends.reward_models.skywork import SkyworkRewardModel
from ppl_scaling.backends.reward_models.token_classification import TokenClassificationRewardModel

__all__ = [
    "AGGREGATIONS",
    "FAMILIES",
    "CandidateRewardModel",
    "HeadedRewardModel",
    "JudgeRewardModel",
    "MathShepherdRewardModel",
    "Qwen2ForPrmModel",
    "Qwen2ForProcessRewardModel",
    "QwenMathRewardModel",
    "RLHFlowRewardModel",
    "SequenceClassificationRewardModel",
    "SkyworkRewardModel",
    "TokenClassificationRewardModel",
    "TransformersRewardModel",
    "TransformersRewardSession",
    "linear",
    "load_reward_model",
]
