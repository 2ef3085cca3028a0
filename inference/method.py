"""What every method shares: problems in, results out, under a seed and with the time taken.

A :class:`Method` infers the answers of a batch of problems, each a group of its own. :func:`drive` runs a filter until every
particle has ended. Particle methods and baselines alike are methods, so they are evaluated and compared in one way.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ppl_scaling import host
from ppl_scaling.arguments import check_integer
from ppl_scaling.errors import PPLScalingError
from ppl_scaling.inference.results import CHOICES, Result
from ppl_scaling.inference.smc_filter import SMCFilter
from ppl_scaling.interfaces import AnswerFormat
from ppl_scaling.seeding import fresh_seed, seeded
from ppl_scaling.tasks.grading import shared_grader

__all__ = ["Method", "OnStep", "Progress", "drive"]


@dataclass(frozen=True)
class Progress:
    """How a run stands after a step; what ``on_step`` is called with.

    Attributes
    ----------
    t : int
    num_active : int
        Particles that go on, in all groups.
    ess : tuple of float
        Effective sample size of each group in the batch.
    resampled : tuple of bool
        Whether each of them was resampled at the beginning of the step.
    """

    t: int
    num_active: int
    ess: tuple[float, ...]
    resampled: tuple[bool, ...]


OnStep = Callable[[Progress], None]


class Method(ABC):
    r"""A way to infer the answers of problems.

    Parameters
    ----------
    model : LanguageModelStateSpace
        Or any program that keeps ``finished`` and ``truncated`` in its state, the sessions under
        ``state.sessions["particles"]``, and has the attribute ``max_steps``. If it has a ``configuration``, that goes into
        the results.
    choice : {"mode", "best_score", "sample"}
        How a result settles on one answer.
    answer_format : AnswerFormat, optional
        Default: ``\boxed{}`` answers compared by math-verify, under a time limit that holds.

    Attributes
    ----------
    method : str
        Name of the method in results.

    Raises
    ------
    ValueError
        If the choice is unknown.
    """

    method: ClassVar[str]

    def __init__(self, model: Any, *, choice: str = "mode", answer_format: AnswerFormat | None = None) -> None:
        if choice not in CHOICES:
            raise ValueError(f"expected a final choice among {', '.join(CHOICES)}, got {choice!r}")
        self.model = model
        self.choice = choice
        self.answer_format: AnswerFormat = shared_grader() if answer_format is None else answer_format

    def run(self, problem: str, *, seed: int | None = None, on_step: OnStep | None = None) -> Any:
        """Infer the answer of one problem.

        Parameters
        ----------
        problem : str
        seed : int, optional
            Default: drawn from torch's global generator, and named in the result.
        on_step : callable, optional
            Called after every step.

        Raises
        ------
        ValueError
            If the problem is empty or too long for a model.
        PPLScalingError
            If the run fails: all weights zero, a score that is no number.
        """
        outcome = self.run_batch([problem], seed=seed, on_step=on_step)[0]
        if isinstance(outcome, PPLScalingError):
            raise outcome
        return outcome

    def run_batch(
        self, problems: Sequence[str], *, seed: int | None = None, on_step: OnStep | None = None
    ) -> list[Any | PPLScalingError]:
        """Infer the answers of several problems in one batch, each with a group of particles of its own.

        A problem may appear several times: those are replicates.

        Returns
        -------
        list of Result or PPLScalingError
            In the order of the problems. A group whose weights are all zero fails alone, and has its error here.

        Raises
        ------
        TypeError, ValueError
            If a problem is no text, is empty or too long for a model, or the seed is no such integer.
        PPLScalingError
            If the batch fails as a whole, as by a score that is no number.
        """
        if isinstance(problems, str):
            raise TypeError("expected a sequence of problems, got one string; use run, or put it in a list")
        if not problems:
            return []
        seed = fresh_seed() if seed is None else check_integer("seed", seed, 0)
        started = time.perf_counter()
        with seeded(seed):
            outcomes = self._infer(problems, seed, on_step)
        seconds = time.perf_counter() - started
        return [replace(one, seconds=seconds) if isinstance(one, Result) else one for one in outcomes]

    @property
    def configuration(self) -> dict[str, Any]:
        """Settings of model and method, for the record of a result."""
        return {**getattr(self.model, "configuration", {}), "choice": self.choice}

    @abstractmethod
    def _infer(self, problems: Sequence[str], seed: int, on_step: OnStep | None) -> list[Result | PPLScalingError]:
        """Infer, under a generator that is seeded already; the time is filled in by the caller."""


def drive(smc: SMCFilter, problems: Sequence[str], max_steps: int, on_step: OnStep | None = None) -> None:
    """Run a filter over problems until every particle has ended. Groups that fail are in ``smc.failures``.

    Raises
    ------
    TypeError
        If the model does not say which particles have ended.
    PPLScalingError
        If something fails that is not a matter of one group.
    """
    try:
        smc.init(problems)
        for t in range(1, max_steps + 1):
            smc.step(t)
            ended = smc.state.ended()
            if ended is None:
                raise TypeError("expected the model to keep 'finished' and 'truncated' in its state, got neither")
            if on_step is not None:
                record = smc.history[-1]
                ess, resampled = host.as_list(record.ess), host.as_list(record.resampled)
                on_step(Progress(t, host.count(~ended), tuple(ess), tuple(resampled)))
            done = ended.view(len(smc.groups), smc.group_size).all(-1)
            if host.is_true(done.all()):
                return
            if host.is_true(done.any()):
                smc.retire(done)
    except PPLScalingError:
        if len(smc.failures) < len(problems):
            raise
