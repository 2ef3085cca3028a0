"""Where a reasoning step ends.

A :class:`StepBoundary` is a policy. For each block that is sampled it makes a tracker, which sees the tokens as they are
drawn and says which rows have come to the end of their step. The end of the answer (an end-of-text token, a stop pattern)
and the limits on tokens are the session's business, not the boundary's.

A boundary is a stopping time of the tokens: whether a step ends with a token depends on this step's tokens up to it, never
on later ones. So the law of a step is well defined, whoever draws it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ppl_scaling.backends.automaton import CLOSED, START, delimiter_table
from ppl_scaling.backends.text_boundaries import When
from ppl_scaling.backends.vocabulary import Vocabulary

__all__ = ["AnyOf", "BoundaryTracker", "Delimiter", "StepBoundary", "TokenCount", "as_boundary"]


class BoundaryTracker(Protocol):
    """Follows the blocks of one step."""

    def closes(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """Take the next token of each of ``rows``, shape ``(n,)``; say whose step it ends, shape ``(n,)``, bool."""


@runtime_checkable
class StepBoundary(Protocol):
    """Policy for the end of a step."""

    def track(self, vocabulary: Vocabulary, num_rows: int) -> BoundaryTracker:
        """Begin a step of ``num_rows`` rows."""


@dataclass(frozen=True, repr=False)
class Delimiter:
    r"""A step ends with the token that completes the delimiter, once the step has any visible text.

    White space at the beginning of a step (empty lines) belongs to it, so there are no empty steps. The delimiter may be
    spread over several tokens, or be part of a larger one, which then belongs to the step as a whole.

    Parameters
    ----------
    text : str, default "\n"
        At least one character.

    Raises
    ------
    TypeError
        If the text is not a string.
    ValueError
        If the text is empty.
    """

    text: str = "\n"

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise TypeError(f"expected a delimiter to be a string, got {type(self.text).__name__}")
        if not self.text:
            raise ValueError("expected a delimiter of at least one character, got an empty string")

    def __repr__(self) -> str:
        return f"Delimiter({self.text!r})"

    def track(self, vocabulary: Vocabulary, num_rows: int) -> BoundaryTracker:
        """Begin a step of ``num_rows`` rows."""
        table = vocabulary.table(self, lambda: delimiter_table(self.text, vocabulary.pieces))
        return _DelimiterTracker(table, num_rows)


class _DelimiterTracker:
    """One look-up a token, on the device."""

    def __init__(self, table: Tensor, num_rows: int) -> None:
        self._table = table
        self._states = torch.full((num_rows,), START, dtype=torch.long, device=table.device)

    def closes(self, rows: Tensor, tokens: Tensor) -> Tensor:
        states = self._table[self._states[rows], tokens].long()
        self._states[rows] = states
        return states == CLOSED


@dataclass(frozen=True, repr=False)
class TokenCount:
    """A step ends after a number of tokens; the last step of an answer may be shorter.

    Parameters
    ----------
    num_tokens : int
        At least 1.

    Raises
    ------
    TypeError
        If it is not an integer.
    ValueError
        If it is below 1.
    """

    num_tokens: int

    def __post_init__(self) -> None:
        if not isinstance(self.num_tokens, int) or isinstance(self.num_tokens, bool):
            raise TypeError(f"expected num_tokens to be an integer, got {type(self.num_tokens).__name__}")
        if self.num_tokens < 1:
            raise ValueError(f"expected num_tokens to be at least 1, got {self.num_tokens}")

    def __repr__(self) -> str:
        return f"TokenCount({self.num_tokens})"

    def track(self, vocabulary: Vocabulary, num_rows: int) -> BoundaryTracker:
        """Begin a step of ``num_rows`` rows."""
        return _CountTracker(self.num_tokens, torch.zeros(num_rows, dtype=torch.long, device=vocabulary.device))


class _CountTracker:
    def __init__(self, num_tokens: int, counts: Tensor) -> None:
        self._num_tokens = num_tokens
        self._counts = counts

    def closes(self, rows: Tensor, tokens: Tensor) -> Tensor:
        counts = self._counts[rows] + 1
        self._counts[rows] = counts
        return counts >= self._num_tokens


@dataclass(frozen=True, init=False)
class AnyOf:
    """A step ends where the first of several boundaries ends it.

    Parameters
    ----------
    *boundaries : StepBoundary, str, int or callable
        A boundary, the text of a delimiter, a number of tokens, or a function of the step's text.

    Raises
    ------
    TypeError
        If one is none of these.
    ValueError
        If there are none, a delimiter is empty, or a number of tokens is below 1.
    """

    boundaries: tuple[StepBoundary, ...]

    def __init__(self, *boundaries: StepBoundary | str | int | Callable[[str], bool]) -> None:
        if not boundaries:
            raise ValueError("expected at least one boundary, got none")
        object.__setattr__(self, "boundaries", tuple(as_boundary(one) for one in boundaries))

    def track(self, vocabulary: Vocabulary, num_rows: int) -> BoundaryTracker:
        """Begin a step of ``num_rows`` rows."""
        return _AnyTracker([one.track(vocabulary, num_rows) for one in self.boundaries])


class _AnyTracker:
    def __init__(self, trackers: list[BoundaryTracker]) -> None:
        self._trackers = trackers

    def closes(self, rows: Tensor, tokens: Tensor) -> Tensor:
        return torch.stack([tracker.closes(rows, tokens) for tracker in self._trackers]).any(0)


def as_boundary(policy: StepBoundary | str | int | Callable[[str], bool]) -> StepBoundary:
    """Make a boundary of a delimiter's text, a number of tokens or a function of the step's text; others pass through.

    Raises
    ------
    TypeError
        If ``policy`` is none of these.
    ValueError
        If the delimiter is empty, or the number of tokens below 1.
    """
    if not isinstance(policy, (type, bool)):
        if isinstance(policy, StepBoundary):
            return policy
        if isinstance(policy, str):
            return Delimiter(policy)
        if isinstance(policy, int):
            return TokenCount(policy)
        if callable(policy):
            return When(policy)
    got = f"the class {policy.__name__}; make one of it" if isinstance(policy, type) else repr(policy)
    raise TypeError(
        "expected a step boundary: an object with a method track, the text of a delimiter, a number of tokens or a "
        f"function of the step's text, got {got}"
    )
