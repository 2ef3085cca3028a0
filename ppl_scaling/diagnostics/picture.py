"""A picture as it goes into a page or a file: the figure with its name and caption."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure

__all__ = ["Picture"]


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure with its name, which is also that of its file, and a caption."""

    name: str
    caption: str
    figure: Figure
