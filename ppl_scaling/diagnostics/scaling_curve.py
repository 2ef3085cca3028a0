"""Scaling curves as files: accuracy against budget and against tokens, in a picture and in tables.

Methods differ by marker, line and grey value as well as by colour, so the picture can be read in black and white.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator, PercentFormatter, StrMethodFormatter

from ppl_scaling.diagnostics.style import COLOURS, LINES, MARKERS, fonts_for, legend_name, new_figure
from ppl_scaling.drafts import draft_of
from ppl_scaling.inference.curve_comparison import BudgetRatio, MatchedTokens
from ppl_scaling.inference.evaluation_summary import CurvePoint

__all__ = ["plot_scaling_curve", "write_curve_comparison", "write_scaling_curve"]

_FORMATS = ("png", "pdf", "svg")
_SPREAD = 0.012  # of the width: intervals at one budget stand side by side,
_WIDEST = 0.07  # all of them within so much of the width,
_OF_GAP = 0.45  # and within so much of the way to the next budget


def plot_scaling_curve(points: Sequence[CurvePoint], *, title: str | None = None) -> Figure:
    """Draw accuracy against budget (left) and against generated tokens (right), with 95 % bootstrap intervals.

    A method with a single point, such as greedy decoding, has a thin line across the picture.

    Parameters
    ----------
    points : sequence of CurvePoint
        As ``scaling_curve`` gives them.
    title : str, optional

    Returns
    -------
    matplotlib Figure
        Not known to pyplot; save it with ``savefig``.

    Raises
    ------
    ValueError
        If there are no points.
    """
    if not points:
        raise ValueError("expected at least one point to draw, got none")
    curves: dict[str, list[CurvePoint]] = defaultdict(list)
    for one in points:
        curves[one.method].append(one)
    figure, (left, right) = new_figure(11, 4.6, title=title, ncols=2, sharey=True)
    canvas = FigureCanvasAgg(figure)
    budgets = [one.budget for one in points]
    tokens = [max(one.tokens_per_problem, 1.0) for one in points]
    _log_axis(left, budgets, "budget (particles or completions a problem)")
    _log_axis(right, tokens, "generated tokens a problem")
    left.set_xticks(sorted(set(budgets)))
    left.xaxis.set_minor_locator(NullLocator())
    spread = _spread(left, sorted(set(budgets)), len(curves))
    styles = zip(itertools.cycle(COLOURS), itertools.cycle(MARKERS), itertools.cycle(LINES), strict=False)
    for position, ((method, curve), (colour, marker, line)) in enumerate(zip(curves.items(), styles, strict=False)):
        curve.sort(key=lambda one: one.budget)
        shift = (position - (len(curves) - 1) / 2) * spread
        for axes, places in (
            (left, [_moved(left, one.budget, shift) for one in curve]),
            (right, [max(one.tokens_per_problem, 1.0) for one in curve]),
        ):
            _draw(axes, places, curve, method, colour, marker, line)
    left.set_ylabel("accuracy")
    left.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    _legend(figure, canvas, left)
    return figure


def write_scaling_curve(
    points: Sequence[CurvePoint],
    folder: str | Path,
    *,
    title: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write ``curve.csv``, ``curve.json`` and the picture as ``curve.png``, ``curve.pdf`` and ``curve.svg``.

    Parameters
    ----------
    points : sequence of CurvePoint
    folder : str or Path
        Made if need be.
    title : str, optional
    settings : mapping, optional
        Recorded in ``curve.json``.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    ValueError
        If there are no points.
    """
    figure = plot_scaling_curve(points, title=title)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _write_table([one.to_dict() for one in points], folder / "curve", "points", settings)
    for kind in _FORMATS:
        figure.savefig(folder / f"curve.{kind}", dpi=200)
    return [folder / f"curve.{kind}" for kind in ("csv", "json", *_FORMATS)]


