"""Steps tried on rows that stay as they are: probabilities, texts, ends and scores equal those of really going on."""

import math

import pytest
import torch

from ppl_scaling.backends import StopText, TokenClassificationRewardModel, TransformersLanguageModel
from ppl_scaling.backends.finite import FiniteLanguageModel, FunctionRewardModel
from ppl_scaling.backends.reward_models import SequenceClassificationRewardModel
from ppl_scaling.interfaces import PAD
from ppl_scaling.token_law import TokenLaw
from tests.backends.reward_models.tiny import Summary, bert

LAW = TokenLaw(torch.tensor([1.0, 0.7, 1.3]))


@pytest.fixture
def tokens(byte_tokenizer):
    """Tokens of a text; ``$`` is the end."""
    return lambda text: [256 if letter == "$" else token for letter in text for token in byte_tokenizer(letter)["input_ids"]]


def padded(blocks):
    longest = max(map(len, blocks))
    return torch.tensor([list(block) + [PAD] * (longest - len(block)) for block in blocks])


def begin(model, blocks, **limits):
    """Open a session whose rows have written a step."""
    session = model.start(["xy"], len(blocks), **limits)
    block = padded(blocks)
    session.log_prob(block, TokenLaw(torch.ones(len(blocks))))
    session.accept(block, False)
    session.select(torch.arange(len(blocks)))
    return session


def go_on(session, steps, laws, steps_left):
    """Take the steps one after the other, really; log-probability, whether the rows ended, texts."""
    total, texts, ended = torch.zeros(len(steps), dtype=torch.float64), [[] for _ in steps], [False] * len(steps)
    rows = list(range(len(steps)))
    for s in range(max(map(len, steps))):
        kept = [row for row in rows if s < len(steps[row])]
        session.select(torch.tensor([rows.index(row) for row in kept]))
        block = padded([steps[row][s] for row in kept])
        total[kept] += session.log_prob(block, laws.rows(torch.tensor(kept)))
        finished, truncated = session.accept(block, s + 1 == steps_left)
        for row, text, one, other in zip(kept, session.decode(block), finished, truncated, strict=True):
            texts[row].append(text)
            ended[row] = bool(one | other)
        rows = kept
    return total, ended, texts


