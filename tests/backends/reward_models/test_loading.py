"""Which family a checkpoint belongs to, the errors where nothing tells, a family of one's own, and what depends on it."""

import gc
import json
import shutil
import weakref

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForTokenClassification, Gemma2Config, Gemma2ForCausalLM, LlamaForTokenClassification

from ppl_scaling.backends import FiniteLanguageModel, FunctionRewardModel, TransformersRewardModel, load_reward_model
from ppl_scaling.backends.reward_models import (
    FAMILIES,
    JudgeRewardModel,
    MathShepherdRewardModel,
    QwenMathRewardModel,
    RLHFlowRewardModel,
    SequenceClassificationRewardModel,
    SkyworkRewardModel,
    linear,
)
from ppl_scaling.backends.reward_models.loader import _recognise
from ppl_scaling.errors import BackendError
from ppl_scaling.inference import ParticleFilter
from ppl_scaling.models import BernoulliLikelihood, LanguageModelStateSpace, OddsLikelihood, TwistLikelihood
from ppl_scaling.models.pretrained import LANGUAGE_MODEL_PATH, REWARD_MODEL_PATH
from tests.backends.reward_models.families import FAMILIES as TINY_FAMILIES
from tests.backends.reward_models.tiny import (
    SIZES,
    llama,
    llama3_tokenizer,
    mistral,
    mistral_tokenizer,
    qwen_prm,
    qwen_tokenizer,
    seeded,
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


@pytest.mark.parametrize("prompt", ["Right? {solution}", "{problem}", "{problem} {solution} {solution}"])
def test_a_prompt_of_a_judge_has_its_places(prompt):
    with pytest.raises(ValueError, match=r"expected a prompt with \{problem\}, and with \{solution\} once"):
        JudgeRewardModel(llama(), llama3_tokenizer(), prompt=prompt)


def test_surface_forms_of_a_judge():
    judge = JudgeRewardModel(llama(), llama3_tokenizer())
    words = llama3_tokenizer().convert_ids_to_tokens(judge._candidates)
    assert "ĠYes" in words[: judge._num_good] and "ĠNo" in words[judge._num_good :]
    with pytest.raises(ValueError, match="expected surface forms of one token, got 'Absolutely', which has"):
        JudgeRewardModel(llama(), llama3_tokenizer(), yes=["Absolutely"])
    with pytest.raises(BackendError, match="expected tokens for right and others for wrong"):
        JudgeRewardModel(llama(), llama3_tokenizer(), yes=[" No"], no=[" No"])


def test_a_judge_without_a_chat_template_reads_a_plain_text():
    tokenizer = mistral_tokenizer()
    judge = JudgeRewardModel(mistral(), tokenizer, prompt="{problem} {x} = {solution}\n+ or -", yes=["+"], no=["-"])
    session = judge.start(["What is 12?"], 1)
    session.score(["1 + 2\n"])
    logit = session.score([" = 3\n"])
    tokens = tokenizer("What is 12? {x} = 1 + 2\n = 3\n+ or -", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        law = judge.model(tokens).logits[0, -1].softmax(-1)
    good, bad = (
        law[tokenizer.convert_tokens_to_ids([f"▁{sign}", sign])].sum() for sign in "+-"
    )  # each with its mark and without
    assert float(logit.sigmoid()) == pytest.approx(float(good / (good + bad)), abs=1e-5)


def test_capped_logits_of_a_judge():
    config = Gemma2Config(
        vocab_size=len(llama3_tokenizer()),
        head_dim=8,
        final_logit_softcapping=2.0,
        **(SIZES | {"attn_implementation": "eager"}),
    )
    judge = JudgeRewardModel(seeded(lambda: Gemma2ForCausalLM(config)), llama3_tokenizer(), yes=["+"], no=["-"])
    found = judge.start(["x"], 1).score(["y"])
    tokens = torch.tensor([judge.layout("x", ["y"])])
    with torch.no_grad():
        law = judge.model(tokens).logits[0, -1]
    assert float(found) == pytest.approx(float(law[judge._candidates[0]] - law[judge._candidates[1]]), abs=1e-3)
    assert abs(float(found)) < 4


def test_labels_are_one_or_two_and_one_of_them_is_right():
    from transformers import LlamaForSequenceClassification

    for kind, family in (
        (LlamaForTokenClassification, FAMILIES["token-classification"]),
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
    from transformers import LlamaForSequenceClassification

    model = llama(LlamaForSequenceClassification, num_labels=1)
    bare = type(llama3_tokenizer())(tokenizer_object=llama3_tokenizer().backend_tokenizer)
    session = SequenceClassificationRewardModel(model, bare).start(["What is 12?"], 1)
    session.score(["1 + 2\n"])
    with torch.no_grad():
        expected = model(bare("What is 12?\n1 + 2\n = 3", return_tensors="pt")["input_ids"]).logits
    assert float(session.score([" = 3\n"])) == pytest.approx(float(expected), abs=1e-5)


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


def test_text_that_ends_with_padding_is_scored_where_the_classifier_does():
    from transformers import LlamaForSequenceClassification

    model = llama(LlamaForSequenceClassification, num_labels=1, pad_token_id=1)  # the conversation's last token
    found = SequenceClassificationRewardModel(model, llama3_tokenizer()).start(["x"], 1).score(["y"])
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    tokens = llama3_tokenizer().apply_chat_template(turns, return_tensors="pt", return_dict=True)["input_ids"]
    assert tokens[0, -1] == 1
    with torch.no_grad():
        assert float(found) == pytest.approx(float(model(tokens).logits), abs=1e-5)


def test_a_skywork_tokenizer_without_a_beginning_of_text():
    tokenizer = qwen_tokenizer()
    plain = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer)
    from tests.backends.reward_models.tiny import skywork_prm

    assert SkyworkRewardModel(skywork_prm(), plain).layout("x", []) == plain("x\n")["input_ids"]


@pytest.mark.parametrize(
    ("scores_prefixes", "expected"), [(False, BernoulliLikelihood), (True, TwistLikelihood)], ids=["steps", "prefixes"]
)
def test_the_default_likelihood_follows_what_is_scored(scores_prefixes, expected):
    language = FiniteLanguageModel({"": {"a": 0.5, "$": 0.5}})
    reward = FunctionRewardModel(lambda prompt, text: 0.3 + 0.1 * len(text), scores_prefixes=scores_prefixes)
    program = LanguageModelStateSpace(language, reward, max_steps=3)
    assert type(program.likelihood) is expected and program.likelihood.beta == 1
    result = ParticleFilter(program, num_particles=4).run("p", seed=0)
    assert result.configuration["reward_model"] == repr(reward)
    assert result.configuration["likelihood"] == repr(expected())
    assert type(LanguageModelStateSpace(language, reward, OddsLikelihood()).likelihood) is OddsLikelihood
    assert type(LanguageModelStateSpace(language, None).likelihood) is BernoulliLikelihood


def test_a_checkpoint_says_what_it_scores_and_which_power_suits(tmp_path):
    embedded = load_reward_model(REWARD_MODEL_PATH, device="cpu")
    assert embedded.scores_prefixes and embedded.likelihood_beta == 8
    language = FiniteLanguageModel({"": {"2 + 3 = 5\n": 0.5, "$": 0.5}})
    assert repr(LanguageModelStateSpace(language, embedded).likelihood) == "TwistLikelihood(beta=8.0)"
    # what it recommends is for the scores that it was chosen with
    assert load_reward_model(REWARD_MODEL_PATH, device="cpu", aggregation="min").likelihood_beta == 1
    silent = shutil.copytree(REWARD_MODEL_PATH, tmp_path / "silent")
    config = json.loads((silent / "config.json").read_text())
    del config["scores_prefixes"], config["likelihood_beta"]
    (silent / "config.json").write_text(json.dumps(config))
    plain = load_reward_model(silent, device="cpu")
    assert (
        not plain.scores_prefixes
        and repr(LanguageModelStateSpace(language, plain).likelihood) == "BernoulliLikelihood(beta=1.0)"
    )


def test_prefix_scores_of_a_loaded_model_make_the_twist_the_default():
    language = FiniteLanguageModel({"": {"2 + 3 = 5\n": 0.5, "2 + 3 = 6\n": 0.3, "$": 0.2}})
    results = {}
    for aggregation, likelihood in [
        (None, TwistLikelihood),
        ("min", TwistLikelihood),
        ("whole-prefix", TwistLikelihood),
    ]:
        reward = load_reward_model(REWARD_MODEL_PATH, aggregation=aggregation, device="cpu")
        program = LanguageModelStateSpace(language, reward, max_steps=3)
        assert type(program.likelihood) is likelihood
        results[aggregation] = ParticleFilter(program, num_particles=4).run("What is 2 plus 3?", seed=0)
    for one in results["min"].trajectories:
        assert list(one.scores) == sorted(one.scores, reverse=True)
