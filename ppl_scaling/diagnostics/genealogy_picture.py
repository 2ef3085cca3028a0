"""The genealogy of a particle filter as a picture: time from left to right, what survives dark, what was dropped pale."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ppl_scaling.diagnostics.genealogy_layout import GenealogyLayout, genealogy_layout
from ppl_scaling.diagnostics.style import BLUE, DARK, PALE, fonts_for, new_figure, shorten, show_steps
from ppl_scaling.inference.results import ParticleFilterResult

__all__ = ["draw_genealogy", "plot_genealogy"]

_LABEL_POINTS = 10.5  # height of a label at the right edge
_LARGEST_POINTS = 15.0  # diameter of the heaviest particle
_DROPPED, _SURVIVING, _FAVOURED = 0, 1, 2
_NAMES = {_FAVOURED: "leads to the chosen answer", _SURVIVING: "other that survives", _DROPPED: "dropped"}
_LINES = {_DROPPED: PALE, _SURVIVING: "#777777", _FAVOURED: BLUE}
_POINTS = {_DROPPED: "#B0B0B0", _SURVIVING: "#222222", _FAVOURED: "#004A75"}
_WIDTHS = {_DROPPED: (0.7, 0.3), _SURVIVING: (1.1, 0.4), _FAVOURED: (2.4, 0.7)}  # in points, and at most in rows


def plot_genealogy(result: ParticleFilterResult, *, title: str | None = None) -> Figure:
    """Draw which particle continues which, with their weights after each step.

    The area of a point is the weight of the particle before any resampling. Lineages that lead to the chosen answer are
    thick, others that survive thin and dark, those that were dropped pale. A square is the end of a text, a cross a text
    that was cut. At the right stand the answers of the weightiest particles, as many as there is room for.

    Parameters
    ----------
    result : ParticleFilterResult
    title : str, optional

    Returns
    -------
    matplotlib Figure
        Not known to pyplot; save it with ``savefig``.
    """
    return draw_genealogy(genealogy_layout(result), title=title)


def draw_genealogy(layout: GenealogyLayout, *, title: str | None = None) -> Figure:
    """Draw a genealogy that has been arranged; see :func:`plot_genealogy`."""
    height = float(np.clip(1.7 + 0.3 * layout.num_particles, 2.6, 9.5))
    width = float(np.clip(3.2 + 0.75 * layout.num_steps, 5.5, 14))
    figure, (axes,) = new_figure(width, height, title=title, grid=None)
    show_steps(axes, 1, layout.num_steps, layout.along)
    axes.set_ylim(layout.num_particles - 0.5, -0.5)
    axes.spines["left"].set_visible(False)
    axes.set_yticks([])
    axes.set_ylabel(f"{layout.num_particles} particle{'s' if layout.num_particles > 1 else ''}")
    kinds = np.where(layout.favoured, _FAVOURED, np.where(layout.descendants > 0, _SURVIVING, _DROPPED))
    spacing = 72 * 0.8 * height / layout.num_particles  # points between two particles, roughly
    widths = {kind: min(points, rows * spacing) for kind, (points, rows) in _WIDTHS.items()}
    _draw_lines(axes, layout, kinds, widths)
    for t in np.flatnonzero(layout.resampled[1:]) + 1:
        axes.axvline(t + 0.5, color="#888888", linewidth=0.9, linestyle=(0, (1, 2)), zorder=0)
    _draw_points(axes, layout, kinds, spacing)
    _label_answers(axes, layout, spacing)
    _legend(figure, layout, kinds)
    return figure


def _draw_lines(axes: Axes, layout: GenealogyLayout, kinds: np.ndarray, widths: Mapping[int, float]) -> None:
    """Draw level stretches at the particles and slopes between: then many children are told apart from few."""
    lines: dict[int, list[list[tuple[float, float]]]] = {kind: [] for kind in _NAMES}
    for t in range(1, layout.num_steps):
        before = layout.rank[t - 1, layout.parents[t]]
        for particle, (start, end) in enumerate(zip(before, layout.rank[t], strict=True)):
            path = [(t, start), (t + 0.25, start), (t + 0.75, end), (t + 1, end)]
            lines[int(kinds[t, particle])].append([(float(x), float(y)) for x, y in path])
    for kind, paths in lines.items():
        axes.add_collection(LineCollection(paths, zorder=1 + kind, colors=_LINES[kind], linewidths=widths[kind]))


def _draw_points(axes: Axes, layout: GenealogyLayout, kinds: np.ndarray, spacing: float) -> None:
    ends = layout.ends if layout.along == "step" else np.zeros_like(layout.active)
    cut = np.array([one.truncated for one in layout.trajectories] or [False] * layout.num_particles)
    for t in range(layout.num_steps):
        areas = _areas(layout.weights[t], layout.num_particles, spacing)
        for kind, colour in _POINTS.items():
            for marker, chosen in (("o", ~ends[t]), ("s", ends[t])):
                members = np.flatnonzero(chosen & (kinds[t] == kind) & layout.active[t])
                axes.scatter(
                    np.full(len(members), t + 1),
                    layout.rank[t, members],
                    s=areas[members],
                    marker=marker,
                    color=colour,
                    linewidths=0,
                    zorder=5 + kind,
                )
    places = layout.rank[-1, cut]
    axes.scatter(np.full(len(places), layout.num_steps + 0.12), places, s=min(18, spacing**2), marker="x", color=DARK)


def _areas(weights: np.ndarray, size: int, spacing: float) -> np.ndarray:
    """Areas of the points, in square points: in proportion to the weights, so far as they can be seen and have room."""
    average = min(0.8 * spacing, 7.0)
    known = np.nan_to_num(weights, nan=1 / size)
    return np.clip(average**2 * known * size, 1.0, max(_LARGEST_POINTS, average) ** 2)


def _label_answers(axes: Axes, layout: GenealogyLayout, spacing: float) -> None:
    """Name answers at the right edge, the weightiest first; particles of one answer that stand together have one label."""
    if not layout.trajectories:
        return
    answers = [layout.trajectories[particle].answer for particle in layout.order[-1]]
    weights = [layout.trajectories[particle].weight for particle in layout.order[-1]]
    taken: list[float] = []
    for first, last in sorted(_stretches(answers), key=lambda ends: -sum(weights[ends[0] : ends[1]])):
        place = (first + last - 1) / 2
        if any(abs(place - other) * spacing < _LABEL_POINTS for other in taken):
            continue
        taken.append(place)
        answer, count = answers[first], last - first
        name = "no answer" if answer is None else shorten(answer, 18)
        label = f"{name}  {sum(weights[first:last]):.2f}" + (f" ({count})" if count > 1 else "")
        axes.annotate(
            label,
            (1, place),
            xycoords=axes.get_yaxis_transform(),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color=DARK,
            annotation_clip=False,
            parse_math=False,
            fontfamily=fonts_for(label),
        )
        bracket: dict[str, Any] = {
            "color": "#888888",
            "linewidth": 1,
            "transform": axes.get_yaxis_transform(),
            "clip_on": False,
        }
        axes.plot([1, 1], [first - 0.35, last - 0.65], **bracket)


def _stretches(answers: Sequence[str | None]) -> list[tuple[int, int]]:
    starts = [place for place in range(len(answers)) if place == 0 or answers[place] != answers[place - 1]]
    return list(zip(starts, [*starts[1:], len(answers)], strict=True))


def _legend(figure: Figure, layout: GenealogyLayout, kinds: np.ndarray) -> None:
    found = Counter(kinds.ravel().tolist())
    handles = [
        Line2D([], [], color=_LINES[kind], linewidth=_WIDTHS[kind][0], label=name)
        for kind, name in _NAMES.items()
        if found[kind]
    ]
    if not np.isnan(layout.weights).all():
        handles.append(Line2D([], [], linestyle="", marker="o", color=DARK, markersize=5, label="area: weight"))
    if layout.along == "step" and layout.ends.any():
        handles.append(Line2D([], [], linestyle="", marker="s", color=DARK, markersize=5, label="end of the text"))
    if any(one.truncated for one in layout.trajectories):
        handles.append(Line2D([], [], linestyle="", marker="x", color=DARK, markersize=4, label="cut"))
    if layout.resampled[1:].any():
        handles.append(Line2D([], [], color="#888888", linewidth=0.9, linestyle=(0, (1, 2)), label="resampled"))
    columns = 3 if figure.get_figwidth() < 8 else len(handles)
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, frameon=False, fontsize=8)
