r"""When an answer is complete although the model has not ended its text.

A :class:`StopPattern` sees the whole answer at the end of each step. An answer whose text is complete by it is finished
there, so that nothing is spent on what a model writes after ``\boxed{...}``. Part of the model, not of its settings for
speed: the answers are those of the language model cut at the end of the first step that completes the pattern.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ppl_scaling.boxed import extract_boxed

__all__ = ["Boxed", "StopPattern", "StopText", "StopWhen", "as_stop"]


@runtime_checkable
class StopPattern(Protocol):
    """Policy for the end of an answer."""

    def ends(self, text: str) -> bool:
        """Whether ``text``, the answer up to the end of a step, is complete."""


@dataclass(frozen=True)
class Boxed:
    r"""An answer is complete once it has a ``\boxed{...}`` with balanced braces and something inside."""

    def ends(self, text: str) -> bool:
        """Whether a boxed answer can be read from ``text``."""
        return extract_boxed(text) is not None


@dataclass(frozen=True, repr=False)
class StopText:
    """An answer is complete once it contains a text.

    What the step goes on to write after the text, until its boundary, still belongs to the answer.

    Parameters
    ----------
    text : str
        At least one character.

    Raises
    ------
    TypeError
        If the text is not a string.
    ValueError
        If the text is empty.
    """

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise TypeError(f"expected a stop text to be a string, got {type(self.text).__name__}")
        if not self.text:
            raise ValueError("expected a stop text of at least one character, got an empty string")

    def __repr__(self) -> str:
        return f"StopText({self.text!r})"

    def ends(self, text: str) -> bool:
        """Whether the stop text is part of ``text``."""
        return self.text in text


@dataclass(frozen=True)
class StopWhen:
    """An answer is complete as soon as a function of its text says so.

    Parameters
    ----------
    function : callable of str -> bool
        Takes the whole answer so far, at the end of every step. It should depend on nothing but the text.

    Raises
    ------
    TypeError
        If ``function`` is not callable.
    """

    function: Callable[[str], bool]

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise TypeError(f"expected a function of the answer's text, got {type(self.function).__name__}")

    def ends(self, text: str) -> bool:
        """Return what the function says of ``text``."""
        return bool(self.function(text))


def as_stop(policy: StopPattern | str | Callable[[str], bool] | None) -> StopPattern | None:
    """Make a stop pattern of a text or a function of the answer's text; patterns and None pass through.

    Raises
    ------
    TypeError
        If ``policy`` is none of these.
    """
    if policy is None:
        return None
    if not isinstance(policy, type):
        if isinstance(policy, StopPattern):
            return policy
        if isinstance(policy, str):
            return StopText(policy)
        if callable(policy):
            return StopWhen(policy)
    got = f"the class {policy.__name__}; make one of it" if isinstance(policy, type) else repr(policy)
    raise TypeError(f"expected a stop pattern: an object with a method ends, a text, a function or None, got {got}")
