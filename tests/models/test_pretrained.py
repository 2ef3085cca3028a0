"""The embedded models: they load cleanly, keep their promises, and their card tells what was measured."""

import json
import logging
import warnings
from itertools import pairwise

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification, AutoTokenizer

from ppl_scaling.inference import score_metrics
from ppl_scaling.models.pretrained import LANGUAGE_MODEL_PATH, REWARD_MODEL_PATH
from ppl_scaling.models.pretrained.card import render_card
from ppl_scaling.models.pretrained.reward_layout import encode_solution, solution_logits
from ppl_scaling.models.pretrained.rollouts import answer_of, right_prefixes, sample_solutions
from ppl_scaling.models.pretrained.sampling import sample
from ppl_scaling.models.pretrained.tokenizer import ProblemEncoder
from ppl_scaling.tasks.arithmetic import DEFAULT_MAX_NUMBER, DEFAULT_NUM_STEPS, ArithmeticProblem, generate_problems

FOLDER = LANGUAGE_MODEL_PATH.parent
ODD_TEXTS = [
    "plain text with 12345 digits, 3 * 12 = 36.",
    "Grüße, Σίσυφος, 数学, العربية, 🧮👩‍🔬 and \u200b zero width",
    "  two  blanks\tand\ttabs \r\n line ends\n\n\n",
    "\x00\x01\x7f \ufffd \U0010ffff",
    "٣ + ⅷ = ½",
    "\\boxed{42} <not|special>",
]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(LANGUAGE_MODEL_PATH)


@pytest.fixture(scope="module")
def encoder(tokenizer):
    return ProblemEncoder(tokenizer)


@pytest.fixture(scope="module")
def language_model():
    return AutoModelForCausalLM.from_pretrained(LANGUAGE_MODEL_PATH).eval()


@pytest.fixture(scope="module")
def reward_model():
    return AutoModelForTokenClassification.from_pretrained(REWARD_MODEL_PATH).eval()


@pytest.fixture(scope="module")
def sampled(language_model, encoder):
    problems = generate_problems(24, seed=11)
    return problems, sample_solutions(language_model, encoder, problems, 4, seed=5)


@pytest.fixture(scope="module")
def metrics():
    return json.loads((FOLDER / "metrics.json").read_text(encoding="utf-8"))


def test_both_load_without_a_warning():
    records = []

    class Keep(logging.Handler):
        def emit(self, record):
            records.append(record.getMessage())

    handler = Keep(level=logging.WARNING)
    logging.getLogger("transformers").addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for path, kind in (
                (LANGUAGE_MODEL_PATH, AutoModelForCausalLM),
                (REWARD_MODEL_PATH, AutoModelForTokenClassification),
            ):
                _, info = kind.from_pretrained(path, output_loading_info=True)
                assert not any(info.values()), info
                AutoTokenizer.from_pretrained(path)
    finally:
        logging.getLogger("transformers").removeHandler(handler)
    assert records == []


def test_sizes(language_model, reward_model, metrics):
    sizes = [sum(parameter.numel() for parameter in model.parameters()) for model in (language_model, reward_model)]
    assert sizes[0] <= 5_000_000
    assert sizes[1] <= 4_000_000
    assert sizes == [metrics["language_model_parameters"], metrics["reward_model_parameters"]]
    files = [path for folder in (LANGUAGE_MODEL_PATH, REWARD_MODEL_PATH) for path in folder.iterdir()]
    assert sum(path.stat().st_size for path in files) <= 25_000_000
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".jinja"}


def test_configurations(language_model, reward_model, tokenizer):
    for model in (language_model, reward_model):
        assert model.config.pad_token_id == tokenizer.pad_token_id
        assert model.config.eos_token_id == tokenizer.eos_token_id
        assert model.config.vocab_size == len(tokenizer)
        assert model.config.max_position_embeddings == tokenizer.model_max_length
        assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert reward_model.config.id2label == {0: "incorrect", 1: "correct"}
    assert language_model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert language_model.generation_config.pad_token_id == tokenizer.pad_token_id


def test_both_share_one_tokenizer():
    names = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]
    for name in names:
        assert (LANGUAGE_MODEL_PATH / name).read_bytes() == (REWARD_MODEL_PATH / name).read_bytes()


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_any_text_comes_back(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == text
    assert tokenizer.unk_token_id is None or tokenizer.unk_token_id not in ids


def test_vocabulary(tokenizer):
    assert len(tokenizer) <= 1024
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}) == 3


@pytest.mark.parametrize("text", ["a\nb", "a \n b", "\n\n\n", ".\n\nThen", "12\n34", " \n ", "\r\n"])
def test_a_line_feed_is_a_token_by_itself(tokenizer, encoder, text):
    pieces = [tokenizer.decode([token]) for token in encoder.text(text)]
    assert pieces.count("\n") == text.count("\n")
    assert all(piece == "\n" or "\n" not in piece for piece in pieces)


def test_a_token_holds_at_most_one_digit(tokenizer, encoder):
    assert all(sum(letter.isdigit() for letter in tokenizer.decode([token])) <= 1 for token in range(len(tokenizer)))
    assert [tokenizer.decode([token]).strip() for token in encoder.text("987 6")] == ["9", "8", "7", "6"]


