"""Step boundaries that read the text of a step: the end of a sentence, and any function.

Texts are on the host, so to look at one is to wait for the device; those of :mod:`.stopping` never do.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_scaling import host
from ppl_scaling.backends.sentences import completes_sentence, may_complete_sentence
from ppl_scaling.backends.vocabulary import Vocabulary

__all__ = ["Sentence", "When"]


@dataclass(frozen=True)
class Sentence:
    """A step ends with the token that completes a sentence.

    That is the token with the full stop, exclamation or question mark (also the full-width ones) and what of closing quotes
    and brackets it brings along, or with a line feed after visible text. Since nothing is known of the next token,

    - a dot or exclamation mark after a digit (``3.5``, ``5!``, the ``1.`` of a list) ends a sentence only if white space
      follows within the same token;
    - a dot after a single capital letter or a common English abbreviation ends none;
    - a quote or bracket that comes as a token of its own after the full stop stands at the beginning of the next step.

    Where the rule says no although a reader would say yes, the step goes on to the next end of a sentence.
    """

    def track(self, vocabulary: Vocabulary, num_rows: int) -> _SentenceTracker:
        """Begin a step of ``num_rows`` rows."""
        return _SentenceTracker(vocabulary, num_rows)


class _SentenceTracker:
    """Looks at texts only when some row draws a token that could end its sentence; until then tokens stay on the device."""

    def __init__(self, vocabulary: Vocabulary, num_rows: int) -> None:
        self._may_end = vocabulary.table("sentence", lambda: [may_complete_sentence(piece) for piece in vocabulary.pieces])
        self._texts = _RowTexts(vocabulary, num_rows)
        self._unread: list[tuple[Tensor, Tensor]] = []

    def closes(self, rows: Tensor, tokens: Tensor) -> Tensor:
        self._unread.append((rows, tokens))
        candidates = self._may_end[tokens]
        if not host.is_true(candidates.any()):
            return candidates
        *earlier, last = self._unread
        for some_rows, some_tokens in earlier:
            self._texts.append(some_rows, some_tokens)
        self._unread = []
        grown = self._texts.append(*last)
        flags = [
            candidate and completes_sentence(*one) for candidate, one in zip(host.as_list(candidates), grown, strict=True)
        ]
        return torch.tensor(flags, dtype=torch.bool, device=tokens.device)


@dataclass(frozen=True)
class When:
    """A step ends as soon as a function of its text says so.

    Parameters
    ----------
    function : callable of str -> bool
        Takes the text of the step so far, after every token; it may begin with white space, and a character of which the
        last token is only a part is left out. It should be quick, and depend on nothing but the text.

    Raises
    ------
    TypeError
        If it is not callable.
    """

    function: Callable[[str], bool]

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise TypeError(f"expected a function of the step's text, got {type(self.function).__name__}")

    def track(self, vocabulary: Vocabulary, num_rows: int) -> _FunctionTracker:
        """Begin a step of ``num_rows`` rows."""
        return _FunctionTracker(self.function, _RowTexts(vocabulary, num_rows))


class _FunctionTracker:
    def __init__(self, function: Callable[[str], bool], texts: _RowTexts) -> None:
        self._function = function
        self._texts = texts

    def closes(self, rows: Tensor, tokens: Tensor) -> Tensor:
        flags = [bool(self._function(text)) for text, _ in self._texts.append(rows, tokens)]
        return torch.tensor(flags, dtype=torch.bool, device=tokens.device)


class _RowTexts:
    """Text of each row's step, whole characters only."""

    def __init__(self, vocabulary: Vocabulary, num_rows: int) -> None:
        self._pieces = vocabulary.pieces
        self._texts = [""] * num_rows
        self._decoders = [codecs.getincrementaldecoder("utf-8")(errors="replace") for _ in range(num_rows)]

    def append(self, rows: Tensor, tokens: Tensor) -> list[tuple[str, int]]:
        """Take the next token of some rows; the text of each and where in it the token begins."""
        grown = []
        for row, token in zip(host.as_list(rows), host.as_list(tokens), strict=True):
            before = self._texts[row]
            self._texts[row] = before + self._decoders[row].decode(self._pieces[token])
            grown.append((self._texts[row], len(before)))
        return grown
