"""``ppl-scaling curve``: methods, budgets and seeds on a file of problems, as a table and a picture."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ppl_scaling.cli.evaluate import read
from ppl_scaling.cli.methods import complete_method
from ppl_scaling.cli.options import GradingOptions, ModelOptions, ProblemOptions, takes

if TYPE_CHECKING:
    from ppl_scaling.cli.cells import Cell
    from ppl_scaling.inference.evaluation import Evaluation

__all__ = ["curve"]


@takes(grading=GradingOptions, reading=ProblemOptions, models=ModelOptions)
def curve(
    problems: Annotated[
        str, typer.Argument(help="JSON lines, or one JSON array, with problems and answers; - is standard input.")
    ],
    *,
    methods: Annotated[
        list[str],
        typer.Option(
            help="Methods below, with settings of their own after a colon: particle-filter:beta=4.",
            autocompletion=complete_method,
        ),
    ],
    output_dir: Annotated[
        str, typer.Option(help="Folder of table, picture and results. If it is there, the sweep goes on.")
    ],
    budgets: Annotated[
        list[int] | None,
        typer.Option(help="Completions, or particles times iterations and levels, of a problem. Default: 1 2 4 8 16."),
    ] = None,
    seeds: Annotated[
        list[int] | None, typer.Option("--seeds", "--seed", help="Run every problem once for each seed. Default: 0.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="The method that the others are compared with. Default: the first.")
    ] = None,
    share_completions: Annotated[
        bool,
        typer.Option(
            " /--no-share-completions",
            help="Draw new completions for each of these and for every budget. Default: the same ones for all.",
            show_default=False,
            rich_help_panel="Votes and best-of-N",
        ),
    ] = True,
    title: Annotated[str | None, typer.Option(help="Title of the picture.")] = None,
    grading: GradingOptions,
    reading: ProblemOptions,
    models: ModelOptions,
) -> None:
    """Compare methods at several budgets: accuracy with intervals, against budget and against generated tokens.

    Writes curve.csv, .json, .png, .pdf and .svg, and below results/ a line for every problem.

    Writes comparison.csv and .json: accuracy at the same number of tokens, and the budget for the same accuracy.

    Interrupted, even killed, it goes on when the same command is given again; also with more methods, budgets or seeds.

    Example: ppl-scaling curve problems.jsonl --methods particle-filter best-of-n --budgets 1 4 16 --output-dir sweep
    """
    from rich.console import Console

    from ppl_scaling.cli.cells import plan, run_cells
    from ppl_scaling.cli.methods import MethodSpec
    from ppl_scaling.cli.progress import EvaluationProgress, comparison_table, curve_table, interrupted
    from ppl_scaling.diagnostics import write_curve_comparison, write_scaling_curve
    from ppl_scaling.inference.curve_comparison import budget_ratios, compare_at_tokens
    from ppl_scaling.inference.evaluation import Evaluation
    from ppl_scaling.inference.evaluation_summary import scaling_curve
    from ppl_scaling.tasks import MathGrader

    specs = [MethodSpec.parse(one) for one in methods]
    labels = _distinct("methods", [one.label for one in specs])
    sizes, wanted = _distinct("budgets", sorted(budgets or [1, 2, 4, 8, 16])), _distinct("seeds", seeds or [0])
    if sizes[0] < 1:
        raise ValueError(f"expected budgets of at least 1, got {sizes[0]}")
    reference = reference or labels[0]
    if reference not in labels:
        raise ValueError(f"expected a reference among {', '.join(labels)}, got {reference!r}")
    tasks, folder = read(problems, reading), Path(output_dir)
    groups, notes = plan(specs, sizes, wanted, models, share=share_completions)

    def open_cell(cell: Cell, overwrite: bool) -> Evaluation:
        return Evaluation(
            tasks,
            cell.path(folder / "results"),
            settings={**models.settings(), **cell.settings},
            seeds=[cell.seed],
            batch_size=grading.batch_size,
            overwrite=overwrite,
        )

    # Everything is opened once before anything runs, so that a mistake in the last cell is not found in the last hour.
    known = [one for group in groups for cell in group for one in _records(open_cell(cell, grading.overwrite))]
    total = len(tasks) * sum(map(len, groups))
    found: dict[tuple[str, int], list[Any]] = defaultdict(list)
    load = cache(models.load)
    with MathGrader(grading.grading_seconds) as grader, EvaluationProgress(total, known) as progress:
        for note in notes:
            progress.note(note)
        try:
            for group in groups:
                evaluations = [open_cell(cell, False) for cell in group]
                progress.describe(_name(group))
                try:
                    run_cells(group, evaluations, load, grader, progress.add)
                finally:
                    for evaluation in evaluations:
                        evaluation.close()
                for cell, evaluation in zip(group, evaluations, strict=True):
                    found[cell.label, cell.budget] += evaluation.records
        except KeyboardInterrupt:
            stopped = True
        else:
            stopped = False
    if stopped:
        interrupted(progress.count, total, str(folder))
        raise typer.Exit(130)
    order = {label: position for position, label in enumerate(labels)}
    ordered = {key: found[key] for key in sorted(found, key=lambda key: (order[key[0]], key[1]))}
    points = scaling_curve(ordered, reference=reference)
    settings = {
        **models.settings(),
        "problems": problems,
        "num_problems": len(tasks),
        "seeds": wanted,
        "batch_size": grading.batch_size,
        "reference": reference,
        "share_completions": share_completions,
    }
    console = Console(highlight=False)
    console.print(curve_table(points, reference if len(labels) > 1 else None))
    written = write_scaling_curve(points, folder, title=title, settings=settings)
    if len(labels) > 1:
        matched, ratios = compare_at_tokens(ordered, reference=reference), budget_ratios(ordered, reference=reference)
        console.print(comparison_table(matched, ratios))
        written += write_curve_comparison(matched, ratios, folder, settings=settings)
    for path in written:
        typer.echo(path)


def _records(evaluation: Evaluation) -> list[Any]:
    with evaluation:
        return evaluation.records


def _name(group: list[Cell]) -> str:
    labels, first = list(dict.fromkeys(cell.label for cell in group)), group[0]
    at = f"up to {max(cell.budget for cell in group)}" if len(group) > 1 else f"at {first.budget}"
    return f"{', '.join(labels)} {at}, seed {first.seed}"


def _distinct(what: str, values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise ValueError(f"expected {what} that differ, got {', '.join(map(str, values))}")
    return values
