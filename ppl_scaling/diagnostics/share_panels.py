"""A square for shares against stated probabilities, with its diagonal, above low bars that tell how many there are."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ppl_scaling.diagnostics.style import BLUE, DARK, new_figure

__all__ = ["draw_shares", "share_panels"]

Array = NDArray[np.float64]


def share_panels(ideal: str, *, title: str | None) -> tuple[Figure, Axes, Axes]:
    """Make the figure; ``ideal`` names the diagonal."""
    figure, (top, bottom) = new_figure(5, 5.4, title=title, nrows=2, sharex=True, height_ratios=[4, 1])
    top.plot([0, 1], [0, 1], color="#888888", linewidth=1, linestyle=(0, (5, 2)), label=ideal)
    top.set_ylim(-0.02, 1.02)
    return figure, top, bottom


def draw_shares(
    top: Axes,
    bottom: Axes,
    places: Array,
    shares: Array,
    heights: Array,
    *,
    ends: Array | None = None,
    width: float = 0.012,
    label: str = "observed",
    interval: str | None = None,
    colour: str = BLUE,
    fill: str | None = "#BFD7EA",
) -> None:
    """Draw shares, shape (B,), with intervals ``ends``, shape (2, B), where these are not NaN, and bars below them.

    Bars without a fill are outlines in front of the others, so that two curves can stand in one picture.
    """
    if ends is not None:
        bars = np.clip(np.nan_to_num([shares - ends[0], ends[1] - shares]), 0, 1)
        top.errorbar(places, shares, yerr=bars, color=colour, elinewidth=1, capsize=3, linestyle="", label=interval)
    top.plot(places, shares, color=colour, marker="o", markersize=5, linewidth=1.4, label=label)
    bottom.bar(places, heights, width=width, color=fill or "none", edgecolor=DARK, linewidth=0.5, zorder=1 if fill else 2)
