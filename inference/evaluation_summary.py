"""What an evaluation amounts to: accuracy with its bootstrap interval, cost, and what went wrong; and curves of these.

Intervals are percentile bootstrap intervals over problems: a problem is drawn with all its seeds, for these are no
independent problems. A difference between two methods is bootstrapped from the differences problem by problem, which share
the difficulty.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ppl_scaling.inference.display import Displayed, with_interval
from ppl_scaling.inference.evaluation_file import EvaluationRecord

__all__ = [
    "CurvePoint",
    "EvaluationSummary",
    "accuracy_by_problem",
    "bootstrap_interval",
    "peak_memory",
    "scaling_curve",
    "summarize",
]

_RESAMPLES = 10_000
_CHUNK = 500  # resamples at a time, to bound the memory


@dataclass(frozen=True, repr=False)
class EvaluationSummary(Displayed):
    """Totals of an evaluation.

    Attributes
    ----------
    num_problems, num_seeds, num_records : int
    accuracy : float
        Share of right answers; a problem that failed or has no answer counts as wrong.
    accuracy_low, accuracy_high : float
        95 % bootstrap interval over problems.
    num_failed, num_no_answer, num_grading_timeouts : int
        Records with an error; without an answer, failed ones not counted; whose grading was given up.
    num_trajectories, num_truncated : int
        What was written in all, and how much of it was cut by a limit.
    generated_tokens, lm_tokens_forwarded, prm_tokens_forwarded, draft_tokens_forwarded, prm_calls : int
    seconds : float
        Of running the method.
    peak_memory_bytes : int or None
        Of the graphics cards if they were used, else of the process that computed this summary.
    """

    num_problems: int
    num_seeds: int
    num_records: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    num_failed: int
    num_no_answer: int
    num_grading_timeouts: int
    num_trajectories: int
    num_truncated: int
    generated_tokens: int
    lm_tokens_forwarded: int
    prm_tokens_forwarded: int
    draft_tokens_forwarded: int
    prm_calls: int
    seconds: float
    peak_memory_bytes: int | None

    def _facts(self) -> dict[str, str]:
        return {
            "accuracy": with_interval(self.accuracy, self.accuracy_low, self.accuracy_high),
            "problems": f"{self.num_problems}",
            "seeds": f"{self.num_seeds}",
            "failed": f"{self.num_failed}",
            "no_answer": f"{self.num_no_answer}",
            "generated_tokens": f"{self.generated_tokens}",
            "seconds": f"{self.seconds:.1f}",
        }

    def to_dict(self) -> dict[str, Any]:
        """Return what can be written as JSON."""
        return asdict(self)


@dataclass(frozen=True)
class CurvePoint:
    """A method at a budget.

    Attributes
    ----------
    method : str
    budget : int
    summary : EvaluationSummary
    tokens_per_problem : float
        Generated tokens, mean over problems and seeds.
    difference, difference_low, difference_high : float or None
        Accuracy minus that of the reference method at the same budget, with its paired bootstrap interval; None where
        there is no reference.
    """

    method: str
    budget: int
    summary: EvaluationSummary
    tokens_per_problem: float
    difference: float | None
    difference_low: float | None
    difference_high: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return a flat row of a table."""
        row = {name: value for name, value in asdict(self).items() if name != "summary"}
        return {**row, **self.summary.to_dict()}


def summarize(records: Sequence[EvaluationRecord], *, peak_memory_bytes: int | None = None) -> EvaluationSummary:
    """Sum up an evaluation.

    Raises
    ------
    ValueError
        If there are no records.
    """
    if not records:
        raise ValueError("expected at least one record, got none")
    by_problem = np.array(list(accuracy_by_problem(records).values()))
    low, high = bootstrap_interval(by_problem)
    return EvaluationSummary(
        num_problems=len(by_problem),
        num_seeds=len({one.seed for one in records}),
        num_records=len(records),
        accuracy=float(np.mean([one.correct for one in records])),
        accuracy_low=low,
        accuracy_high=high,
        num_failed=sum(one.error is not None for one in records),
        num_no_answer=sum(one.error is None and one.answer is None for one in records),
        num_grading_timeouts=sum(one.grading_timed_out for one in records),
        num_trajectories=sum(one.num_trajectories for one in records),
        num_truncated=sum(one.num_truncated for one in records),
        generated_tokens=sum(one.generated_tokens for one in records),
        lm_tokens_forwarded=sum(one.lm_tokens_forwarded for one in records),
        prm_tokens_forwarded=sum(one.prm_tokens_forwarded for one in records),
        draft_tokens_forwarded=sum(one.draft_tokens_forwarded for one in records),
        prm_calls=sum(one.prm_calls for one in records),
        seconds=sum(one.seconds for one in records),
        peak_memory_bytes=peak_memory_bytes,
    )


def scaling_curve(
    cells: Mapping[tuple[str, int], Sequence[EvaluationRecord]], *, reference: str | None = None
) -> list[CurvePoint]:
    """Sum up the cells of a sweep.

    Parameters
    ----------
    cells : mapping of (method, budget) to records
        Of the same problems in every cell.
    reference : str, optional
        The method that the others are compared with.

    Returns
    -------
    list of CurvePoint
        In the order of the cells.

    Raises
    ------
    ValueError
        If the reference is none of the methods, a cell has no records, or cells that are compared have no problem in common.
    """
    methods = list(dict.fromkeys(method for method, _ in cells))
    if reference is not None and reference not in methods:
        raise ValueError(f"expected a reference among {', '.join(methods)}, got {reference!r}")
    points = []
    for (method, budget), records in cells.items():
        summary = summarize(records)
        difference: tuple[float | None, float | None, float | None] = (None, None, None)
        against = cells.get((reference, budget)) if reference not in (None, method) else None
        if against is not None:
            ours, theirs = accuracy_by_problem(records), accuracy_by_problem(against)
            gains = np.array([ours[index] - theirs[index] for index in ours if index in theirs])
            if not len(gains):
                raise ValueError(f"expected {method} and {reference} at {budget} to have problems in common, got none")
            difference = (float(gains.mean()), *bootstrap_interval(gains))
        tokens = summary.generated_tokens / summary.num_records
        points.append(CurvePoint(method, budget, summary, tokens, *difference))
    return points


def accuracy_by_problem(records: Sequence[EvaluationRecord]) -> dict[int, float]:
    """Share of right answers for each problem, over its seeds, by the problem's index."""
    found: dict[int, list[bool]] = defaultdict(list)
    for one in records:
        found[one.index].append(one.correct)
    return {index: sum(rights) / len(rights) for index, rights in sorted(found.items())}


def bootstrap_interval(values: NDArray[np.float64], *, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of some values.

    Parameters
    ----------
    values : float array, shape (P,)
    level : float, default 0.95
    seed : int
        Of the resampling; the same values have the same interval.

    Examples
    --------
    >>> low, high = bootstrap_interval(np.array([0.0, 1.0] * 50))
    >>> 0.39 <= low <= 0.42 and 0.58 <= high <= 0.61
    True
    """
    rng = np.random.default_rng(seed)
    size = len(values)
    means = [
        values[rng.integers(size, size=(_CHUNK, size), dtype=np.int32)].mean(axis=1) for _ in range(_RESAMPLES // _CHUNK)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def peak_memory() -> int | None:
    """Bytes of memory at the peak: of the graphics cards if they were used, else of this process; None if unknown."""
    if torch.cuda.is_initialized():
        return sum(torch.cuda.max_memory_allocated(device) for device in range(torch.cuda.device_count()))
    try:
        import resource
    except ImportError:  # not on this operating system
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
