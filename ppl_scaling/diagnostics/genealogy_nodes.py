"""The genealogy as data for a page that shows it: what stands where, and the text of each step.

A node is a particle that wrote something in a step. What it wrote comes from the record of the run, which has it for dropped
particles as well; where there is none, from the weightiest particle that descends from it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ppl_scaling.diagnostics.genealogy_layout import GenealogyLayout, genealogy_layout
from ppl_scaling.inference.results import ParticleFilterResult

__all__ = ["genealogy_page_data"]

_KINDS = ("dropped", "surviving", "favoured")
_WIDTHS = {"dropped": (1.0, 0.35), "surviving": (1.4, 0.4), "favoured": (3.0, 0.6)}  # and at most in rows
_LARGEST = 11.0  # radius of the heaviest particle


def genealogy_page_data(result: ParticleFilterResult) -> dict[str, Any]:
    """Arrange a genealogy for a page.

    Parameters
    ----------
    result : ParticleFilterResult

    Returns
    -------
    dict
        ``width``, ``height``; ``columns`` with ``x``, ``step``, ``resampled`` and ``label``; ``lines``, an SVG path for each
        kind of lineage; ``nodes``, each with ``x``, ``y``, ``r``, ``kind``, ``end``; and ``data`` for the script: of each
        node its step, particle, parent node, weight, score, number of descendants, answer and number of its text; and
        ``texts``.
    """
    layout = genealogy_layout(result)
    column = min(max(700 / layout.num_steps, 46), 130)
    row = min(max(760 / layout.num_particles, 5.5), 28)
    left, top = 26, 30
    x = left + column * np.arange(layout.num_steps)
    y = top + row * (layout.rank + 0.5)
    kinds = np.where(layout.favoured, 2, np.where(layout.descendants > 0, 1, 0))
    texts: dict[str, int] = {}
    numbers: dict[tuple[int, int], int] = {}
    nodes: list[dict[str, Any]] = []
    facts: list[list[Any]] = []
    for t in range(layout.num_steps):
        for particle in layout.order[t]:
            if not layout.active[t, particle]:
                continue
            numbers[t, int(particle)] = len(nodes)
            weight = float(layout.weights[t, particle])
            nodes.append(
                {
                    "x": round(float(x[t]), 1),
                    "y": round(float(y[t, particle]), 1),
                    "r": round(_radius(weight, layout.num_particles, row), 2),
                    "kind": _KINDS[kinds[t, particle]],
                    "end": bool(layout.along == "step" and layout.ends[t, particle]),
                }
            )
            text, score, answer = _written(result, layout, t, int(particle))
            facts.append(
                [
                    t + 1,
                    int(particle) + 1,
                    numbers.get((t - 1, int(layout.parents[t, particle])), -1) if t else -1,
                    _finite(weight),
                    _finite(score),
                    int(layout.descendants[t, particle]),
                    answer,
                    texts.setdefault(text, len(texts)),
                ]
            )
    ticks = max(1, math.ceil(46 / column))
    columns = [
        {
            "x": round(float(place), 1),
            "step": t + 1,
            "resampled": bool(t and layout.resampled[t]),
            "between": round(float(place - column / 2), 1),
            "label": t % ticks == 0,
        }
        for t, place in enumerate(x)
    ]
    return {
        "along": layout.along,
        "width": round(float(x[-1]) + 30, 1),
        "height": round(top + row * layout.num_particles + 12, 1),
        "columns": columns,
        "lines": {name: _path(layout, x, y, kinds == kind, column) for kind, name in enumerate(_KINDS)},
        "widths": {name: round(min(points, row * rows), 2) for name, (points, rows) in _WIDTHS.items()},
        "nodes": nodes,
        "data": {
            "along": layout.along,
            "nodes": facts,
            "texts": list(texts),
            "places": [[one["x"], one["y"]] for one in nodes],
        },
    }


def _radius(weight: float, size: int, row: float) -> float:
    """Radius of a node; its area is in proportion to the weight, so far as it can be seen and has room."""
    average = min(0.42 * row, 5.0)
    known = weight if math.isfinite(weight) else 1 / size
    return min(max(average * math.sqrt(known * size), 1.0), max(_LARGEST, average))


def _written(result: ParticleFilterResult, layout: GenealogyLayout, t: int, particle: int) -> tuple[str, float, str | None]:
    """Return what the particle wrote in a step, its score, and the answer of its weightiest descendant."""
    place = int(layout.heirs[t, particle])
    heir = layout.trajectories[place] if place >= 0 and layout.trajectories else None
    text = ""
    if layout.along != "step":
        text = heir.text if heir is not None and t == layout.num_steps - 1 else ""
    elif result.texts_by_step:
        text = result.texts_by_step[t][particle].strip()
    elif heir is not None:  # blocks of white space are not among its steps; they are taken to be the last, as an end is
        text = heir.steps[t] if t < len(heir.steps) else ""
    score = heir.scores[t] if heir is not None and layout.along == "step" and t < len(heir.scores) else math.nan
    return text, score, None if heir is None else heir.answer


def _path(layout: GenealogyLayout, x: np.ndarray, y: np.ndarray, chosen: np.ndarray, column: float) -> str:
    """All lines of one kind as one SVG path."""
    parts, bend = [], column * 0.45
    for t in range(1, layout.num_steps):
        left, right = x[t - 1], x[t]
        for particle in np.flatnonzero(chosen[t]):
            start, end = y[t - 1, layout.parents[t, particle]], y[t, particle]
            if abs(start - end) < 0.05:
                parts.append(f"M{left:.1f} {start:.1f}H{right:.1f}")
            else:
                curve = f"C{left + bend:.1f} {start:.1f} {right - bend:.1f} {end:.1f} {right:.1f} {end:.1f}"
                parts.append(f"M{left:.1f} {start:.1f}{curve}")
    return "".join(parts)


def _finite(number: float) -> float | None:
    return round(number, 4) if math.isfinite(number) else None
