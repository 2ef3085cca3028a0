"""Whether probabilities can be believed, as a picture: predicted on one axis, observed on the other."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from ppl_scaling.diagnostics.style import BLUE, DARK, new_figure, say_nothing_to_show

__all__ = ["plot_reliability"]


def plot_reliability(
    predicted: ArrayLike,
    observed: ArrayLike,
    counts: ArrayLike,
    *,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
    calibration_error: float | None = None,
    what: str = "score of the reward model",
    title: str | None = None,
) -> Figure:
    """Draw a reliability curve: of what was predicted with some probability, which share came true.

    Parameters
    ----------
    predicted : float array, shape (B,)
        Mean prediction of each bin.
    observed : float array, shape (B,)
        Share that came true; NaN for an empty bin.
    counts : int array, shape (B,)
        How many predictions each bin has.
    low, high : float array, shape (B,), optional
        Interval of the observed share.
    calibration_error : float, optional
        Written into the picture.
    what : str
        Name of what predicts.
    title : str, optional

    Returns
    -------
    matplotlib Figure
        Not known to pyplot; save it with ``savefig``.

    Raises
    ------
    ValueError
        If the lengths differ.
    """
    rows = [np.atleast_1d(np.asarray(one, dtype=float)) for one in (predicted, observed, counts)]
    if len({row.shape for row in rows}) != 1 or rows[0].ndim != 1:
        raise ValueError(f"expected predicted, observed and counts of one length, got {[len(row) for row in rows]}")
    known = np.isfinite(rows[0]) & np.isfinite(rows[1]) & (rows[2] > 0)
    means, shares, sizes = (row[known] for row in rows)
    figure, (top, bottom) = new_figure(5, 5.4, title=title, nrows=2, sharex=True, height_ratios=[4, 1])
    top.plot([0, 1], [0, 1], color="#888888", linewidth=1, linestyle=(0, (5, 2)), label="perfect")
    if low is not None and high is not None:
        ends = [np.atleast_1d(np.asarray(one, dtype=float))[known] for one in (low, high)]
        bars = [np.clip(np.nan_to_num(shares - ends[0]), 0, 1), np.clip(np.nan_to_num(ends[1] - shares), 0, 1)]
        top.errorbar(means, shares, yerr=bars, color=BLUE, elinewidth=1, capsize=3, linestyle="")
    top.plot(means, shares, color=BLUE, marker="o", markersize=5, linewidth=1.4, label="observed")
    if not len(means):
        say_nothing_to_show(top, "nothing is known to be right or wrong")
    top.set_ylim(-0.02, 1.02)
    top.set_ylabel("share that is right")
    name = None if calibration_error is None else f"expected calibration error {calibration_error:.3f}"
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.1}
    legend = top.legend(ncols=2, frameon=False, fontsize=8, title=name, title_fontsize=8, **place)
    legend.set_alignment("left")
    bottom.bar(means, sizes, width=0.012, color="#BFD7EA", edgecolor=DARK, linewidth=0.5)
    bottom.set_ylabel("number")
    bottom.set_xlim(-0.02, 1.02)
    bottom.set_xlabel(what)
    return figure
