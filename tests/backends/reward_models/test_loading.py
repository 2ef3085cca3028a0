"""Which family a checkpoint belongs to, the errors where nothing tells, a family of one's own, heads and memory."""

import gc
import json
import weakref

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForTokenClassification, LlamaForTokenClassification

from ppl_scaling.backends import TransformersRewardModel, load_reward_model
from ppl_scaling.backends.reward_models import (
    FAMILIES,
    MathShepherdRewardModel,
    linear,
)
from ppl_scaling.backends.reward_models.loader import _recognise
from ppl_scaling.errors import BackendError
from ppl_scaling.models.pretrained import LANGUAGE_MODEL_PATH, REWARD_MODEL_PATH
from tests.backends.reward_models.families import FAMILIES as TINY_FAMILIES
from tests.backends.reward_models.tiny import (
    llama,
    llama3_tokenizer,
    qwen_prm,
    qwen_tokenizer,
)


def config_at(folder, **entries):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(entries))
    return str(folder)


@pytest.mark.parametrize(
    ("name", "architecture", "family"),
    [
        ("a", "Qwen2ForTokenClassification", "token-classification"),
        ("a", "DebertaV2ForSequenceClassification", "sequence-classification"),
        ("Qwen2.5-Math-PRM-7B", "Qwen2ForProcessRewardModel", "qwen-math-prm"),
        ("a", "Qwen2ForPrmModel", "skywork"),
        ("Skywork-o1-Open-PRM-Qwen-2.5-1.5B", "Qwen2ForRewardModel", "skywork"),
        ("math-shepherd-mistral-7b-prm", "MistralForCausalLM", "math-shepherd"),
        ("Llama3.1-8B-PRM-Deepseek-Data", "LlamaForCausalLM", "rlhflow"),
        ("Llama3.1-8B-PRM-Mistral-Data", "LlamaForCausalLM", "rlhflow"),
    ],
)
def test_what_the_configuration_tells(tmp_path, name, architecture, family):
    assert _recognise(config_at(tmp_path / name, architectures=[architecture])) is FAMILIES[family]


def test_a_folder_may_have_any_name_if_the_configuration_has_the_models(tmp_path):
    path = config_at(tmp_path, architectures=["MistralForCausalLM"], _name_or_path="peiyi9979/math-shepherd-mistral-7b-prm")
    assert _recognise(path) is MathShepherdRewardModel


@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForRewardModel", "T5Model", None])
def test_nothing_is_guessed(tmp_path, architecture):
    path = config_at(tmp_path, architectures=[architecture] if architecture else None)
    choices = "token-classification, qwen-math-prm, math-shepherd, rlhflow, skywork, sequence-classification, judge"
    with pytest.raises(BackendError, match=f"architectures: {architecture or 'none'}.*Name its family: {choices}"):
        load_reward_model(path)
    with pytest.raises(BackendError, match="Name its family"):
        load_reward_model(LANGUAGE_MODEL_PATH)


def test_mistakes_in_the_arguments_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"expected a family among token-classification, .*, got 'orm'"):
        load_reward_model(REWARD_MODEL_PATH, family="orm")
    with pytest.raises(TypeError, match="a subclass of TransformersRewardModel, got <class 'int'>"):
        load_reward_model(REWARD_MODEL_PATH, family=int)
    with pytest.raises(ValueError, match="expected an aggregation among"):
        load_reward_model(REWARD_MODEL_PATH, aggregation="median")
    for path in ("/no/such/folder", tmp_path):
        with pytest.raises(BackendError, match="expected the folder of a checkpoint"):
            load_reward_model(path)
    with pytest.raises(BackendError, match="cannot read the configuration"):
        (tmp_path / "config.json").write_text("{")
        load_reward_model(tmp_path)
    with pytest.raises(TypeError, match="sepparator"):
        load_reward_model(REWARD_MODEL_PATH, sepparator=";")


def test_settings_of_the_family_and_of_loading_go_where_they_belong():
    model = load_reward_model(REWARD_MODEL_PATH, separator="\n\n", aggregation="min", device="cpu", trust_remote_code=False)
    assert model.separator == "\n\n" and model.aggregation == "min"
    assert repr(model) == "TokenClassificationRewardModel(family='token-classification', aggregation='min', incremental)"


class Numbered(TransformersRewardModel):
    auto_class = AutoModelForTokenClassification

    def layout(self, problem, steps):
        lines = [problem, *(f"{number}. {step.strip()}" for number, step in enumerate(steps, start=1))]
        return list(self.encode("\n".join(lines) + "\n"))

    def logit(self, hidden):
        wrong, right = linear(self.model.score, hidden).unbind(-1)
        return right - wrong


def test_a_family_of_ones_own(tmp_path):
    llama(LlamaForTokenClassification, num_labels=2).save_pretrained(tmp_path)
    llama3_tokenizer().save_pretrained(tmp_path)
    model = load_reward_model(tmp_path, family=Numbered, device="cpu")
    session = model.start(["What is 12?"], 2)
    session.score(["a", "b"])
    session.select(torch.tensor([1, 1]))
    tokens = llama3_tokenizer()("What is 12?\n1. b\n2. c\n", add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = model.model(tokens).logits[0, -1]
    assert session.score(["c", "d"])[0].item() == pytest.approx(float(logits[1] - logits[0]), abs=1e-4)

    class Nameless(Numbered):
        auto_class = None

    with pytest.raises(BackendError, match="expected Nameless to name the class that loads it"):
        load_reward_model(tmp_path, family=Nameless)


@pytest.mark.parametrize("name", TINY_FAMILIES)
def test_a_model_that_nobody_uses_any_more_leaves_its_memory_at_once(name):
    make, model, tokenizer, _ = TINY_FAMILIES[name]
    gc.collect()
    gc.disable()
    try:
        reward_model = make(model(), tokenizer())
        reward_model.start(["x"], 1).score(["y"])
        weights = weakref.ref(reward_model.model)
        del reward_model
        assert weights() is None
    finally:
        gc.enable()


def test_a_head_that_is_not_needed_is_left_out_and_one_that_is_missing_is_an_error(tmp_path):
    qwen_prm().save_pretrained(tmp_path)
    qwen_tokenizer().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["lm_head.weight"] = torch.zeros(4, 4)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert load_reward_model(tmp_path, device="cpu").family == "qwen-math-prm"
    del weights["score.2.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackendError, match=r"has no weights for score\.2\.weight"):
        load_reward_model(tmp_path, device="cpu")
