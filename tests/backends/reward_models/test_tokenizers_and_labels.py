"""Tokenizers and labels that a family can do with, and those that it refuses."""

import json

import pytest
import torch
from transformers import LlamaForSequenceClassification, LlamaForTokenClassification

from ppl_scaling.backends.reward_models import (
    MathShepherdRewardModel,
    QwenMathRewardModel,
    RLHFlowRewardModel,
    SequenceClassificationRewardModel,
    SkyworkRewardModel,
    TokenClassificationRewardModel,
)
from ppl_scaling.errors import BackendError
from tests.backends.reward_models.tiny import (
    llama,
    llama3_tokenizer,
    mistral,
    mistral_tokenizer,
    qwen_prm,
    qwen_tokenizer,
    skywork_prm,
)


def test_tokenizers_that_do_not_fit_are_refused(byte_tokenizer):
    bare = type(llama3_tokenizer())(tokenizer_object=llama3_tokenizer().backend_tokenizer)
    for family, model in ((QwenMathRewardModel, qwen_prm), (RLHFlowRewardModel, llama)):
        with pytest.raises(BackendError, match="to have a chat template, got none"):
            family(model(), bare)
    with pytest.raises(BackendError, match="expected <extra_0> to be one token"):
        QwenMathRewardModel(qwen_prm(), llama3_tokenizer())
    with pytest.raises(BackendError, match=r"expected '\+ -' to be two tokens, got 3"):
        MathShepherdRewardModel(llama(), byte_tokenizer)
    upside_down = type(bare)(tokenizer_object=bare.backend_tokenizer)
    upside_down.chat_template = "{% for message in messages | reverse %}<{{ message.content }}>{% endfor %}"
    with pytest.raises(BackendError, match="a chat template that puts turn after turn"):
        RLHFlowRewardModel(llama(), upside_down)


def test_math_shepherd_needs_its_tag():
    tokenizer = mistral_tokenizer()
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["model"]["merges"] = [merge for merge in state["model"]["merges"] if "к" not in "".join(merge)]
    split = type(tokenizer)(tokenizer_object=type(tokenizer.backend_tokenizer).from_str(json.dumps(state)), bos_token="<s>")
    with pytest.raises(BackendError, match="to have 'ки' as one token"):
        MathShepherdRewardModel(mistral(), split)


def test_a_skywork_tokenizer_without_a_beginning_of_text():
    tokenizer = qwen_tokenizer()
    plain = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer)
    assert SkyworkRewardModel(skywork_prm(), plain).layout("x", []) == plain("x\n")["input_ids"]


def test_labels_are_one_or_two_and_one_of_them_is_right():
    for kind, family in (
        (LlamaForTokenClassification, TokenClassificationRewardModel),
        (LlamaForSequenceClassification, SequenceClassificationRewardModel),
    ):
        with pytest.raises(BackendError, match="1 or 2 labels, got 3"):
            family(llama(kind, num_labels=3), llama3_tokenizer())
        with pytest.raises(ValueError, match="expected right_label to be 0 or 1, got 2"):
            family(llama(kind, num_labels=2), llama3_tokenizer(), right_label=2)
        model = llama(kind, num_labels=2)
        one, other = (family(model, llama3_tokenizer(), right_label=label).start(["x"], 1).score(["y"]) for label in (0, 1))
        torch.testing.assert_close(one, -other)


def test_a_classifier_without_a_chat_template_reads_a_plain_text():
    model = llama(LlamaForSequenceClassification, num_labels=1)
    bare = type(llama3_tokenizer())(tokenizer_object=llama3_tokenizer().backend_tokenizer)
    session = SequenceClassificationRewardModel(model, bare).start(["What is 12?"], 1)
    session.score(["1 + 2\n"])
    with torch.no_grad():
        expected = model(bare("What is 12?\n1 + 2\n = 3", return_tensors="pt")["input_ids"]).logits
    assert float(session.score([" = 3\n"])) == pytest.approx(float(expected), abs=1e-5)


def test_text_that_ends_with_padding_is_scored_where_the_classifier_does():
    model = llama(LlamaForSequenceClassification, num_labels=1, pad_token_id=1)  # the conversation's last token
    found = SequenceClassificationRewardModel(model, llama3_tokenizer()).start(["x"], 1).score(["y"])
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    tokens = llama3_tokenizer().apply_chat_template(turns, return_tensors="pt", return_dict=True)["input_ids"]
    assert tokens[0, -1] == 1
    with torch.no_grad():
        assert float(found) == pytest.approx(float(model(tokens).logits), abs=1e-5)
