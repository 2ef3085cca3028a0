"""The cached decode loop against plain, uncached forward passes."""

import pytest
import torch

from ppl_scaling.interfaces import PAD
from ppl_scaling.token_law import TokenLaw
from tests.backends.plain import drawn_tokens, plain_log_prob
from tests.statistics import assert_frequencies

PROMPTS = ["abc", "a much longer prompt"]


def start(lm, num_particles=3, max_step_tokens=5, max_tokens=None, prompts=PROMPTS):
    return lm.start(prompts, num_particles, max_step_tokens=max_step_tokens, max_tokens=max_tokens)


def test_cache_after_resampling_equals_recomputing_from_scratch(tiny_lm):
    torch.manual_seed(2)
    session = start(tiny_lm)
    tokens = tiny_lm.tokenizer
    contexts = [tokens(prompt + "\n")["input_ids"] for prompt in PROMPTS for _ in range(3)]
    for rows in ([0, 1, 2, 3, 4, 5], [1, 1, 0, 5, 4, 4], [5, 4, 0, 0, 1], [2, 1, 0], [0, 1, 2]):
        session.select(torch.tensor(rows))
        contexts = [contexts[row] for row in rows]
        temperature = torch.linspace(0.7, 1.3, len(rows))
        block = session.sample(TokenLaw(temperature))
        log_prob = session.log_prob(block, TokenLaw(temperature))
        for row, drawn in enumerate(drawn_tokens(block)):
            expected = plain_log_prob(tiny_lm.model, contexts[row], drawn, float(temperature[row]))
            assert float(log_prob[row]) == pytest.approx(expected, abs=1e-4)
        finished, truncated = session.accept(block, last_step=False)
        assert not truncated.any()
        contexts = [context + drawn for context, drawn in zip(contexts, drawn_tokens(block), strict=True)]
        if finished.any():
            pytest.fail("the seed was chosen so that no row ends")


def test_a_given_block_has_the_log_probability_of_the_same_block_sampled(tiny_lm):
    torch.manual_seed(2)
    session, ones = start(tiny_lm), TokenLaw(torch.ones(6))
    session.select(torch.arange(6))
    block = session.sample(ones)
    sampled = session.log_prob(block, ones)
    before = session.tokens_forwarded.clone()
    assert torch.equal(session.log_prob(block, ones), sampled)
    assert torch.equal(session.tokens_forwarded, before), "a remembered block must not pass through the model again"
    other = start(tiny_lm)
    other.select(torch.arange(6))
    torch.testing.assert_close(other.log_prob(block, ones), sampled, rtol=0, atol=1e-4)
    other.accept(block, last_step=False)
    session.accept(block, last_step=False)
    for one in (session, other):
        one.select(torch.tensor([5, 0, 0, 2, 3, 1]))
    nexts = torch.tensor([[72], [73], [74], [75], [76], [77]])
    torch.testing.assert_close(session.log_prob(nexts, ones), other.log_prob(nexts, ones), rtol=0, atol=1e-4)


