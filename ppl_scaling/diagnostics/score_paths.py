"""The reward model's scores along each particle's own text, as a picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ppl_scaling.diagnostics.style import (
    COLOURS,
    MARKERS,
    PALE,
    fonts_for,
    legend_name,
    new_figure,
    say_nothing_to_show,
    shorten,
    show_steps,
)
from ppl_scaling.inference.results import Trajectory

__all__ = ["plot_score_trajectories"]

_LINES_OF_THEIR_OWN = 24


def plot_score_trajectories(
    trajectories: Sequence[Trajectory], *, answers: Sequence[str] = (), most: int = 5, title: str | None = None
) -> Figure:
    """Draw the score after each step of each trajectory.

    Lines have the colour and marker of their answer, and are thicker the more weight they have. Trajectories that are the
    same text are one line. Of many, the weightiest have colours, and the others are a pale background.

    Parameters
    ----------
    trajectories : sequence of Trajectory
    answers : sequence of str, optional
        In the order in which they are named; default: by weight. Others are pale.
    most : int
        Answers that have a colour of their own.
    title : str, optional

    Returns
    -------
    matplotlib Figure
        Not known to pyplot; save it with ``savefig``.
    """
    paths = _paths(trajectories)
    votes: dict[str, float] = {}
    for one, weight in paths:
        if one.answer is not None:
            votes[one.answer] = votes.get(one.answer, 0.0) + weight
    named = (list(answers) or sorted(votes, key=lambda name: -votes[name]))[:most]
    style = {name: place for place, name in enumerate(named)}
    figure, (axes,) = new_figure(8, 4.2, title=title)
    heaviest = max((weight for _, weight in paths), default=1.0) or 1.0
    seen: set[int | None] = set()
    for rank, (one, weight) in enumerate(paths):
        steps = np.arange(1, len(one.scores) + 1)
        if rank >= _LINES_OF_THEIR_OWN:
            axes.plot(steps, one.scores, color=PALE, linewidth=0.5, alpha=0.6, zorder=1)
            continue
        place = None if one.answer is None else style.get(one.answer)
        seen.add(place)
        colour = "#8C8C8C" if place is None else COLOURS[place % len(COLOURS)]
        share = float(np.sqrt(weight / heaviest))
        axes.plot(steps, one.scores, color=colour, linewidth=0.6 + 1.8 * share, alpha=0.35 + 0.6 * share, zorder=2 + share)
        axes.plot(
            steps[-1],
            one.scores[-1],
            color=colour,
            marker="x" if place is None else MARKERS[place % len(MARKERS)],
            markersize=4 + 3 * share,
            markeredgecolor=colour if place is None else "white",
            markeredgewidth=1 if place is None else 0.5,
            zorder=4 + share,
        )
    handles = [
        Line2D(
            [],
            [],
            color=COLOURS[place % len(COLOURS)],
            marker=MARKERS[place % len(MARKERS)],
            label=legend_name(shorten(name, 18)),
        )
        for name, place in style.items()
        if place in seen
    ]
    if None in seen:
        handles.append(
            Line2D([], [], color="#8C8C8C", marker="x", label="another answer, or none" if named else "no answer")
        )
    if len(paths) > _LINES_OF_THEIR_OWN:
        handles.append(Line2D([], [], color=PALE, label=f"{len(paths) - _LINES_OF_THEIR_OWN} of less weight"))
    if not seen:
        say_nothing_to_show(axes, "no reward model has scored the steps")
    else:
        figure.legend(
            handles=handles,
            loc="outside right upper",
            frameon=False,
            prop={"size": 8, "family": fonts_for("".join(named))},
            title="answer",
            title_fontsize=8,
        )
    show_steps(axes, 1, max((len(one.scores) for one in trajectories), default=1) or 1, "step of the text")
    axes.set_ylim(-0.04, 1.04)
    axes.set_ylabel("score of the reward model")
    return figure


def _paths(trajectories: Sequence[Trajectory]) -> list[tuple[Trajectory, float]]:
    """Put trajectories of one text together, with their weight, weightiest first; unscored ones are left out."""
    found: dict[tuple[str, tuple[float, ...]], tuple[Trajectory, float]] = {}
    for one in trajectories:
        if one.scores:
            first, weight = found.get((one.text, one.scores), (one, 0.0))
            found[one.text, one.scores] = first, weight + float(np.nan_to_num(one.weight))
    return sorted(found.values(), key=lambda entry: -entry[1])
