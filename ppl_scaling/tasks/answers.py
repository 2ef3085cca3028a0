r"""Final answers: finding them in a text and telling whether two of them are the same.

Answers stand in ``\boxed{}``, as in the MATH data set and in what instruction-tuned models write. Equality is decided
by math-verify; equal texts and plain numbers are settled first, because that is most of them.
"""

from __future__ import annotations

import re
import threading
from fractions import Fraction
from functools import lru_cache

from ppl_scaling.boxed import extract_boxed

__all__ = ["MathAnswers", "answers_equivalent", "settled", "verified"]

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(/\d+)?")
_LONGEST = 300  # no answer of a problem is longer, and symbolic comparison of long ones takes for ever


class MathAnswers:
    r"""Answers in ``\boxed{}``, compared as mathematics."""

    def extract(self, text: str) -> str | None:
        """Return the last boxed answer, or None."""
        return extract_boxed(text)

    def equivalent(self, first: str, second: str) -> bool:
        """Whether two answers mean the same."""
        return answers_equivalent(first, second)


def answers_equivalent(first: str, second: str) -> bool:
    r"""Whether two answers are the same number, expression or set.

    Parameters
    ----------
    first, second : str
        LaTeX or plain text, without ``\boxed``.

    Returns
    -------
    bool
        False as well if an answer cannot be read as mathematics within the time limit and the texts differ.

    Examples
    --------
    >>> answers_equivalent("1/2", "0.50"), answers_equivalent(r"\frac{1}{2}", "0.5"), answers_equivalent("12", "21")
    (True, True, False)
    """
    quick = settled(first, second)
    # The time limit is an alarm signal, which only the main thread may set.
    limit = 5 if threading.current_thread() is threading.main_thread() else None
    return verified(first, second, limit) if quick is None else quick


def settled(first: str, second: str) -> bool | None:
    """Compare answers where that is quick: equal texts, plain numbers, texts too long for an answer; None for the rest."""
    first, second = _normalize(first), _normalize(second)
    if first == second:
        return True
    numbers = _number(first), _number(second)
    if None not in numbers:
        return numbers[0] == numbers[1]
    return False if max(len(first), len(second)) > _LONGEST else None


def verified(first: str, second: str, limit: int | None) -> bool:
    """Compare answers by math-verify, with a limit in seconds on each of its steps.

    The limit is an alarm signal: it works in the main thread alone, and not within a single long operation on integers.
    :class:`~ppl_scaling.tasks.grading.MathGrader` has one that always holds.
    """
    return _verified(*sorted((_normalize(first), _normalize(second))), limit)


def _normalize(answer: str) -> str:
    stripped = answer.strip().strip("$").strip().rstrip(".")
    return re.sub(r"(?<=\d),(?=\d{3}\b)", "", stripped)


def _number(text: str) -> Fraction | None:
    if not _NUMBER.fullmatch(text) or len(text) > 50:
        return None
    try:
        whole, _, divisor = text.partition("/")
        return Fraction(whole) / Fraction(divisor or 1)
    except ZeroDivisionError:
        return None


@lru_cache(maxsize=10_000)
def _verified(first: str, second: str, limit: int | None) -> bool:
    """Ask math-verify, both ways round, for its ``verify`` is not symmetric."""
    # Here, because it takes half a second to import and most answers are plain numbers.
    from math_verify import LatexExtractionConfig, parse, verify
    from math_verify.errors import TimeoutException

    latex = [LatexExtractionConfig()]
    try:
        parsed = [parse(f"${text}$", latex, parsing_timeout=limit) for text in (first, second)]
        return all(parsed) and (
            verify(parsed[0], parsed[1], timeout_seconds=limit) or verify(parsed[1], parsed[0], timeout_seconds=limit)
        )
    except TimeoutException:
        return False
