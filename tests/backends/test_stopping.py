"""Where steps end, whatever the tokenizer makes of the text."""

import itertools

import pytest
import torch

from ppl_scaling import host
from ppl_scaling.backends import AnyOf, Delimiter, Sentence, TokenCount, When
from ppl_scaling.backends.stopping import as_boundary
from ppl_scaling.backends.vocabulary import Vocabulary

TEXTS = ["a", "\n", "a\n", "\nb", "\n\n", " ", ".\n\nc", "\n \n"]


def steps(boundary, tokens):
    """Feed one row; the numbers of tokens after which it was told to stop."""
    vocabulary = Vocabulary(list(dict.fromkeys(tokens)), torch.device("cpu"))
    texts = list(dict.fromkeys(tokens))
    tracker, ends = boundary.track(vocabulary, 1), []
    for count, text in enumerate(tokens, 1):
        if tracker.closes(torch.tensor([0]), torch.tensor([texts.index(text)])).item():
            ends.append(count)
            tracker = boundary.track(vocabulary, 1)
    return ends


@pytest.mark.parametrize(
    ("delimiter", "tokens", "ends"),
    [
        ("\n", ["a", "\n", "a", "\n"], [2, 4]),
        ("\n", ["\n", "\n", "a", "\n"], [4]),
        ("\n", ["a", "a\n", "\nb", "a"], [2]),
        ("\n", [" ", "\n", "a\n"], [3]),
        ("\n", ["\u3000", "\u3000\n", "a\n"], [3]),
        ("\n", [b"\xe3", b"\x80\x80\n", b"\xe3", b"\x80\x82\n"], [4]),
        ("\n\n", ["a", "\n", "\n", "a"], [3]),
        ("\n\n", ["a", "\n", "a", "\n\n"], [4]),
        ("\n\n", ["a\n", "\nb"], [2]),
        ("\n\n", ["\n\n", "a", "a"], []),
        ("\n\n", [".\n\nc"], [1]),
        ("\n\n", ["a", "\n \n"], []),
        ("aab", ["aa", "a", "b"], [3]),
        ("aab", ["x", "a", "ab", "ab"], [3]),
        ("## Step", ["## Step", " 1\n", "##", " St", "ep 2"], [1, 5]),
        ("。", ["好", b"\xe3\x80", b"\x82"], [3]),
        (" ", [" ", "a", " a"], [3]),
    ],
)
def test_delimiters(delimiter, tokens, ends):
    assert steps(Delimiter(delimiter), tokens) == ends


def test_delimiters_are_found_as_in_the_decoded_text():
    """Against the definition, on random cuts of random texts: the delimiter is in the text without leading white space."""
    generator = torch.Generator().manual_seed(0)
    alphabet = ["a", "b", "ab", "\n", " ", "\n\n", "b\n", "é", "\u2003"]
    for delimiter in ("\n", "\n\n", "ab", "aba", "b\n", "é", "\n \n", "abab"):
        for _ in range(40):
            draws = torch.randint(len(alphabet), (12,), generator=generator).tolist()
            data = "".join(alphabet[draw] for draw in draws).encode()
            cuts = sorted({0, len(data), *torch.randint(len(data), (8,), generator=generator).tolist()})
            tokens = [data[begin:end] for begin, end in itertools.pairwise(cuts)]
            expected, begin = [], 0
            for count in range(1, len(tokens) + 1):
                text = b"".join(tokens[begin:count]).decode(errors="ignore")
                if delimiter in text.lstrip():
                    expected.append(count)
                    begin = count
            if any(not piece.decode(errors="ignore").encode() == piece for piece in tokens):
                # A character cut by the end of a step is read differently by the two, so compare first steps only.
                assert steps(Delimiter(delimiter), tokens)[:1] == expected[:1]
            else:
                assert steps(Delimiter(delimiter), tokens) == expected


def test_rows_are_followed_separately_and_out_of_order():
    vocabulary = Vocabulary(TEXTS, torch.device("cpu"))
    for boundary in (Delimiter("\n"), Delimiter("\n\n"), Sentence(), When(lambda text: "\n" in text)):
        tracker = boundary.track(vocabulary, 3)
        tracker.closes(torch.tensor([2, 0, 1]), torch.tensor([0, 5, 0]))
        closes = tracker.closes(torch.tensor([1, 2]), torch.tensor([4, 0]))
        assert closes.tolist() == [True, False]


