"""How the pictures look: colours, axes, and text of models as it can be drawn."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from matplotlib import font_manager, rcParams
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
    "fonts_for",
    "legend_name",
    "new_figure",
    "say_nothing_to_show",
    "set_labels",
    "shorten",
    "show_steps",
]

# Colours that the colour-blind tell apart (Okabe and Ito), ordered so that neighbours differ in lightness.
BLACK, AMBER, BLUE, RED, SKY, GREEN, PINK = "#000000", "#E69F00", "#0072B2", "#D55E00", "#56B4E9", "#009E73", "#CC79A7"
DARK, PALE = "#333333", "#C4C4C4"
COLOURS = (BLACK, AMBER, BLUE, RED, SKY, GREEN, PINK, "#7F7F7F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "p")
LINES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))

_MISSING = "\u25a1"  # an empty square, for what no font here has
# Chinese, Japanese and Korean, as free systems, macOS and Windows have them; matplotlib's own font has none.
_EAST_ASIAN = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR"),
    *("Source Han Sans SC", "Source Han Sans JP", "Source Han Sans KR", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei"),
    *("Droid Sans Fallback", "IPAexGothic", "IPAGothic", "NanumGothic"),
    *("PingFang SC", "Hiragino Sans GB", "Hiragino Sans", "Heiti TC", "Apple SD Gothic Neo", "Arial Unicode MS"),
    *("Microsoft YaHei", "SimHei", "Yu Gothic", "MS Gothic", "Malgun Gothic"),
)


class _Shown(Figure):
    """A figure that a notebook shows where it is the value of a cell, also if pyplot has drawn nothing there before."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()


def new_figure(
    width: float, height: float, *, title: str | None = None, grid: Literal["both", "x", "y"] | None = "both", **panels: Any
) -> tuple[Figure, list[Axes]]:
    """Make a figure that pyplot does not know of, with its panels: little in them that is not looked at, and a pale grid.

    Sizes are in inches. ``panels`` goes to ``Figure.subplots``.
    """
    figure = _Shown(figsize=(width, height), layout="constrained")
    found = figure.subplots(squeeze=False, **panels).ravel().tolist()
    for axes in found:
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
        if grid:
            axes.grid(True, axis=grid, linewidth=0.5, color="#DDDDDD")
    if title:
        figure.suptitle(_legible(title), parse_math=False, fontfamily=fonts_for(title))
    return figure, found


def show_steps(axes: Axes, first: int, last: int, label: str) -> None:
    """Let the axis go from one step to another, with ticks on whole ones."""
    axes.set_xlim(first - 0.5, last + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True, min_n_ticks=1))
    axes.set_xlabel(label)


def set_labels(axes: Axes, which: str, places: Sequence[float], labels: Sequence[str]) -> None:
    """Put texts of models on an axis; dollars in them are no formulas."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    shown = [shorten(one) for one in labels]
    axis.set_ticks(list(places), shown, parse_math=False, fontfamily=fonts_for("".join(shown)))


def shorten(text: str, length: int = 24) -> str:
    """Return one line that can be drawn: white space as single blanks, the end cut, unknown characters as squares."""
    line = " ".join(text.split())
    return _legible(line if len(line) <= length else line[: length - 1] + "\u2026")


def legend_name(text: str) -> str:
    """Return a text as a legend draws it, where a dollar would begin a formula and an underscore would hide the entry."""
    return _legible(text).replace("$", r"\$").lstrip("_") or "(empty)"


def fonts_for(text: str) -> list[str]:
    """Name the families to draw a text with: those that are set, and where these lack characters East Asian ones behind."""
    chosen = list(rcParams["font.family"])
    lacking = _lacking(text, chosen)
    installed = font_manager.get_font_names() if lacking else []
    for family in _EAST_ASIAN:
        rest = _lacking(lacking, [family]) if family in installed else lacking
        if rest != lacking:
            chosen.append(family)
            lacking = rest
    return chosen


def _legible(text: str) -> str:
    """Put squares for the characters that no font here has, and leave the ends of lines."""
    lacking = _lacking(text, fonts_for(text)) - {"\n"}
    return "".join(_MISSING if one in lacking else one for one in text)


def _lacking(text: Iterable[str], families: Sequence[str]) -> set[str]:
    """Which characters none of the families has."""
    paths = [font_manager.findfont(font_manager.FontProperties(family=[one])) for one in families]
    fonts = [font_manager.get_font(path) for path in paths]
    return {one for one in text if not any(font.get_char_index(ord(one)) for font in fonts)}


def say_nothing_to_show(axes: Axes, text: str) -> None:
    """Write why there is nothing in the picture, in its middle."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=DARK)
