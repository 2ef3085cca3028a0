"""The engine: what is kept of a cache when a layout changes, room, repeated texts, memory and encoders."""

import pytest
import torch
from transformers import LlamaForTokenClassification

from ppl_scaling.backends.reward_models import SequenceClassificationRewardModel, TokenClassificationRewardModel, linear
from ppl_scaling.backends.reward_models.session import _shared
from ppl_scaling.backends.reward_models.texts import PieceEncoder
from ppl_scaling.errors import BackendError, ConstantScoreError, MemoryExhaustedError
from tests.backends.reward_models.tiny import Summary, bert, llama, llama3_tokenizer, mistral_tokenizer


@pytest.fixture
def summary():
    return Summary(llama(LlamaForTokenClassification, num_labels=2), llama3_tokenizer())


def whole(reward_model, problem, steps):
    tokens = torch.tensor([reward_model.layout(problem, steps)])
    with torch.no_grad():
        logits = reward_model.model(tokens).logits[0, -1]
    return float(logits[1] - logits[0])


def test_a_layout_that_changes_in_the_middle_is_exact(summary):
    assert repr(summary) == "Summary(family='custom', aggregation='last', incremental)" and not summary.scores_prefixes
    session = summary.start(["What is 12?", "x"], 2)
    histories = [("What is 12?", []), ("What is 12?", []), ("x", []), ("x", [])]
    for t, rows in enumerate(([0, 1, 2, 3], [3, 3, 0, 1], [2, 0], [1, 1, 0])):
        session.select(torch.tensor(rows))
        histories = [(histories[row][0], [*histories[row][1], f"{t} and {place}"]) for place, row in enumerate(rows)]
        for logit, history in zip(session.score([steps[-1] for _, steps in histories]), histories, strict=True):
            assert float(logit) == pytest.approx(whole(summary, *history), abs=1e-4)


def test_what_comes_before_the_change_is_not_read_again(summary):
    session = summary.start(["a long problem about boxes of pens and the sum of the boxes"], 1)
    read = int(session.tokens_forwarded)
    session.score(["12"])
    assert int(session.tokens_forwarded) - read < 15


def test_a_step_that_adds_no_token_is_scored_too(tiny_prm):
    """The last token is forwarded again, as the score is read there."""

    class Silent(Summary):
        def layout(self, problem, steps):
            return list(self.encode(problem + "".join(step for step in steps if step != "nothing")))

    silent = Silent(tiny_prm.model, tiny_prm.tokenizer)
    session = silent.start(["abc"], 1)
    first = session.score(["d"])
    read = int(session.tokens_forwarded)
    assert float(session.score(["nothing"])) == pytest.approx(float(first), abs=1e-5)
    assert int(session.tokens_forwarded) == read + 1
    assert float(session.score(["e"])) == pytest.approx(whole(silent, "abc", ["d", "e"]), abs=1e-4)


@pytest.mark.parametrize(
    ("old", "new", "expected"), [("", "abc", 0), ("abc", "abc", 3), ("abcd", "abce", 3), ("xbc", "abc", 0), ("abc", "ab", 2)]
)
def test_longest_common_beginning(old, new, expected):
    assert _shared(list(map(ord, old)), list(map(ord, new))) == expected
    assert _shared([7] * 1000 + [1], [7] * 1000 + [2, 3]) == 1000


def test_rows_without_room_are_left_alone_and_the_others_go_on(tiny_prm):
    session = tiny_prm.start(["p", "q"], 2)
    session.score(["a", "b", "c", "d"])
    steps = ["e", "x" * 300, "f", "y" * 300]
    assert session.fits(steps).tolist() == [True, False, True, False]
    logits = session.score(steps)
    assert logits.isnan().tolist() == [False, True, False, True]
    session.select(torch.tensor([2, 0, 1]))
    logits = session.score(["g", "h", "i"])
    for logit, (problem, steps) in zip(logits, [("q", "cfg"), ("p", "aeh"), ("p", "bi")], strict=True):
        assert float(logit) == pytest.approx(whole(tiny_prm, problem, list(steps)), abs=1e-4)
    assert tiny_prm.start(["p"], 1).score(["x" * 300]).isnan().all(), "no row fits"
    with pytest.raises(ValueError, match="context of 192 tokens"):
        tiny_prm.start(["x" * 192], 1)


def test_a_step_list_that_is_reused_is_laid_out_anew(tiny_prm):
    session, steps = tiny_prm.start(["p"], 2), ["a", "b"]
    assert session.fits(steps).all()
    first = session.score(steps)
    second = session.score(steps)
    assert not torch.equal(first, second)
    assert float(second[0]) == pytest.approx(whole(tiny_prm, "p", ["a", "a"]), abs=1e-4)


