"""The filter on real weights: SmolLM2-135M-Instruct writes an answer sentence by sentence. Opt-in, see ``smollm2_path``."""

import pytest
import torch

from ppl_scaling.backends import FunctionRewardModel, Sentence, TransformersLanguageModel
from ppl_scaling.inference import ParticleFilter
from ppl_scaling.models import LanguageModelStateSpace
from ppl_scaling.token_law import TokenLaw
from tests.backends.plain import drawn_tokens, plain_log_prob

QUESTION = "Why is the sky blue?"
LONGEST = 12


def num_words(text):
    return len(text.split())


@pytest.fixture(scope="module")
def lm(smollm2_path):
    return TransformersLanguageModel.from_pretrained(smollm2_path, boundary=Sentence(), device="cpu", dtype="float32")


def test_log_probabilities_and_tokens_are_those_of_the_plain_model(lm):
    torch.manual_seed(0)
    session = lm.start([QUESTION], 3, max_step_tokens=24, max_tokens=None)
    context = lm.tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], add_generation_prompt=True, return_dict=True
    )["input_ids"]
    contexts = [list(context) for _ in range(3)]
    law = TokenLaw(torch.ones(3))
    for rows in ([0, 1, 2], [2, 0, 2]):
        session.select(torch.tensor(rows))
        block = session.sample(law)
        log_prob = session.log_prob(block, law)
        contexts = [contexts[row] for row in rows]
        for row, drawn in enumerate(drawn_tokens(block)):
            assert float(log_prob[row]) == pytest.approx(plain_log_prob(lm.model, contexts[row], drawn), abs=1e-2)
            contexts[row] = contexts[row] + drawn
        finished, _ = session.accept(block, last_step=False)
        assert not finished.any(), "the seed was chosen so that no row ends"


def test_sentences_of_at_most_twelve_words(lm):
    """A soft constraint as the likelihood: the posterior keeps to it, the language model alone does not."""

    def brief(prompt, text):
        last = text.replace("?", ".").replace("!", ".").rstrip(". \n").split(".")[-1]
        return 0.95 if num_words(last) <= LONGEST else 0.02

    settings = {"max_steps": 3, "max_step_tokens": 40, "temperature": 0.8}
    constrained = LanguageModelStateSpace(lm, FunctionRewardModel(brief), **settings)
    free = LanguageModelStateSpace(lm, None, **settings)
    found, prior = (ParticleFilter(model, num_particles=16).run(QUESTION, seed=1) for model in (constrained, free))

    def share_of_long(result):
        lengths = [max(map(num_words, one.steps)) for one in result.trajectories]
        return sum(one.weight for one, length in zip(result.trajectories, lengths, strict=True) if length > LONGEST)

    assert share_of_long(found) < 0.2 < 0.6 < share_of_long(prior)
    assert found.log_evidence < 0
    assert all(one.text == one.text.strip("\ufffd") and "<|im_end|>" not in one.text for one in found.trajectories)
    assert found.lm_tokens_forwarded <= found.generated_tokens + 100, "the prompt once and each token once"