def test_log_probability_at_a_temperature_asked_for_only_after_the_block_was_accepted(tiny_lm):
    torch.manual_seed(2)
    session, ones = start(tiny_lm), TokenLaw(torch.ones(6))
    session.select(torch.arange(6))
    block = session.sample(ones)
    session.accept(block, last_step=False)
    late = session.log_prob(block, TokenLaw(torch.full((6,), 2.0)))
    for row, drawn in enumerate(drawn_tokens(block)):
        context = tiny_lm.tokenizer(PROMPTS[row // 3] + "\n")["input_ids"]
        assert float(late[row]) == pytest.approx(plain_log_prob(tiny_lm.model, context, drawn, 2.0), abs=1e-4)
    session.select(torch.tensor([3, 3]))
    again = session.log_prob(torch.tensor([[65], [66]]), TokenLaw(torch.ones(2)))
    context = tiny_lm.tokenizer(PROMPTS[1] + "\n")["input_ids"] + drawn_tokens(block)[3]
    assert float(again[0]) == pytest.approx(plain_log_prob(tiny_lm.model, context, [65]), abs=1e-4)


def test_once_a_block_is_accepted_no_other_is_taken_before_the_next_step(tiny_lm):
    """It would be written over what the cache holds of the accepted one."""
    session, ones = start(tiny_lm), TokenLaw(torch.ones(6))
    block = torch.tensor([[65, 66]] * 6)
    session.accept(block, last_step=False)
    expected = session.log_prob(block, ones)
    for name, attempt in {
        "accept": lambda: session.accept(block, last_step=False),
        "rehearse": lambda: session.rehearse([[[65]]] * 6, ones, 3),
        "another block": lambda: session.log_prob(block + 1, ones),
        "another": lambda: session.sample(ones),
    }.items():
        with pytest.raises(RuntimeError, match=f"expected {name}.* before a block is accepted, got it afterwards"):
            attempt()
    torch.testing.assert_close(session.log_prob(block.clone(), ones), expected)


def test_proposal_and_target_come_from_one_pass(tiny_lm):
    torch.manual_seed(3)
    session, ones = start(tiny_lm), TokenLaw(torch.ones(6))
    session.select(torch.arange(6))
    block = session.sample(TokenLaw(torch.full((6,), 0.5)), record=[ones])
    counted = session.tokens_forwarded.clone()
    target = session.log_prob(block, ones)
    assert torch.equal(session.tokens_forwarded, counted)
    context = tiny_lm.tokenizer(PROMPTS[0] + "\n")["input_ids"]
    assert float(target[0]) == pytest.approx(plain_log_prob(tiny_lm.model, context, drawn_tokens(block)[0]), abs=1e-4)


def test_steps_are_sampled_from_the_law_they_claim(tiny_lm):
    torch.manual_seed(4)
    session = start(tiny_lm, num_particles=4000, max_step_tokens=1, prompts=["abc"])
    session.select(torch.arange(4000))
    block = session.sample(TokenLaw(torch.ones(4000)))
    with torch.no_grad():
        logits = tiny_lm.model(torch.tensor([tiny_lm.tokenizer("abc\n")["input_ids"]])).logits[0, -1]
    assert_frequencies(torch.bincount(block[:, 0], minlength=257), torch.softmax(logits.double(), -1))


def test_limits_on_tokens_truncate(tiny_lm):
    torch.manual_seed(1)
    session = start(tiny_lm, max_step_tokens=4, max_tokens=6)
    session.select(torch.arange(6))
    first = session.sample(TokenLaw(torch.ones(6)))
    finished, truncated = session.accept(first, last_step=False)
    assert not truncated.any() and first.shape[1] <= 4
    with pytest.raises(ValueError, match="rows that have not ended"):
        session.select(torch.arange(6))
    going = torch.nonzero(~finished).squeeze(1)
    session = start(tiny_lm, max_step_tokens=4, max_tokens=6)
    session.accept(first, last_step=False)
    session.select(going)
    second = session.sample(TokenLaw(torch.ones(len(going))))
    finished, truncated = session.accept(second, last_step=False)
    lengths = (first[going] != PAD).sum(-1) + (second != PAD).sum(-1)
    assert lengths.max() <= 6
    assert torch.equal(truncated, (lengths == 6) & ~finished)


def test_the_context_is_a_limit_too(tiny_lm):
    session = start(tiny_lm, max_step_tokens=64, prompts=["x" * 120])
    session.select(torch.arange(3))
    block = session.sample(TokenLaw(torch.ones(3)))
    assert block.shape[1] <= 7
    with pytest.raises(ValueError, match="context of 128 tokens, got one of 128 tokens"):
        start(tiny_lm, prompts=["x" * 127])


def test_a_given_block_that_does_not_fit_is_refused(tiny_lm):
    session = start(tiny_lm, max_step_tokens=4, max_tokens=6)
    session.select(torch.arange(6))
    assert session.log_prob(torch.full((6, 6), 65), TokenLaw(torch.ones(6))).isfinite().all()
    with pytest.raises(ValueError, match="fits into the room left to its row, which is 6 tokens, got 7"):
        session.log_prob(torch.full((6, 7), 65), TokenLaw(torch.ones(6)))


def test_end_of_text_finishes_and_leaves_no_text(tiny_lm):
    session = start(tiny_lm)
    session.select(torch.arange(6))
    block = torch.tensor([[65, 256, PAD]] * 3 + [[65, 66, 67]] * 3)
    finished, truncated = session.accept(block, last_step=True)
    assert finished.tolist() == [True] * 3 + [False] * 3
    assert truncated.tolist() == [False] * 3 + [True] * 3
    expected = tiny_lm.tokenizer.decode([65, 66, 67])
    assert session.decode(block) == [tiny_lm.tokenizer.decode([65])] * 3 + [expected] * 3


def test_memory_is_that_of_the_rows_in_use(tiny_lm):
    torch.manual_seed(6)
    session = start(tiny_lm, num_particles=40)
    session.select(torch.arange(80))
    finished, _ = session.accept(session.sample(TokenLaw(torch.ones(80))), last_step=False)
    session.select(torch.nonzero(~finished).squeeze(1)[:8])
    config, columns = tiny_lm.model.config, int(session._forward.lengths.max())
    needed = 8 * columns * config.num_hidden_layers * 2 * config.num_key_value_heads * config.head_dim * 4
    assert needed <= session._forward.num_bytes <= needed * (columns + 32) / columns * 1.07
