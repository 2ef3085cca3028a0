"""What ``ppl-scaling diagnose`` writes beside what it prints: the page and the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppl_scaling.diagnostics import HealthReport

__all__ = ["write_files"]

_FORMATS = ("png", "svg")


def write_files(found: Sequence[Any], report: HealthReport, html: Path | None, figures: Path | None) -> None:
    """Write the page to ``html`` and the pictures into ``figures``, where these are not None.

    Of an evaluation these show how probabilities compare with the truth. Several results have their pictures in folders of
    their own, ``replicate_1`` and so on.

    Raises
    ------
    ValueError
        If the place can't be written.
    """
    from ppl_scaling.diagnostics import write_pictures, write_report
    from ppl_scaling.inference import EvaluationRecord
    from ppl_scaling.tasks import MathGrader

    if isinstance(found[0], EvaluationRecord):
        with MathGrader() as grader:
            if figures is not None:
                write_pictures(found, figures, formats=_FORMATS, answer_format=grader)
            if html is not None:
                write_report(found, html, health=report, answer_format=grader)
        return
    if figures is not None:
        for number, one in enumerate(found, start=1):
            folder = figures if len(found) == 1 else figures / f"replicate_{number}"
            write_pictures(one, folder, formats=_FORMATS)
    if html is not None:
        write_report(found, html, health=report)
