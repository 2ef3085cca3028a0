"""How often credible sets hold the truth, as a picture: the level of the sets on one axis, coverage on the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ppl_scaling.diagnostics.style import BLUE, DARK, new_figure
from ppl_scaling.diagnostics.truth import CredibleCoverage

__all__ = ["plot_coverage"]


def plot_coverage(covers: Sequence[CredibleCoverage], *, title: str | None = None) -> Figure:
    """Draw the coverage of credible sets of several levels, and below how many answers a set has.

    Answers are whole, so sets hold more than their level and a right posterior is on the diagonal or above it.

    Parameters
    ----------
    covers : sequence of CredibleCoverage
        Of one evaluation; see :func:`~ppl_scaling.diagnostics.truth.credible_coverage`.
    title : str, optional

    Returns
    -------
    matplotlib Figure
        Not known to pyplot; save it with ``savefig``.

    Raises
    ------
    ValueError
        If there are none.
    """
    if not covers:
        raise ValueError("expected the coverage of at least one level, got none")
    ordered = sorted(covers, key=lambda one: one.level)
    levels = np.array([one.level for one in ordered])
    shares = np.array([one.coverage.value for one in ordered])
    ends = np.array([[one.coverage.low, one.coverage.high] for one in ordered])
    figure, (top, bottom) = new_figure(5, 5.4, title=title, nrows=2, sharex=True, height_ratios=[4, 1])
    top.plot([0, 1], [0, 1], color="#888888", linewidth=1, linestyle=(0, (5, 2)), label="at least here if right")
    bars = np.clip(np.nan_to_num([shares - ends[:, 0], ends[:, 1] - shares]), 0, 1)
    top.errorbar(levels, shares, yerr=bars, color=BLUE, elinewidth=1, capsize=3, linestyle="", label="95 % interval")
    top.plot(levels, shares, color=BLUE, marker="o", markersize=5, linewidth=1.4, label="observed")
    top.set_ylim(-0.02, 1.02)
    top.set_ylabel("share of problems whose set has the truth")
    number = ordered[0].num_problems
    top.legend(
        loc="upper left", frameon=False, fontsize=8, title=f"{number} problem{'s' if number > 1 else ''}", title_fontsize=8
    )
    sizes = [one.mean_size for one in ordered]
    bottom.bar(levels, sizes, width=0.02, color="#BFD7EA", edgecolor=DARK, linewidth=0.5)
    bottom.set_ylim(bottom=0)
    bottom.set_ylabel("answers")
    bottom.set_xlim(0, 1.02)
    bottom.set_xlabel("posterior probability of the set")
    return figure
