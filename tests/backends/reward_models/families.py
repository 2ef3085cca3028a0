"""Every family with a tiny model and a tokenizer of its own, and the slow reading of its model card."""

from functools import partial

from transformers import LlamaForSequenceClassification, LlamaForTokenClassification

from ppl_scaling.backends.reward_models import (
    JudgeRewardModel,
    MathShepherdRewardModel,
    QwenMathRewardModel,
    RLHFlowRewardModel,
    SequenceClassificationRewardModel,
    SkyworkRewardModel,
    TokenClassificationRewardModel,
)
from tests.backends.reward_models import readings
from tests.backends.reward_models.tiny import (
    llama,
    llama3_tokenizer,
    mistral,
    mistral_tokenizer,
    qwen_prm,
    qwen_tokenizer,
    skywork_prm,
)

JUDGE = partial(JudgeRewardModel, prompt="Q: {problem}\nA: {solution}\nRight?", yes=("Yes", " Yes"), no=("No", " No"))


FAMILIES = {
    "token-classification": (
        partial(TokenClassificationRewardModel, plain_prompt=True),
        lambda: llama(LlamaForTokenClassification, num_labels=2),
        llama3_tokenizer,
        readings.token_classification,
    ),
    "qwen-math-prm": (QwenMathRewardModel, qwen_prm, qwen_tokenizer, readings.qwen_math),
    "skywork": (SkyworkRewardModel, skywork_prm, qwen_tokenizer, readings.skywork),
    "math-shepherd": (MathShepherdRewardModel, mistral, mistral_tokenizer, readings.math_shepherd),
    "rlhflow": (RLHFlowRewardModel, llama, llama3_tokenizer, readings.rlhflow),
    "sequence-classification": (
        SequenceClassificationRewardModel,
        lambda: llama(LlamaForSequenceClassification, num_labels=1),
        llama3_tokenizer,
        readings.sequence_classification,
    ),
    "sequence-classification, two labels": (
        SequenceClassificationRewardModel,
        lambda: llama(LlamaForSequenceClassification, num_labels=2),
        llama3_tokenizer,
        readings.sequence_classification,
    ),
    "judge": (JUDGE, llama, llama3_tokenizer, readings.judge),
}
