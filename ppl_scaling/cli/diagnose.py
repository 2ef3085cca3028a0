"""``ppl-scaling diagnose``: the health of a saved result, of replicates, or of an evaluation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ppl_scaling.diagnostics import HealthReport

__all__ = ["diagnose", "examine", "read_saved"]


def diagnose(
    results: Annotated[
        list[Path],
        typer.Argument(
            help="What solve --save has written; several files are replicates of one problem. Or what evaluate has written."
        ),
    ],
    reasons: Annotated[bool, typer.Option("--reasons", help="Say why the thresholds are where they are.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with all of it, pictures and texts, to this file.")] = None,
    figures: Annotated[Path | None, typer.Option(help="Write the pictures as PNG and SVG into this folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Check whether a result can be believed, and say what to do if not.

    Example: ppl-scaling solve "..." --seed 1 --save one.json, then: ppl-scaling diagnose one.json

    Page with pictures: ppl-scaling diagnose one.json --html report.html --figures pictures

    Replicates: ppl-scaling diagnose one.json two.json three.json

    Evaluation: ppl-scaling diagnose results.jsonl
    """
    found = read_saved(results)
    report = examine(found)
    if html is not None or figures is not None:
        from ppl_scaling.cli.report_files import write_files

        write_files(found, report, html, figures)
    if as_json:
        typer.echo(json.dumps(report.to_dict(), allow_nan=False))
    else:
        from ppl_scaling.cli.health_table import show_health

        show_health(report, reasons=reasons)


def read_saved(paths: Sequence[Path]) -> list[Any]:
    """Read results, or the records of one evaluation.

    Raises
    ------
    ValueError
        If a file is neither, or an evaluation is not alone.
    """
    import ppl_scaling.inference.optscale  # noqa: F401  its results can be read once it is imported
    from ppl_scaling.inference import load_result, read_evaluation

    evaluations = [path for path in paths if _is_evaluation(path)]
    if not evaluations:
        return [load_result(path) for path in paths]
    if len(paths) > 1:
        raise ValueError(
            f"expected saved results, or one evaluation alone, got the evaluation {evaluations[0]} among others"
        )
    records: list[Any] = list(read_evaluation(evaluations[0]))
    if not records:
        raise ValueError(f"expected an evaluation with records, {evaluations[0]} has none yet")
    return records


def examine(found: Sequence[Any]) -> HealthReport:
    """Diagnose what was read; answers of an evaluation are compared as they were graded."""
    from ppl_scaling.diagnostics import diagnose as diagnose_results
    from ppl_scaling.inference import EvaluationRecord
    from ppl_scaling.tasks import MathGrader

    if not isinstance(found[0], EvaluationRecord):
        return diagnose_results(found)
    with MathGrader() as grader:
        return diagnose_results(found, answer_format=grader)


def _is_evaluation(path: Path) -> bool:
    """Whether the first line is a record of an evaluation; what can't be read at all is not."""
    try:
        with path.open("rb") as file:
            first = json.loads(file.readline())
    except (OSError, ValueError):
        return path.suffix == ".jsonl"
    return isinstance(first, dict) and {"index", "expected", "answers"} <= first.keys()