def test_an_encoder_reads_everything_again(pair_tokenizer):
    model = bert()
    reward_model = SequenceClassificationRewardModel(model, pair_tokenizer)
    assert not reward_model.incremental and reward_model.context_length == 64
    assert repr(reward_model).endswith("(family='sequence-classification', aggregation='whole-prefix', re-encoding)")
    session = reward_model.start(["what is 2", "x"], 2)
    assert session.tokens_forwarded.tolist() == [0, 0]
    session.score(["a", "bb", "ccc\n", "d"])
    session.select(torch.tensor([2, 1, 2]))
    logits = session.score([" e", "ff", "g" * 70])
    assert logits.isnan().tolist() == [False, False, True]
    assert session.tokens_forwarded.tolist() == [
        (9 + 1 + 2) + (9 + 2 + 2) + (9 + 4 + 2),
        (1 + 3 + 2) + (1 + 1 + 2) + (1 + 6 + 2),
    ]
    for logit, (problem, text) in zip(logits, [("x", "ccc\n e"), ("what is 2", "bbff")], strict=False):
        with torch.no_grad():
            expected = model(**pair_tokenizer(problem, text, return_tensors="pt")).logits[0]
        assert float(logit) == pytest.approx(float(expected[1] - expected[0]), abs=1e-5)


def test_the_head_of_an_encoder_is_float32_in_half_precision(pair_tokenizer):
    exact = SequenceClassificationRewardModel(bert(), pair_tokenizer).start(["what"], 3).score(["a", "b", "c"])
    logits = (
        SequenceClassificationRewardModel(bert(torch.bfloat16), pair_tokenizer).start(["what"], 3).score(["a", "b", "c"])
    )
    torch.testing.assert_close(logits, exact, atol=0.05, rtol=0.05)
    assert (logits != logits.bfloat16().float()).any()


def test_memory_that_runs_out_halves_the_rows_that_are_read_at_once(pair_tokenizer, monkeypatch):
    reward_model = SequenceClassificationRewardModel(bert(), pair_tokenizer)
    expected = reward_model.start(["p"], 5).score(list("abcde"))
    plain, most = reward_model.plain_logit, 2

    def scarce(tokens, mask, ends):
        if len(tokens) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(tokens, mask, ends)

    monkeypatch.setattr(reward_model, "plain_logit", scarce)
    session = reward_model.start(["p"], 5)
    torch.testing.assert_close(session.score(list("abcde")), expected)
    assert reward_model.micro_batch.num_rows == 2 and session.tokens_forwarded.tolist() == [5 * 4]
    most = 0
    with pytest.raises(MemoryExhaustedError, match="single row of 5 tokens"):
        session.score(list("fghij"))


def test_pieces_are_tokenised_apart_only_where_it_makes_no_difference(tiny_prm):
    class Texts:
        def __init__(self, tokenizer):
            self.encode = lambda text, special=False: tuple(tokenizer(text, add_special_tokens=special)["input_ids"])

    words = Texts(mistral_tokenizer())
    assert PieceEncoder(words, " ки", True, [["a b ки", "\nc ки"]]).by_pieces
    careful = PieceEncoder(words, "", True, [["a b ки", "\nc ки"]])
    assert not careful.by_pieces, "a text of its own begins with a mark"
    assert careful(["a ки", "\nc"]) == mistral_tokenizer()("a ки\nc")["input_ids"]
    merged = PieceEncoder(words, "Ste", False, [])
    assert merged(["Ste", "p"]) == list(words.encode("Step")), "a piece that merges with what stands before it shows at once"


def test_a_model_that_reads_something_else_than_itself_is_refused():
    class Doubled(TokenClassificationRewardModel):
        def head(self, hidden):
            return 2 * super().head(hidden)

    model = llama(LlamaForTokenClassification, num_labels=2)
    with pytest.raises(BackendError, match=r"Doubled reads the logit .* where LlamaForTokenClassification's own forward"):
        Doubled(model, llama3_tokenizer())


def test_constant_scores_are_refused_whatever_the_family(summary):
    summary.model.score.weight.data.zero_()
    with pytest.raises(ConstantScoreError, match=r"the score 0\.[0-9]+ to every step"):
        Summary(summary.model, summary.tokenizer)


def test_scores_that_are_not_numbers_are_refused(summary):
    summary.model.score.weight.data.fill_(float("nan"))
    with pytest.raises(BackendError, match=r"in torch.float32 gives scores that are not numbers.*try bfloat16"):
        Summary(summary.model, summary.tokenizer)


def test_an_offloaded_head_is_refused():
    with pytest.raises(BackendError, match="a head that is offloaded"):
        linear(torch.nn.Linear(4, 2, device="meta"), torch.zeros(1, 4))
