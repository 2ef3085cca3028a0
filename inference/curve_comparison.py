r"""Scaling curves against each other: accuracy at the same number of tokens, and the budget that the same accuracy takes.

Both read the cells of a sweep as curves, linear between their budgets: accuracy over the logarithm of generated tokens, and
over the logarithm of the budget. Nothing is said beyond the ends of a curve. Intervals are percentile bootstrap intervals
over problems, each drawn with all its seeds and for all cells at once, so differences are paired; both curves and their
token axes are made anew from every resample.

For the budget ratio both curves are made monotone first, by isotonic regression (least squares, all budgets with the same
weight), and the other method is asked for the smallest budget that has the reference's accuracy. That is divided by the
budget of the reference, even where its own curve is flat and a smaller one would have done: there the ratio errs against it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ppl_scaling.inference.curve_bootstrap import bootstrap_curves, first_reach, interpolated, isotonic
from ppl_scaling.inference.evaluation_file import EvaluationRecord

__all__ = ["BudgetRatio", "CensoredRatio", "MatchedTokens", "budget_ratios", "compare_at_tokens"]

_Cells = Mapping[tuple[str, int], Sequence[EvaluationRecord]]
_Array = NDArray[np.float64]
Censored = Literal["above", "below"] | None

_MOST_OUTSIDE = 0.05  # of the resamples


@dataclass(frozen=True)
class MatchedTokens:
    """A method against the reference where both spend the same number of tokens.

    Attributes
    ----------
    method, reference : str
    budget : int or None
        Of the reference, which says the number of tokens; None for a method of a single budget, whose own tokens do.
    tokens : float
        Generated tokens a problem.
    accuracy, reference_accuracy : float or None
        There, interpolated where need be; None outside of the curve.
    difference, difference_low, difference_high : float or None
        The first minus the second with its paired interval. The interval is None where more than a twentieth of the
        resamples are outside of a curve.
    """

    method: str
    reference: str
    budget: int | None
    tokens: float
    accuracy: float | None
    reference_accuracy: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return a row of a table."""
        return asdict(self)


@dataclass(frozen=True)
class CensoredRatio:
    """A ratio and its interval, each of the three known or bounded.

    Attributes
    ----------
    value, low, high : float
    censored, low_censored, high_censored : {"above", "below"} or None
        "above": the method does not get there with its largest budget, and the ratio is above the number; "below": its
        smallest budget is more than enough, and the ratio is below the number.
    """

    value: float
    low: float
    high: float
    censored: Censored
    low_censored: Censored
    high_censored: Censored


@dataclass(frozen=True)
class BudgetRatio:
    """What a method spends for the accuracy of the reference at a budget, divided by what the reference spends.

    Attributes
    ----------
    method, reference : str
    budget : int
        Of the reference.
    target_accuracy : float
        Of the reference there, on its monotone curve.
    budget_ratio, token_ratio : CensoredRatio
        Smallest budget, and the tokens that go with it.
    """

    method: str
    reference: str
    budget: int
    target_accuracy: float
    budget_ratio: CensoredRatio
    token_ratio: CensoredRatio

    def to_dict(self) -> dict[str, Any]:
        """Return a flat row of a table."""
        row = {name: getattr(self, name) for name in ("method", "reference", "budget", "target_accuracy")}
        for name in ("budget_ratio", "token_ratio"):
            parts = asdict(getattr(self, name))
            row |= {name if part == "value" else f"{name}_{part}": value for part, value in parts.items()}
        return row


