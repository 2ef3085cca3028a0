"""One pool of completions for several methods and budgets.

Votes and best-of-N weigh independent completions, so the first n of N completions serve them for every budget n. What is
computed once is paid once; each result still counts the tokens that its own completions took.

The time of a pool is measured once, so what a result took of it is an estimate: the share of the pool's generated tokens
that it uses. A run of its own would take longer, for smaller batches use a machine less well; and a vote, which needs no
scores, carries its share of the scoring where others of the pool need them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from ppl_scaling.errors import PPLScalingError
from ppl_scaling.inference.baselines import CompletionsResult, IndependentSampling
from ppl_scaling.inference.method import Method, OnStep
from ppl_scaling.inference.results import Result

__all__ = ["CompletionPool", "PooledMethod"]

_Outcomes = list[Any]


class CompletionPool:
    """Remembers what a method has drawn, until it is told to forget.

    Parameters
    ----------
    method : IndependentSampling
        Draws the completions; one that scores them if any of those that use the pool selects by scores.
    """

    def __init__(self, method: IndependentSampling) -> None:
        self.method = method
        self._drawn: dict[tuple[tuple[str, ...], int | None], _Outcomes | Exception] = {}

    def draw(self, problems: Sequence[str], seed: int | None, on_step: OnStep | None) -> _Outcomes:
        """Give the outcomes of a batch, or raise what drawing it raised."""
        key = (tuple(problems), seed)
        if key not in self._drawn or seed is None:
            try:
                self._drawn[key] = self.method.run_batch(problems, seed=seed, on_step=on_step)
            except (PPLScalingError, ValueError) as error:
                self._drawn[key] = error
        drawn = self._drawn[key]
        if isinstance(drawn, Exception):
            raise drawn
        return drawn

    def forget(self) -> None:
        """Let go of all completions."""
        self._drawn.clear()


class PooledMethod(Method):
    """A method that weighs the first completions of a pool.

    Target and law are those of ``method``. ``seconds`` of a result are those of the pool's batch, times the share of the
    batch's generated tokens that the method uses.

    Parameters
    ----------
    pool : CompletionPool
    method : IndependentSampling
        Says how many completions it has, and how they are weighed.

    Raises
    ------
    ValueError
        If the pool is too small, or has no scores where they are needed.
    """

    method: ClassVar[str] = "pooled"

    def __init__(self, pool: CompletionPool, method: IndependentSampling) -> None:
        super().__init__(method.model, choice=method.choice, answer_format=method.answer_format)
        if method.num_completions > pool.method.num_completions:
            raise ValueError(
                f"expected a pool of at least {method.num_completions} completions, got {pool.method.num_completions}"
            )
        if method.scored and not pool.method.scored:
            raise ValueError(f"expected a pool with scores, which {method.method} selects by, got {pool.method.method}")
        self._pool = pool
        self._weighing = method

    @property
    def configuration(self) -> dict[str, Any]:
        """Settings of model and method, for the record of a result."""
        return self._weighing.configuration

    def run_batch(
        self, problems: Sequence[str], *, seed: int | None = None, on_step: OnStep | None = None
    ) -> list[Any | PPLScalingError]:
        """Weigh the completions of the pool, which are drawn if they are not there yet."""
        size = self._weighing.num_completions
        drawn = self._pool.draw(problems, seed, on_step)
        used = [self._weighing.select(one, size) if isinstance(one, CompletionsResult) else one for one in drawn]
        share = _tokens(used) / max(_tokens(drawn), 1)
        return [replace(one, seconds=one.seconds * share) if isinstance(one, CompletionsResult) else one for one in used]

    def _infer(self, problems: Sequence[str], seed: int, on_step: OnStep | None) -> list[Result | PPLScalingError]:
        return self.run_batch(problems, seed=seed, on_step=on_step)


def _tokens(outcomes: _Outcomes) -> int:
    return sum(one.generated_tokens for one in outcomes if isinstance(one, CompletionsResult))
