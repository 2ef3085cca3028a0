"""How the pictures look: colours, axes, and text of models as it can be drawn."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

__all__ = [
    "AMBER",
    "BLACK",
    "BLUE",
    "COLOURS",
    "DARK",
    "GREEN",
    "LINES",
    "MARKERS",
    "PALE",
    "RED",
    "new_figure",
    "say_nothing_to_show",
    "set_labels",
    "shorten",
    "show_steps",
    "tidy",
]

# Colours that the colour-blind tell apart (Okabe and Ito), ordered so that neighbours differ in lightness.
BLACK, AMBER, BLUE, RED, SKY, GREEN, PINK = "#000000", "#E69F00", "#0072B2", "#D55E00", "#56B4E9", "#009E73", "#CC79A7"
DARK, PALE = "#333333", "#C4C4C4"
COLOURS = (BLACK, AMBER, BLUE, RED, SKY, GREEN, PINK, "#7F7F7F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "p")
LINES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))

_MISSING = "\u25a1"  # an empty square, for what the font does not have


class _Shown(Figure):
    """A figure that a notebook shows where it is the value of a cell, also if pyplot has drawn nothing there before."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """Make a figure that pyplot does not know of."""
    return _Shown(figsize=(width, height), layout="constrained")


def tidy(axes: Axes, *, grid: str | None = "both") -> None:
    """Take away what is not looked at, and put a pale grid behind."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(True, axis=grid, linewidth=0.5, color="#DDDDDD")  # type: ignore[arg-type]


def show_steps(axes: Axes, first: int, last: int, label: str) -> None:
    """Let the axis go from one step to another, with ticks on whole ones."""
    axes.set_xlim(first - 0.5, last + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True, min_n_ticks=1))
    axes.set_xlabel(label)


def set_labels(axes: Axes, which: str, places: Sequence[float], labels: Sequence[str]) -> None:
    """Put texts of models on an axis; dollars in them are no formulas."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_ticks(list(places), [shorten(one) for one in labels], parse_math=False)


def shorten(text: str, length: int = 24) -> str:
    """Return one line that the font can draw: white space as single blanks, the end cut, unknown characters as squares."""
    line = " ".join(text.split())
    if len(line) > length:
        line = line[: length - 1] + "\u2026"
    known = font_manager.get_font(font_manager.findfont(font_manager.FontProperties())).get_charmap()
    return "".join(one if ord(one) in known else _MISSING for one in line)


def say_nothing_to_show(axes: Axes, text: str) -> None:
    """Write why there is nothing in the picture, in its middle."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=DARK)
