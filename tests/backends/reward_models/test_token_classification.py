"""The incremental reward model against one plain pass over the layout of its training."""

import pytest
import torch
from transformers import LlamaForTokenClassification

from ppl_scaling.backends import TokenClassificationRewardModel
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


def test_one_label_is_the_logit_itself(byte_tokenizer):
    torch.manual_seed(0)
    prm = TokenClassificationRewardModel(LlamaForTokenClassification(tiny_config(num_labels=1)), byte_tokenizer)
    tokens = byte_tokenizer("p\nstep\n")["input_ids"]
    with torch.no_grad():
        expected = prm.model(torch.tensor([tokens])).logits[0, -1, 0]
    assert float(prm.start(["p"], 1).score(["step"])[0]) == pytest.approx(float(expected), abs=1e-5)
