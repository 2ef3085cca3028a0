"""Language models as judges: prompts, surface forms of the verdicts, and texts without a chat template."""

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from ppl_scaling.backends.reward_models import JudgeRewardModel
from ppl_scaling.errors import BackendError
from tests.backends.reward_models.tiny import SIZES, llama, llama3_tokenizer, mistral, mistral_tokenizer, seeded


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
