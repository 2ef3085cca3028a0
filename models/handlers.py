"""Pyro's effect handlers on a whole program with ``init`` and ``step``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Handled"]


class Handled:
    """A program whose ``init`` and ``step`` both run under an effect handler.

    Parameters
    ----------
    program : object with ``init`` and ``step``
    handler : callable
        Takes a function and returns it with the effect, as Pyro's handlers do.

    Examples
    --------
    >>> from functools import partial
    >>> from pyro import poutine
    >>> class Coin:
    ...     def init(self, state): ...
    ...     def step(self, state): ...
    >>> fixed = Handled(Coin(), partial(poutine.condition, data={"temperature": 0.7}))
    """

    def __init__(self, program: Any, handler: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        self.program = program
        self.init = handler(program.init)
        self.step = handler(program.step)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.program, name)