def test_delimiters_and_counts_never_wait_for_the_device(monkeypatch):
    for name in ("is_true", "as_list", "count", "largest", "positions"):
        monkeypatch.setattr(host, name, lambda *_: pytest.fail("asked for a value"))
    vocabulary = Vocabulary(TEXTS, torch.device("cpu"))
    for boundary in (Delimiter("\n"), Delimiter("\n\nab"), TokenCount(3), AnyOf("\n", 2)):
        tracker = boundary.track(vocabulary, 2)
        tracker.closes(torch.tensor([1, 0]), torch.tensor([0, 1]))


def test_token_counts():
    assert steps(TokenCount(3), ["a", "b", "c", "a", "b", "c", "a"]) == [3, 6]
    assert steps(TokenCount(1), ["\n", "\n"]) == [1, 2]


@pytest.mark.parametrize(
    ("tokens", "ends"),
    [
        (["We", " add", ".", " Then", " stop", "."], [3, 6]),
        (["Is", " it", "?", " Yes", "!"], [3, 5]),
        (["He", " said", ' "go', '."', " Then"], [4]),
        (["It", " is", " ", "3", ".", "5", " metres", "."], [8]),
        (["It", " is", " 3", ".", " So"], []),
        (["It", " is", " 3", ".\n", "So"], [4]),
        (["It", " is", " 3", ". ", "So"], [4]),
        (["1", ". ", "Add", " them", "."], [5]),
        (["5", "!", " is", " 120", ".\n\n"], [5]),
        (["A", " full", " one", ".\n\n", "The", " next", "\n"], [4, 7]),
        (["\n", "\n", "First", " line", "\n"], [5]),
        (["Mr", ".", " Bo", " met", " J", ".", " Lee", "."], [8]),
        (["at", " 5", " p", ".m", ".", " sharp", "."], [7]),
        (["see", " e", ".g", ".", " this", "."], [6]),
        (["so", " x", "."], [3]),
        (["wait", "...", " what", "?!"], [2, 4]),
        (["...", "...", " so", "."], [4]),
        (["end", ".", ".", ".", " Next", "."], [2, 6]),
        (["x", " =", " .", "5", " m", "."], [6]),
        (["一", "。", "二", "\uff01"], [2, 4]),
        (["一", b"\xe3\x80", b"\x82"], [3]),
        (["he ran. She", " sat", "."], [1, 3]),
        (["at example.com", " now", "."], [3]),
        (["no", ".", " The", " answer", " is", " no", "."], [2, 7]),
    ],
)
def test_sentences(tokens, ends):
    assert steps(Sentence(), tokens) == ends


def test_when_sees_whole_characters_of_the_step_so_far():
    seen = []

    def three_words(text):
        seen.append(text)
        return len(text.split()) >= 3

    tokens = [" one", " tw", b"\xc3", b"\xb6", " three", " four"]
    assert steps(When(three_words), tokens) == [5]
    assert seen == [" one", " one tw", " one tw", " one twö", " one twö three", " four"]


def test_any_of_follows_all_of_its_boundaries():
    assert steps(AnyOf("\n", 3, lambda text: text.endswith("!")), ["a", "\n", "b", "!", "c", "d", "e"]) == [2, 4, 7]


def test_what_can_be_made_a_boundary():
    boundary = Sentence()
    assert as_boundary(boundary) is boundary
    assert as_boundary("\n\n") == Delimiter("\n\n") and as_boundary(20) == TokenCount(20)
    assert as_boundary(str.isupper) == When(str.isupper)
    assert repr(AnyOf("\n", 5)) == r"AnyOf(boundaries=(Delimiter('\n'), TokenCount(5)))"
    for nothing in (None, 1.5, True, Sentence):
        with pytest.raises(TypeError, match="expected a step boundary"):
            as_boundary(nothing)
    with pytest.raises(TypeError, match="the class Sentence; make one of it"):
        as_boundary(Sentence)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: Delimiter(""), ValueError, "at least one character"),
        (lambda: Delimiter(3), TypeError, "a delimiter to be a string, got int"),
        (lambda: TokenCount(0), ValueError, "at least 1, got 0"),
        (lambda: TokenCount(True), TypeError, "an integer, got bool"),
        (lambda: When("x"), TypeError, "a function of the step's text, got str"),
        (lambda: AnyOf(), ValueError, "at least one boundary"),
        (lambda: AnyOf("\n", None), TypeError, "expected a step boundary"),
    ],
)
def test_mistakes(make, kind, message):
    with pytest.raises(kind, match=message):
        make()
