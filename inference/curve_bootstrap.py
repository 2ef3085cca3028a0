"""Scaling curves in the data and in bootstrap resamples of the problems, and how they are read.

Arrays have a row for the data, then one for each resample. A problem is drawn with all its seeds, and for all cells of a
sweep at once, so whatever is computed from a row is paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ppl_scaling.arguments import check_integer
from ppl_scaling.inference.evaluation_file import EvaluationRecord

__all__ = ["Curve", "bootstrap_curves", "first_reach", "interpolated", "isotonic"]

_Array = NDArray[np.float64]

_CHUNK = 1000  # resamples at a time, to bound the memory
_DECIMALS = 12  # of an accuracy: sums in another order are the same number
_NEAR = 1e-9  # of a logarithm: the end of a curve is no place outside of it


@dataclass(frozen=True)
class Curve:
    """A method, in the data (row 0) and in the resamples.

    Attributes
    ----------
    budgets : float array, shape (K,)
        Increasing.
    accuracy, log_tokens : float array, shape (1 + B, K)
    """

    budgets: _Array
    accuracy: _Array
    log_tokens: _Array


def bootstrap_curves(
    cells: Mapping[tuple[str, int], Sequence[EvaluationRecord]],
    *,
    reference: str,
    num_resamples: int,
    level: float,
    seed: int,
) -> dict[str, Curve]:
    """Average every cell over the problems, and over the problems of every resample; gives the curves by method.

    Raises
    ------
    ValueError
        If the reference is none of the methods, the cells have no problem in common, or a setting is out of its range.
    """
    methods = list(dict.fromkeys(method for method, _ in cells))
    if reference not in methods:
        raise ValueError(f"expected a reference among {', '.join(methods)}, got {reference!r}")
    num_resamples = check_integer("num_resamples", num_resamples)
    if not 0 < level < 1:
        raise ValueError(f"expected level to be between 0 and 1, got {level}")
    common = sorted(set.intersection(*({one.index for one in records} for records in cells.values())))
    if not common:
        raise ValueError("expected cells with problems in common, got none")
    table = np.concatenate([_by_problem(records, common) for records in cells.values()], axis=1)  # problem, cell and number
    size = len(common)
    means = [table.mean(axis=0, keepdims=True)]
    rng = np.random.default_rng(seed)
    for first in range(0, num_resamples, _CHUNK):
        rows = min(_CHUNK, num_resamples - first)
        drawn = rng.integers(size, size=(rows, size)) + size * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)
        means.append(counts @ table / size)
    averages = np.concatenate(means).reshape(1 + num_resamples, len(cells), 2)
    curves = {}
    for method in methods:
        columns = sorted((budget, column) for column, (name, budget) in enumerate(cells) if name == method)
        taken = averages[:, [column for _, column in columns]]
        budgets = np.array([budget for budget, _ in columns], dtype=np.float64)
        curves[method] = Curve(budgets, taken[..., 0].round(_DECIMALS), np.log(np.maximum(taken[..., 1], 1.0)))
    return curves


def interpolated(places: _Array, values: _Array, at: _Array) -> _Array:
    """Read each row's piecewise linear curve at a place; NaN outside of it. The places need not be in order."""
    order = places.argsort(axis=1, kind="stable")
    places, values = np.take_along_axis(places, order, 1), np.take_along_axis(values, order, 1)
    outside = (at < places[:, 0] - _NEAR) | (at > places[:, -1] + _NEAR)
    at = np.clip(at, places[:, 0], places[:, -1])
    right = np.maximum((places < at[:, None]).sum(axis=1), 1 if places.shape[1] > 1 else 0)
    left = np.maximum(right - 1, 0)
    rows = np.arange(len(places))
    width = places[rows, right] - places[rows, left]
    share = np.divide(at - places[rows, left], width, out=np.ones_like(width), where=width > 0)
    found = values[rows, left] * (1 - share) + values[rows, right] * share
    return np.where(outside, np.nan, found)


def first_reach(places: _Array, rising: _Array, levels: _Array) -> _Array:
    """Return where each row's nondecreasing curve first has a level: inf if nowhere, -inf if it begins above it."""
    right = (rising < levels[:, None]).sum(axis=1)
    rows, last = np.arange(len(rising)), rising.shape[1] - 1
    above, right = right > last, np.clip(right, 1, last)
    low, high = rising[rows, right - 1], rising[rows, right]
    share = np.divide(levels - low, high - low, out=np.zeros_like(low), where=high > low)
    found = places[rows, right - 1] * (1 - share) + places[rows, right] * share
    found = np.where(rising[:, 0] == levels, places[:, 0], found)
    return np.where(above, np.inf, np.where(rising[:, 0] > levels, -np.inf, found))


def isotonic(values: _Array) -> _Array:
    r"""Least-squares nondecreasing fit of each row, all entries with the same weight.

    By the formula :math:`\max_{j \le i} \min_{k \ge i} \mathrm{mean}(v_j, \dots, v_k)`: pool-adjacent-violators gives the
    same, but one row at a time.

    References
    ----------
    Robertson, Wright and Dykstra (1988), Order Restricted Statistical Inference, section 1.4.

    Examples
    --------
    >>> isotonic(np.array([[1.0, 3.0, 2.0, 4.0]])).tolist()
    [[1.0, 2.5, 2.5, 4.0]]
    """
    size = values.shape[1]
    sums = np.concatenate([np.zeros((len(values), 1)), values.cumsum(axis=1)], axis=1)
    fitted = np.full(values.shape, -np.inf)
    for first in range(size):
        means = (sums[:, first + 1 :] - sums[:, first : first + 1]) / np.arange(1, size - first + 1)
        least = np.minimum.accumulate(means[:, ::-1], axis=1)[:, ::-1]  # over all ends from here on
        fitted[:, first:] = np.maximum(fitted[:, first:], least)
    return fitted.round(_DECIMALS)


def _by_problem(records: Sequence[EvaluationRecord], problems: Sequence[int]) -> _Array:
    """Accuracy and tokens of each problem, means over its seeds, shape (P, 2)."""
    row = {index: position for position, index in enumerate(problems)}
    kept = [one for one in records if one.index in row]
    sums = np.zeros((len(problems), 3))
    np.add.at(sums, [row[one.index] for one in kept], [(one.correct, one.generated_tokens, 1) for one in kept])
    return sums[:, :2] / sums[:, 2:]
