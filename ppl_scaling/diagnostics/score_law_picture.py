"""The law of scores as a picture: how it fits, how good the best of further completions will be, how many are enough."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from ppl_scaling.diagnostics.style import AMBER, BLACK, BLUE, DARK, GREEN, RED, new_figure
from ppl_scaling.inference.optscale.decisions import RequiredCompletions, required_completions
from ppl_scaling.inference.optscale.posterior import ScorePosterior

__all__ = ["plot_score_law"]

_BINS = 20
_GRID = np.linspace(0, 1, 201)
_FEWEST, _MOST = 64, 2**20  # further completions that the curves go to


def plot_score_law(
    posterior: ScorePosterior,
    *,
    target_score: float | None = None,
    confidence: float = 0.9,
    title: str | None = None,
) -> Figure:
    """Draw the scores seen with the fitted law, the predicted best of further completions, and N*.

    Left: shares of the scores seen and the posterior-predictive shares. Middle: the best score after so many further
    completions, those seen included: its mean and the interval that holds 90 % of it. Right, if there is a target: the
    probability that it has been reached, and N*, the number of further completions at which that is ``confidence``.

    Parameters
    ----------
    posterior : ScorePosterior
    target_score : float, optional
        In [0, 1].
    confidence : float
        In (0, 1].
    title : str, optional

    Returns
    -------
    matplotlib Figure
        Not known to pyplot; save it with ``savefig``.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    needed = None if target_score is None else required_completions(posterior, target_score, confidence)
    reach = _FEWEST
    if needed is not None and needed.reachable:
        reach = int(min(max(_FEWEST, 4 * needed.number), _MOST))
    numbers = np.unique(np.rint(np.geomspace(1, reach, 41)))
    width, height, number = (8, 3.7, 2) if needed is None else (12, 4.3, 3)
    figure, panels = new_figure(width, height, title=title, ncols=number)
    _draw_law(panels[0], posterior)
    _draw_best(panels[1], posterior, numbers, needed)
    if needed is not None:
        _draw_probability(panels[2], posterior, numbers, needed)
    for axes in panels:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize=8, borderaxespad=0.1)
    return figure


def _draw_law(axes: Axes, posterior: ScorePosterior) -> None:
    edges = np.linspace(0, 1, _BINS + 1)
    below = posterior.predictive_cdf(edges)
    below[-1] = 1.0  # a score of 1 belongs to the last bin
    seen = posterior.scores.numpy()
    if len(seen):
        weights = np.full(len(seen), 1 / len(seen))
        label = f"{len(seen)} score{'s' if len(seen) > 1 else ''} seen"
        axes.hist(
            seen, bins=edges.tolist(), weights=weights, color="#BFD7EA", edgecolor="#6F93AD", linewidth=0.5, label=label
        )
    axes.stairs(np.diff(below), edges, color=BLACK, linewidth=1.6, label="predicted")
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("final score")
    axes.set_ylabel(f"share, in bins of {1 / _BINS:g}")


def _draw_best(
    axes: Axes, posterior: ScorePosterior, numbers: NDArray[np.float64], needed: RequiredCompletions | None
) -> None:
    start = max(posterior.best, 0.0)
    low, high = _band(posterior, numbers)
    axes.fill_between(numbers, low, high, color="#D9D9D9", linewidth=0, label="90 % interval")
    mean = start + posterior.expected_gains(numbers)
    axes.plot(numbers, mean, color=BLACK, linewidth=1.6, label="predicted best score, mean")
    if math.isfinite(posterior.best):
        axes.axhline(posterior.best, color=BLUE, linewidth=1, linestyle=(0, (1, 1.2)), label="best so far")
    if needed is not None:
        axes.axhline(needed.target_score, color=RED, linewidth=1.2, linestyle=(0, (5, 2)), label="target")
        _mark(axes, needed)
    _completions(axes, numbers)
    lowest = min(float(low.min()), start if math.isfinite(posterior.best) else 1.0)
    axes.set_ylim(max(0.0, lowest - 0.05), 1.02)
    axes.set_ylabel("best score")


def _band(posterior: ScorePosterior, numbers: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Quantiles 5 % and 95 % of the best of all, read off a grid of scores."""
    floor = max(posterior.best, 0.0)
    cdf = np.exp([posterior.log_power_mean(float(score), numbers) for score in _GRID])

    def quantile(share: float) -> NDArray[np.float64]:
        places = [min(int(np.searchsorted(column, share)), len(_GRID) - 1) for column in cdf.T]
        return np.maximum(_GRID[places], floor)

    return quantile(0.05), quantile(0.95)


def _draw_probability(
    axes: Axes, posterior: ScorePosterior, numbers: NDArray[np.float64], needed: RequiredCompletions
) -> None:
    chance = [needed.probability_after(int(number)) for number in numbers]
    axes.plot(numbers, chance, color=GREEN, linewidth=1.6, label=f"target {needed.target_score:g} reached")
    axes.axhline(
        needed.confidence, color=AMBER, linewidth=1.2, linestyle=(0, (5, 2)), label=f"confidence {needed.confidence:g}"
    )
    _mark(axes, needed)
    _completions(axes, numbers)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("probability")


def _mark(axes: Axes, needed: RequiredCompletions) -> None:
    """Draw N*, where it is a number within the picture; say in the legend what it is."""
    if not needed.reachable:
        name = "N*: none is enough"
    else:
        name = (
            "N* = 0: the target is reached"
            if needed.number == 0
            else f"N* = {needed.number:,.0f}"
            if needed.number < 1e9
            else f"N* = {needed.number:.2g}"
        )
        name += "" if needed.number <= _MOST else ", beyond the picture"
    inside = needed.reachable and 1 <= needed.number <= _MOST
    style: dict[str, Any] = {"color": DARK, "linewidth": 1, "linestyle": (0, (3, 1, 1, 1))}
    if inside:
        axes.axvline(needed.number, label=name, **style)
    else:
        axes.plot([], [], label=name, **style)


def _completions(axes: Axes, numbers: NDArray[np.float64]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xlim(1, max(float(numbers[-1]), 2.0))
    axes.xaxis.set_major_locator(LogLocator(base=2, numticks=6))
    axes.xaxis.set_major_formatter(FuncFormatter(_power_of_two))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("further completions")


def _power_of_two(number: float, _: int) -> str:
    return f"{number:g}" if number < 10_000 else f"$2^{{{math.log2(number):.0f}}}$"
