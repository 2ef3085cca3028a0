"""Whether probabilities can be believed, as a picture: predicted on one axis, observed on the other."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from ppl_scaling.diagnostics.share_panels import draw_shares, share_panels
from ppl_scaling.diagnostics.style import say_nothing_to_show

__all__ = ["plot_reliability"]


def plot_reliability(
    predicted: ArrayLike,
    observed: ArrayLike,
    counts: ArrayLike,
    *,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
    calibration_error: float | None = None,
    before: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
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
        Interval of the observed share; drawn where both are given.
    calibration_error : float, optional
        Written into the picture.
    before : tuple of three arrays, shape (A,), optional
        What was predicted and observed, and how often, before a calibration: drawn pale behind.
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
    means, shares, sizes, *ends = _curve(predicted, observed, counts, *(() if low is None or high is None else (low, high)))
    figure, top, bottom = share_panels("perfect", title=title)
    if before is not None:
        draw_shares(top, bottom, *_curve(*before), label="before", colour="#8C8C8C", fill=None)
    label = "observed" if before is None else "after"
    draw_shares(top, bottom, means, shares, sizes, ends=np.array(ends) if ends else None, label=label)
    if not len(means):
        say_nothing_to_show(top, "nothing is known to be right or wrong")
    top.set_ylabel("share that is right")
    name = None if calibration_error is None else f"expected calibration error {calibration_error:.3f}"
    legend = top.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0.1,
        ncols=3,
        frameon=False,
        fontsize=8,
        title=name,
        title_fontsize=8,
    )
    legend.set_alignment("left")
    bottom.set_ylabel("number")
    bottom.set_xlim(-0.02, 1.02)
    bottom.set_xlabel(what)
    return figure


def _curve(*rows: ArrayLike) -> list[NDArray[np.float64]]:
    """Give the columns of the bins that have something, of predicted, observed, counts and ends of the interval."""
    arrays = [np.atleast_1d(np.asarray(one, dtype=float)) for one in rows]
    if len({one.shape for one in arrays}) != 1 or arrays[0].ndim != 1:
        names = "predicted, observed, counts and the ends of the interval"
        raise ValueError(f"expected {names} of one length, got shapes {', '.join(str(one.shape) for one in arrays)}")
    known = np.isfinite(arrays[0]) & np.isfinite(arrays[1]) & (arrays[2] > 0)
    return [one[known] for one in arrays]