def compare_at_tokens(
    cells: _Cells, *, reference: str, num_resamples: int = 10_000, level: float = 0.95, seed: int = 0
) -> list[MatchedTokens]:
    """Compare methods with a reference at the tokens of each of its budgets.

    Parameters
    ----------
    cells : mapping of (method, budget) to records
        Of the same problems in every cell; a problem that some cell lacks is left out.
    reference : str
    num_resamples : int, default 10000
    level : float, default 0.95
    seed : int
        Of the resampling; the same records have the same intervals.

    Returns
    -------
    list of MatchedTokens
        By method in the order of the cells, then by budget of the reference.

    Raises
    ------
    ValueError
        If the reference is none of the methods, the cells have no problem in common, or a setting is out of its range.
    """
    curves = bootstrap_curves(cells, reference=reference, num_resamples=num_resamples, level=level, seed=seed)
    base, found = curves[reference], []
    for method, curve in curves.items():
        if method == reference:
            continue
        single = len(curve.budgets) == 1
        places = curve if single else base
        for column, budget in enumerate(places.budgets):
            at = places.log_tokens[:, column]
            ours, theirs = (interpolated(one.log_tokens, one.accuracy, at) for one in (curve, base))
            gains = ours - theirs
            within = gains[1:][~np.isnan(gains[1:])]
            low = high = np.nan
            if not np.isnan(gains[0]) and len(within) and len(within) >= (1 - _MOST_OUTSIDE) * num_resamples:
                low, high = np.quantile(within, [(1 - level) / 2, (1 + level) / 2])
            known = (None if np.isnan(one) else float(one) for one in (ours[0], theirs[0], gains[0], low, high))
            size = None if single else int(budget)
            found.append(MatchedTokens(method, reference, size, float(np.exp(at[0])), *known))
    return found


def budget_ratios(
    cells: _Cells,
    *,
    reference: str,
    budgets: Sequence[int] | None = None,
    num_resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> list[BudgetRatio]:
    """Say how many times the reference's budget the others need for its accuracy.

    A method that does not reach it with its largest budget has a lower bound. So has such a resample, and an end of the
    interval that falls among these is a bound too. Methods of a single budget have no curve and are left out.

    Parameters
    ----------
    cells : mapping of (method, budget) to records
        Of the same problems in every cell; a problem that some cell lacks is left out.
    reference : str
    budgets : sequence of int, optional
        Of the reference; default: all.
    num_resamples : int, default 10000
    level : float, default 0.95
    seed : int
        Of the resampling; the same records have the same intervals.

    Returns
    -------
    list of BudgetRatio
        By method in the order of the cells, then by budget.

    Raises
    ------
    ValueError
        If the reference is none of the methods or lacks one of the budgets, the cells have no problem in common, or a
        setting is out of its range.
    """
    curves = bootstrap_curves(cells, reference=reference, num_resamples=num_resamples, level=level, seed=seed)
    base = curves[reference]
    known = [int(budget) for budget in base.budgets]
    wanted = known if budgets is None else list(budgets)
    if not set(wanted) <= set(known):
        raise ValueError(f"expected budgets of {reference} among {known}, got {wanted}")
    levels = isotonic(base.accuracy)
    found = []
    for method, curve in curves.items():
        if method == reference or len(curve.budgets) == 1:
            continue
        rising = isotonic(curve.accuracy)
        axis = np.broadcast_to(np.log2(curve.budgets), rising.shape)
        for budget in wanted:
            column = known.index(budget)
            needed = first_reach(axis, rising, levels[:, column])
            spent = base.log_tokens[:, column]
            tokens = interpolated(axis, curve.log_tokens, np.clip(needed, axis[0, 0], axis[0, -1]))
            ends = axis[0, [0, -1]] - np.log2(budget)
            ratio = _ratio(needed - np.log2(budget), ends, np.exp2, level)
            extremes = curve.log_tokens[0, [0, -1]] - spent[0]
            in_tokens = _ratio(np.where(np.isinf(needed), needed, tokens - spent), extremes, np.exp, level)
            found.append(BudgetRatio(method, reference, budget, float(levels[0, column]), ratio, in_tokens))
    return found


def _ratio(logs: _Array, ends: _Array, power: np.ufunc, level: float) -> CensoredRatio:
    """Make a ratio of its logarithms, the data's first; infinite ones are bounded by the ends."""
    ordered = np.sort(logs[1:])
    position = np.array([(1 - level) / 2, (1 + level) / 2]) * (len(ordered) - 1)
    numbers = (logs[0], ordered[int(np.floor(position[0]))], ordered[int(np.ceil(position[1]))])
    # The ends are those of the data: those of a resample differ in its tokens.
    values = [float(power(ends[int(one > 0)] if np.isinf(one) else one)) for one in numbers]
    flags: list[Censored] = [None if np.isfinite(one) else "above" if one > 0 else "below" for one in numbers]
    return CensoredRatio(values[0], values[1], values[2], flags[0], flags[1], flags[2])
