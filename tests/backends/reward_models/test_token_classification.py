"""The incremental reward model against one plain pass over the layout of its training."""

import pytest
import torch
from transformers import LlamaForTokenClassification

from ppl_scaling.backends import TokenClassificationRewardModel
from ppl_scaling.errors import BackendError, ConstantScoreError
from tests.conftest import tiny_config


def recomputed_logits(prm, prompt, steps):
    """Logit at the end of each step, everything in one uncached pass (the layout of TRL's PRMTrainer)."""
    tokens, ends = list(prm.tokenizer(prompt + "\n")["input_ids"]), []
    for step in steps:
        tokens += prm.tokenizer(step, add_special_tokens=False)["input_ids"]
        tokens += prm.tokenizer("\n", add_special_tokens=False)["input_ids"]
        ends.append(len(tokens) - 1)
    with torch.no_grad():
        logits = prm.model(torch.tensor([tokens])).logits[0]
    return [float(logits[end, 1] - logits[end, 0]) for end in ends]


def test_incremental_scores_equal_recomputed_ones_across_resampling(tiny_prm):
    prompts = ["abc", "longer prompt"]
    session = tiny_prm.start(prompts, 2)
    histories = [(prompts[0], []), (prompts[0], []), (prompts[1], []), (prompts[1], [])]
    words = ["one", "two two", "3", "four and more"]
    for t, rows in enumerate(([0, 1, 2, 3], [1, 0, 3, 3], [2, 0, 0], [1])):
        session.select(torch.tensor(rows))
        steps = [words[(row + t) % 4] for row in range(len(rows))]
        histories = [(histories[row][0], [*histories[row][1], step]) for row, step in zip(rows, steps, strict=True)]
        logits = session.score(steps)
        assert logits.dtype == torch.float32
        for logit, (prompt, history) in zip(logits, histories, strict=True):
            assert float(logit) == pytest.approx(recomputed_logits(tiny_prm, prompt, history)[-1], abs=1e-4)


def test_each_token_passes_once(tiny_prm):
    session = tiny_prm.start(["abc", "abc", "xy"], 2)
    assert session.tokens_forwarded.tolist() == [4, 0, 3], "a prompt that appears twice is read once"
    session.score(["a", "bb", "c", "d", "e", "ffff"])
    assert session.tokens_forwarded.tolist() == [4 + 5, 4, 3 + 7]


def test_white_space_around_a_step_does_not_matter(tiny_prm):
    scores = tiny_prm.start(["p"], 3).score(["step", " step\n", "\nstep"])
    assert scores.tolist() == pytest.approx([float(scores[0])] * 3)


def test_rows_without_room_are_left_alone(tiny_prm):
    session = tiny_prm.start(["p"], 2)
    steps = ["x" * 300, "fine"]
    assert session.fits(steps).tolist() == [False, True]
    logits = session.score(steps)
    assert logits.isnan().tolist() == [True, False]
    fresh = tiny_prm.start(["p"], 1).score(["fine"])
    assert float(logits[1]) == pytest.approx(float(fresh[0]), abs=1e-5)
    with pytest.raises(ValueError, match="context of 192 tokens"):
        tiny_prm.start(["x" * 192], 1)


def test_one_label_is_the_logit_itself(byte_tokenizer):
    torch.manual_seed(0)
    prm = TokenClassificationRewardModel(LlamaForTokenClassification(tiny_config(num_labels=1)), byte_tokenizer)
    tokens = byte_tokenizer("p\nstep\n")["input_ids"]
    with torch.no_grad():
        expected = prm.model(torch.tensor([tokens])).logits[0, -1, 0]
    assert float(prm.start(["p"], 1).score(["step"])[0]) == pytest.approx(float(expected), abs=1e-5)


def test_a_reward_model_that_always_answers_the_same_is_refused(byte_tokenizer):
    model = LlamaForTokenClassification(tiny_config(num_labels=2))
    model.score.weight.data.zero_()
    with pytest.raises(ConstantScoreError, match=r"the score 0\.[0-9]+ to every step"):
        TokenClassificationRewardModel(model, byte_tokenizer)


def test_three_labels_are_refused(byte_tokenizer):
    with pytest.raises(BackendError, match="1 or 2 labels, got 3"):
        TokenClassificationRewardModel(LlamaForTokenClassification(tiny_config(num_labels=3)), byte_tokenizer)


def test_scores_of_a_bfloat16_model_are_float32_logits(byte_tokenizer):
    torch.manual_seed(0)
    model = LlamaForTokenClassification(tiny_config(num_labels=2)).to(torch.bfloat16)
    logits = TokenClassificationRewardModel(model, byte_tokenizer).start(["p"], 1).score(["step"])
    assert logits.dtype == torch.float32
