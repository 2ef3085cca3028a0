"""How often credible sets hold the truth, as a picture: the level of the sets on one axis, coverage on the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ppl_scaling.diagnostics.share_panels import draw_shares, share_panels
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
    levels, shares, heights, low, high = np.array(
        [(one.level, one.coverage.value, one.mean_size, one.coverage.low, one.coverage.high) for one in ordered]
    ).T
    figure, top, bottom = share_panels("at least here if right", title=title)
    ends = np.stack([low, high])
    draw_shares(top, bottom, levels, shares, heights, ends=ends, width=0.02, interval="95 % interval")
    top.set_ylabel("share of problems whose set has the truth")
    number = ordered[0].num_problems
    top.legend(
        loc="upper left", frameon=False, fontsize=8, title=f"{number} problem{'s' if number > 1 else ''}", title_fontsize=8
    )
    bottom.set_ylim(bottom=0)
    bottom.set_ylabel("answers")
    bottom.set_xlim(0, 1.02)
    bottom.set_xlabel("posterior probability of the set")
    return figure