@pytest.mark.parametrize("chunk", [None, 2], ids=["at once", "in pieces"])
def test_steps_that_are_tried_are_those_that_would_be_taken(tiny_lm, tokens, monkeypatch, chunk):
    if chunk:
        monkeypatch.setattr("ppl_scaling.backends.rehearsal._LOGITS", chunk * 3 * 257)
    half, rest = [tokens("é")[:1], tokens("é")[1:]]
    steps = [
        [tokens("abc") + half, rest + tokens("c\n"), tokens("d$")],
        [rest + tokens("\n")],
        [tokens("fghij"), tokens("k\n")],
    ]

    def begun():
        session = tiny_lm.start(["abc", "de"], 2, max_step_tokens=5, max_tokens=40)
        block = padded([tokens("a\n") + half, tokens("b\n"), tokens("c\n"), tokens("defg\n")])
        session.log_prob(block, TokenLaw(torch.ones(4)))
        session.accept(block, False)
        session.select(torch.tensor([3, 0, 0]))
        return session

    session = begun()
    read = session.tokens_forwarded
    tried = session.rehearse(steps, LAW, 3)
    total, ended, texts = go_on(begun(), steps, LAW, 3)
    torch.testing.assert_close(tried.log_prob, total, atol=1e-5, rtol=1e-5)
    assert tried.ended.tolist() == ended == [True, False, False] and tried.texts == texts
    lengths = [sum(map(len, own)) for own in steps]
    assert (session.tokens_forwarded - read).tolist() == [lengths[1] + lengths[2] - 2, lengths[0] - 1]

    after, fresh = padded([tokens("x\n"), tokens("yz\n"), tokens("w\n")]), begun()
    for one in (session, fresh):
        one.select(torch.tensor([2, 1, 0]))
    torch.testing.assert_close(session.log_prob(after, LAW), fresh.log_prob(after, LAW), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("backend", ["transformers", "finite"])
def test_rooms_and_limits_are_those_of_each_row(tiny_lm, tokens, backend):
    """Two rows with room for 3 and 5 tokens, and steps of at most 4."""
    model, named = tiny_lm, lambda text: tokens(text.replace(";", "\n"))
    if backend == "finite":
        model = FiniteLanguageModel({"": {"a": 0.4, "b": 0.3, ";": 0.2, "$": 0.1}}, delimiter=";")
        named = lambda text: [model.tokens.index(letter) for letter in text]  # noqa: E731
    session = begin(model, [named("aa;"), named(";")], max_step_tokens=4, max_tokens=6)

    def tried(*steps, steps_left=9):
        outcome = session.rehearse([[named(step) for step in steps]] * 2, TokenLaw(torch.ones(2)), steps_left)
        return outcome.ended.tolist(), (outcome.log_prob > -math.inf).tolist()

    assert tried("a;", "$") == ([True, True], [True, True])
    assert tried("aa;", "$")[1] == [False, True], "no room for the end"
    assert tried("aab") == ([True, False], [True, False]), "cut by the limit of one row only"
    assert tried("aabb")[1] == [False, True], "a step of the greatest length ends of itself"
    assert tried("a;", "a") == ([True, False], [True, False])
    assert tried("aa;") == ([True, False], [True, True]), "ended, and no room to go on"
    assert tried("a;", steps_left=1) == ([True, True], [True, True]), "the last step there is"
    assert tried("a", steps_left=1)[1] == [False, False], "no step, and nothing that cuts it"
    nothing = session.rehearse([[], []], TokenLaw(torch.ones(2)), 9)
    assert nothing.log_prob.tolist() == [0.0, 0.0] and nothing.texts == [[], []]


def test_a_stop_text_may_be_completed_by_a_rows_own_past(tiny_lm, tokens):
    lm = TransformersLanguageModel(tiny_lm.model, tiny_lm.tokenizer, stop=StopText("s\nt"))
    session = begin(lm, [tokens("s\n"), tokens("a\n")], max_step_tokens=4, max_tokens=30)
    one = session.rehearse([[tokens("t\n")]] * 2, TokenLaw(torch.ones(2)), 9)
    assert one.ended.tolist() == [True, False]
    two = session.rehearse([[tokens("t\n"), tokens("b\n")]] * 2, TokenLaw(torch.ones(2)), 9)
    assert (two.log_prob > -math.inf).tolist() == [False, True], "the first has ended before its second step"


@pytest.mark.parametrize("kind", ["last", "prod", "mean", "whole-prefix", "changing layout", "encoder", "finite"])
def test_scores_that_are_tried_are_those_that_would_be_given(tiny_prm, pair_tokenizer, kind):
    if kind == "changing layout":
        model = Summary(tiny_prm.model, tiny_prm.tokenizer)
    elif kind == "encoder":
        model = SequenceClassificationRewardModel(bert(), pair_tokenizer)
    elif kind == "finite":
        model = FunctionRewardModel(lambda prompt, text: (len(text) % 7 + 1) / 9)
    else:
        model = TokenClassificationRewardModel(tiny_prm.model, tiny_prm.tokenizer, aggregation=kind)
    steps = [["bb", "c", "dd"], [], ["e"], ["ff", "x" * (1 if kind == "finite" else 400), "g"]]

    def begun():
        session = model.start(["p", "q"], 2)
        session.score(["a", "bb", "ccc", "d"])
        session.select(torch.tensor([3, 0, 2, 1]))
        return session

    session, fresh = begun(), begun()
    assert [part.shape for part in session.rehearse([[]] * 4)] == [(4, 0), (4, 0)]
    read = session.tokens_forwarded.clone()
    logits, fits = session.rehearse(steps)
    long = kind == "finite"
    assert fits.tolist() == [[True] * 3, [False] * 3, [True, False, False], [True, long, long]]
    assert torch.equal(logits.isnan(), ~fits) and (session.tokens_forwarded > read).all()
    for s in range(3):
        going = [row for row in range(4) if fits[row, s]]
        one = begun()
        one.select(torch.tensor(going))
        for before in range(s):
            one.score([steps[row][before] for row in going])
        given = one.score([steps[row][s] for row in going])
        torch.testing.assert_close(given, logits[going, s], atol=1e-5, rtol=1e-5)
    for one in (session, fresh):
        one.select(torch.tensor([0, 2, 3, 3]))
    following = ["h", "i", "j", "kk"]
    torch.testing.assert_close(session.score(following), fresh.score(following), atol=1e-5, rtol=1e-5)
