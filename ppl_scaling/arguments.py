"""Checks of arguments that many parts take, so that all of them draw the same line and say the same of what is beyond it."""

from __future__ import annotations

import math
import operator
from contextlib import suppress
from typing import Any

__all__ = ["check_counts", "check_integer", "check_temperature"]


def check_integer(name: str, value: Any, least: int = 1) -> int:
    """Return ``value`` as an ``int``: Python's own, or one of numpy's or torch's. A truth value is none.

    Raises
    ------
    ValueError
        If it is no integer or below ``least``.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        raise ValueError(f"expected {name} to be an integer of at least {least}, got {value!r}")
    return number


def check_counts(**counts: Any) -> None:
    """Check that arguments are integers of at least 1, as :func:`check_integer` does."""
    for name, count in counts.items():
        check_integer(name, count)


def check_temperature(temperature: float) -> float:
    """Return a temperature as a ``float``.

    Raises
    ------
    ValueError
        If it is no finite number above 0.
    """
    number = math.nan
    if not isinstance(temperature, str | bool):
        with suppress(TypeError):
            number = float(temperature)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"expected a temperature above 0, got {temperature!r}")
    return number
