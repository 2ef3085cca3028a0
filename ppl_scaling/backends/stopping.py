"""Where a reasoning step ends.

A :class:`StepBoundary` is a policy. For each block that is sampled it makes a tracker, which sees the tokens as they are
drawn and says which rows have come to the end of their step. The end of the answer (an end-of-text token) and the limits
on tokens are the session's business, not the boundary's.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ppl_scaling import host

__all__ = ["BoundaryTracker", "Delimiter", "StepBoundary", "Vocabulary"]


class Vocabulary:
    """The text of every token of a language model.

    Parameters
    ----------
    texts : list of str
        ``texts[i]`` is what token ``i`` reads as on its own.
    device : torch.device
        Where the tables of :meth:`mask` live.
    """

    def __init__(self, texts: list[str], device: torch.device) -> None:
        self.texts = texts
        self.device = device
        self._masks: dict[tuple[str, str], Tensor] = {}

    def mask(self, kind: str, delimiter: str = "") -> Tensor:
        """Boolean table over the vocabulary, shape ``(V,)``, computed once.

        ``"content"``: the token has a character that is not white space. ``"closes"``: it contains the delimiter.
        ``"content_closes"``: it contains the delimiter after such a character.
        """
        key = (kind, delimiter)
        if key not in self._masks:
            if kind == "content":
                flags = [bool(text.strip()) for text in self.texts]
            elif kind == "closes":
                flags = [delimiter in text for text in self.texts]
            elif kind == "content_closes":
                flags = [delimiter in text.lstrip() for text in self.texts]
            else:
                raise ValueError(f"expected 'content', 'closes' or 'content_closes', got {kind!r}")
            self._masks[key] = torch.tensor(flags, device=self.device)
        return self._masks[key]


class BoundaryTracker(Protocol):
    """Follows the blocks of one step."""

    def closes(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """Take the next token of each of ``rows``, shape ``(n,)``; say whose step it ends, shape ``(n,)``, bool."""


class StepBoundary(Protocol):
    """Policy for the end of a step."""

    def track(self, vocabulary: Vocabulary, num_rows: int) -> BoundaryTracker:
        """Begin a step of ``num_rows`` rows."""


class Delimiter:
    r"""A step ends with the token that completes the delimiter, once the step has any visible text.

    Leading delimiters (empty lines) belong to the step that follows them, so there are no empty steps. The delimiter may
    be spread over several tokens, or be part of a larger one.

    Parameters
    ----------
    text : str, default "\\n"

    Raises
    ------
    ValueError
        If the text is empty.
    """

    def __init__(self, text: str = "\n") -> None:
        if not text:
            raise ValueError("expected a delimiter of at least one character, got an empty string")
        self.text = text

    def __repr__(self) -> str:
        return f"Delimiter({self.text!r})"

    def track(self, vocabulary: Vocabulary, num_rows: int) -> BoundaryTracker:
        """Begin a step of ``num_rows`` rows."""
        if len(self.text) == 1:
            return _CharacterTracker(self.text, vocabulary, num_rows)
        return _TextTracker(self.text, vocabulary, num_rows)


class _CharacterTracker:
    """A delimiter of one character lies within one token: three look-ups on the device, no text."""

    def __init__(self, delimiter: str, vocabulary: Vocabulary, num_rows: int) -> None:
        self._content = vocabulary.mask("content")
        self._closes = vocabulary.mask("closes", delimiter)
        self._content_closes = vocabulary.mask("content_closes", delimiter)
        self._has_content = torch.zeros(num_rows, dtype=torch.bool, device=vocabulary.device)

    def closes(self, rows: Tensor, tokens: Tensor) -> Tensor:
        closes = self._content_closes[tokens] | (self._closes[tokens] & self._has_content[rows])
        self._has_content[rows] |= self._content[tokens]
        return closes


class _TextTracker:
    """A longer delimiter may be cut anywhere by the tokenizer: follow the text of each row."""

    def __init__(self, delimiter: str, vocabulary: Vocabulary, num_rows: int) -> None:
        self._delimiter = delimiter
        self._vocabulary = vocabulary
        self._texts = [""] * num_rows

    def closes(self, rows: Tensor, tokens: Tensor) -> Tensor:
        flags = []
        for row, token in zip(host.as_list(rows), host.as_list(tokens), strict=True):
            self._texts[row] += self._vocabulary.texts[token]
            flags.append(self._delimiter in self._texts[row].lstrip())
        return torch.tensor(flags, dtype=torch.bool, device=tokens.device)