def write_curve_comparison(
    matched: Sequence[MatchedTokens],
    ratios: Sequence[BudgetRatio],
    folder: str | Path,
    *,
    settings: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write ``comparison.csv`` and ``comparison.json``: a row for each method and budget of the reference.

    Parameters
    ----------
    matched : sequence of MatchedTokens
    ratios : sequence of BudgetRatio
        Of the same cells and reference.
    folder : str or Path
        Made if need be.
    settings : mapping, optional
        Recorded in ``comparison.json``.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    ValueError
        If there is nothing to write.
    """
    if not matched:
        raise ValueError("expected at least one comparison to write, got none")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    known: dict[tuple[str, int | None], dict[str, Any]] = {(one.method, one.budget): one.to_dict() for one in ratios}
    rows = [one.to_dict() | known.get((one.method, one.budget), {}) for one in matched]
    return _write_table(rows, folder / "comparison", "rows", settings)


def _write_table(rows: Sequence[Mapping[str, Any]], path: Path, name: str, settings: Mapping[str, Any] | None) -> list[Path]:
    """Write rows as CSV and as JSON; a row may lack what others have."""
    table, text = path.with_suffix(".csv"), path.with_suffix(".json")
    with draft_of(table, "a table") as draft, draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(dict.fromkeys(field for row in rows for field in row)))
        writer.writeheader()
        writer.writerows(rows)
    with draft_of(text, "a table") as draft:
        draft.write_text(json.dumps({"settings": dict(settings or {}), name: rows}, indent=2) + "\n", encoding="utf-8")
    return [table, text]


def _log_axis(axes: Axes, places: Sequence[float], label: str) -> None:
    axes.set_xscale("log", base=2)
    low, high = min(places), max(places)
    room = max((high / low) ** 0.06, 1.15)
    axes.set_xlim(low / room, high * room)
    axes.set_xlabel(label)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _spread(axes: Axes, budgets: Sequence[int], count: int) -> float:
    """Return how far apart the methods of one budget stand, as a share of the width."""
    low, high = axes.get_xlim()
    gaps = [math.log(after / before) / math.log(high / low) for before, after in itertools.pairwise(budgets)]
    room = min(_WIDEST, *(_OF_GAP * gap for gap in gaps)) if gaps else _WIDEST
    return min(_SPREAD, room / max(count - 1, 1))


def _legend(figure: Figure, canvas: FigureCanvasAgg, axes: Axes) -> None:
    """Name the methods below the panels, in as many columns as there is room for, and make the figure higher for them."""
    handles, labels = axes.get_legend_handles_labels()
    for columns in range(min(4, len(labels)), 0, -1):
        legend = figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=columns,
            frameon=False,
            handlelength=4,
            prop={"family": fonts_for("".join(labels))},
        )
        extent = legend.get_window_extent(canvas.get_renderer())
        if extent.width <= 0.98 * figure.bbox.width or columns == 1:
            break
        legend.remove()
    figure.set_figheight(figure.get_figheight() + extent.height / figure.dpi)


def _moved(axes: Axes, place: float, share: float) -> float:
    """Move a place along the logarithmic axis by a share of its length."""
    low, high = axes.get_xlim()
    return place * (high / low) ** share


def _draw(
    axes: Axes, places: Sequence[float], curve: Sequence[CurvePoint], label: str, colour: str, marker: str, line: Any
) -> None:
    accuracies = [one.summary.accuracy for one in curve]
    below = [max(0.0, one.summary.accuracy - one.summary.accuracy_low) for one in curve]
    above = [max(0.0, one.summary.accuracy_high - one.summary.accuracy) for one in curve]
    if len(curve) == 1:
        axes.axhline(accuracies[0], color=colour, linewidth=0.8, linestyle=line)
    axes.errorbar(
        places,
        accuracies,
        yerr=[below, above],
        label=legend_name(label),
        color=colour,
        marker=marker,
        linestyle=line,
        linewidth=1.6,
        markersize=6,
        markeredgecolor="white",
        markeredgewidth=0.5,
        ecolor=to_rgba(colour, 0.5),  # the lines are what is compared; their intervals stand back
        elinewidth=0.8,
        capsize=2,
    )