def test_chat_template(tokenizer, language_model):
    user = [{"role": "user", "content": "How many?"}]
    prompt = tokenizer.apply_chat_template(user, add_generation_prompt=True, tokenize=False)
    assert prompt == "<|bos|><|user|>How many?<|assistant|>"
    system = [{"role": "system", "content": "Be brief."}, *user]
    assert "<|system|>Be brief.<|user|>" in tokenizer.apply_chat_template(system, tokenize=False)
    whole = tokenizer.apply_chat_template([*user, {"role": "assistant", "content": "3."}], tokenize=False)
    assert whole == prompt + "3." + tokenizer.eos_token
    ids = tokenizer.apply_chat_template(user, add_generation_prompt=True, return_tensors="pt")["input_ids"]
    assert tokenizer.decode(ids[0]) == prompt
    with pytest.raises(Exception, match="expected role"):
        tokenizer.apply_chat_template([{"role": "tool", "content": ""}], tokenize=False)


def test_reward_layout_scores_the_line_feed_after_each_step(encoder):
    encoded = encode_solution(encoder, "How many?", ("One.", "Two."))
    assert [encoder.tokenizer.decode([encoded.input_ids[place]]) for place in encoded.ends] == ["\n", "\n"]
    assert encoded.ends[-1] == len(encoded.input_ids) - 1
    assert encoder.tokenizer.decode(encoded.input_ids) == "<|bos|><|user|>How many?<|assistant|>One.\nTwo.\n"


def test_generate_solves_in_lines(language_model, tokenizer):
    (problem,) = generate_problems(1, num_steps=2, seed=3)
    message = [{"role": "user", "content": problem.problem}]
    inputs = tokenizer.apply_chat_template(message, add_generation_prompt=True, return_tensors="pt")
    output = language_model.generate(**inputs, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    text = tokenizer.decode(output)
    assert text.endswith("}" + tokenizer.eos_token)
    assert answer_of(text) is not None


def test_recipe_sampling_is_that_of_the_model(language_model, encoder):
    prompts = [encoder.prompt(problem.problem) for problem in generate_problems(3, num_steps=3)]
    rows = sample(language_model, prompts, seed=0, temperature=1e-4)
    for prompt, tokens in zip(prompts, rows, strict=True):
        with torch.inference_mode():
            logits = language_model(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 :]
        assert logits.argmax(-1).tolist() == [*tokens, encoder.eos]
    assert sample(language_model, prompts, seed=0) == sample(language_model, prompts, seed=0)


def test_pass_rate_is_good_but_not_perfect(sampled):
    problems, solutions = sampled
    rights = [
        answer_of(steps[-1]) == problem.answer
        for problem, copies in zip(problems, solutions, strict=True)
        for steps in copies
    ]
    assert 0.1 <= sum(rights) / len(rights) <= 0.65


def test_reward_model_tells_right_from_wrong_prefixes(sampled, reward_model, encoder):
    problems, solutions = sampled
    flat = [(problem, steps) for problem, copies in zip(problems, solutions, strict=True) for steps in copies]
    judged = solution_logits(reward_model, encoder, [(problem.problem, steps) for problem, steps in flat])
    rights = [right for problem, steps in flat for right in right_prefixes(problem, steps)]
    assert score_metrics([logit for logits in judged for logit in logits], rights).auc > 0.85


def test_reward_model_sees_a_slip(reward_model, encoder):
    """Changing the result of one line lowers the score of that line, on most problems."""
    drops = []
    for problem in generate_problems(20, num_steps=3, seed=6):
        text, result = problem.steps[1].rsplit("= ", 1)
        slipped = (problem.steps[0], f"{text}= {int(result[:-1]) + 10}.")
        prefixes = [(problem.problem, problem.steps[:2]), (problem.problem, slipped)]
        right, wrong = torch.tensor(solution_logits(reward_model, encoder, prefixes)).sigmoid().tolist()
        assert right[0] == pytest.approx(wrong[0], abs=1e-4)
        drops.append(right[1] - wrong[1])
    assert sum(drop > 0.2 for drop in drops) >= 16


def test_right_prefixes():
    problem = ArithmeticProblem("?", "9", ("A: 1 + 2 = 3.", "B: 3 * 3 = 9. The answer is \\boxed{9}"))
    assert right_prefixes(problem, problem.steps) == [True, True]
    assert right_prefixes(problem, ("A gets: 1 + 2 = 3.", "B: 3 * 3 = 9. The answer is \\boxed{8}")) == [True, False]
    assert right_prefixes(problem, ("A: 1 + 2 = 4.", problem.steps[1])) == [False, False]
    assert right_prefixes(problem, (*problem.steps, "C")) == [True, True, False]


def test_measured_figures_are_in_their_bands(metrics):
    assert (metrics["num_steps"], metrics["max_number"]) == (DEFAULT_NUM_STEPS, DEFAULT_MAX_NUMBER)
    test = metrics["test"]
    assert test["num_problems"] >= 200
    assert 0.2 <= test["pass_at_1"] <= 0.5
    assert 0.85 <= test["prefix_auc"] <= 0.99
    assert test["weighted_vote"] >= test["majority"]
    assert test["calibration_error"] <= 0.1
    rates = list(metrics["pass_at_1_by_num_steps"].values())
    assert rates[0] > rates[-1]
    assert all(later <= earlier + 0.1 for earlier, later in pairwise(rates))


def test_card_tells_the_metrics(metrics):
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == render_card(metrics)
