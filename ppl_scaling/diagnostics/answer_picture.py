"""The posterior over answers as a picture: bars with error bars, and beside them what has no answer."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from ppl_scaling.diagnostics.style import DARK, new_figure, set_labels
from ppl_scaling.inference.answers import Answer
from ppl_scaling.inference.display import answer_rows

__all__ = ["plot_answers"]

_ROOM = 0.17  # of the width, for the numbers right of the bars


def plot_answers(
    answers: Sequence[Answer],
    *,
    no_answer_probability: float = 0.0,
    chosen: str | None = None,
    most: int = 10,
    what: str = "posterior probability",
    title: str | None = None,
) -> Figure:
    """Draw the probability of each answer, with two standard errors to both sides where these are known.

    Parameters
    ----------
    answers : sequence of Answer
        Most probable first, as a result has them.
    no_answer_probability : float
        Drawn as a hatched bar.
    chosen : str, optional
        The answer that was settled on; its bar is the darker one.
    most : int
        Of more answers the others are put together.
    what : str
        What the bars are, in a word or two.
    title : str, optional

    Returns
    -------
    matplotlib Figure
        Not known to pyplot; save it with ``savefig``.

    Raises
    ------
    ValueError
        If ``most`` is below 1.
    """
    if most < 1:
        raise ValueError(f"expected most to be at least 1, got {most}")
    rows = answer_rows(answers, no_answer_probability, chosen, most)
    figure, (axes,) = new_figure(7, 1.1 + 0.32 * max(len(rows), 2), title=title, grid="x")
    for place, (_, probability, error, kind) in enumerate(rows):
        known = math.isfinite(error)
        axes.barh(
            place,
            probability,
            height=0.66,
            color={"chosen": "#4C9BCB", "answer": "#D6E4EE"}.get(kind, "white"),
            edgecolor=DARK,
            linewidth=1.2 if kind == "chosen" else 0.6,
            hatch="////" if kind == "none" else None,
        )
        end = probability
        if known and error > 0:
            low, high = max(0.0, probability - 2 * error), min(1.0, probability + 2 * error)
            bars = [[max(0.0, probability - low)], [max(0.0, high - probability)]]  # it may be 1 and a rounding error
            axes.errorbar(probability, place, xerr=bars, color="black", elinewidth=1.2, capsize=4)
            end = max(end, high)
        number = f"{probability:.3f}" + (f" ± {error:.3f}" if known else "")
        axes.text(end + 0.015, place, number, va="center", fontsize=8, color=DARK)
    set_labels(axes, "y", range(len(rows)), [one.name for one in rows])
    axes.set_ylim(max(len(rows), 2) - 0.4, -0.6)
    axes.set_xlim(0, 1 + _ROOM)
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    told = any(math.isfinite(one.standard_error) for one in rows)
    axes.set_xlabel(what + ("; bars are ± 2 standard errors, numbers ± 1" if told else ""))
    return figure
