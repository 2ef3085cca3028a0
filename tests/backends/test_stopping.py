"""Where steps end, whatever the tokenizer makes of the delimiter."""

import pytest
import torch

from ppl_scaling.backends.stopping import Delimiter, Vocabulary

TEXTS = ["a", "\n", "a\n", "\nb", "\n\n", " ", ".\n\nc", "\n \n"]


def steps(delimiter, tokens):
    """Feed one row; the numbers of tokens after which it was told to stop."""
    vocabulary = Vocabulary(TEXTS, torch.device("cpu"))
    tracker, ends = Delimiter(delimiter).track(vocabulary, 1), []
    for count, text in enumerate(tokens, 1):
        if tracker.closes(torch.tensor([0]), torch.tensor([TEXTS.index(text)])).item():
            ends.append(count)
            tracker = Delimiter(delimiter).track(vocabulary, 1)
    return ends


@pytest.mark.parametrize(
    ("delimiter", "tokens", "ends"),
    [
        ("\n", ["a", "\n", "a", "\n"], [2, 4]),
        ("\n", ["\n", "\n", "a", "\n"], [4]),
        ("\n", ["a", "a\n", "\nb", "a"], [2]),
        ("\n", [" ", "\n", "a\n"], [3]),
        ("\n\n", ["a", "\n", "\n", "a"], [3]),
        ("\n\n", ["a", "\n", "a", "\n\n"], [4]),
        ("\n\n", ["a\n", "\nb"], [2]),
        ("\n\n", ["\n\n", "a", "a"], []),
        ("\n\n", [".\n\nc"], [1]),
        ("\n\n", ["a", "\n \n"], []),
    ],
)
def test_delimiters(delimiter, tokens, ends):
    assert steps(delimiter, tokens) == ends


def test_rows_are_followed_separately_and_out_of_order():
    vocabulary = Vocabulary(TEXTS, torch.device("cpu"))
    for delimiter in ("\n", "\n\n"):
        tracker = Delimiter(delimiter).track(vocabulary, 3)
        tracker.closes(torch.tensor([2, 0, 1]), torch.tensor([0, 1, 0]))
        closes = tracker.closes(torch.tensor([1, 2]), torch.tensor([4, 0]))
        assert closes.tolist() == [True, False]


def test_an_empty_delimiter_is_refused():
    with pytest.raises(ValueError, match="at least one character"):
        Delimiter("")
