"""``ppl-scaling evaluate``: a method on a file of problems, which may be interrupted and goes on."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from ppl_scaling.cli.method_options import MethodOptions
from ppl_scaling.cli.options import GradingOptions, ModelOptions, ProblemOptions, takes

__all__ = ["evaluate", "read"]


@takes(method=MethodOptions, grading=GradingOptions, reading=ProblemOptions, models=ModelOptions)
def evaluate(
    problems: Annotated[
        str, typer.Argument(help="JSON lines, or one JSON array, with problems and answers; - is standard input.")
    ],
    *,
    output: Annotated[
        str, typer.Option(help="Results, one JSON line a problem. If the file is there, the evaluation goes on from it.")
    ],
    method: MethodOptions,
    seeds: Annotated[
        list[int] | None, typer.Option("--seeds", "--seed", help="Run every problem once for each seed. Default: 0.")
    ] = None,
    num_replicates: Annotated[
        int | None, typer.Option(help="Run every problem so often: short for --seeds 0 1 2 ...")
    ] = None,
    summary: Annotated[str | None, typer.Option(help="Write the summary to this file, as JSON.")] = None,
    keep_trajectories: Annotated[
        bool, typer.Option("--keep-trajectories", help="Record what every particle wrote, with its scores.")
    ] = False,
    grading: GradingOptions,
    reading: ProblemOptions,
    models: ModelOptions,
) -> None:
    """Evaluate a method on problems with known answers: accuracy, and what it cost.

    Interrupted, even killed, it goes on when the same command is given again.

    Example: ppl-scaling evaluate problems.jsonl --method particle-filter --num-particles 16 --output results.jsonl

    GSM8K: ppl-scaling evaluate gsm8k_test.jsonl --problem-field question --limit 100 --output results.jsonl

    SVAMP: ppl-scaling evaluate svamp.json --problem-field Body Question --answer-field Answer --output results.jsonl
    """
    from rich.console import Console

    from ppl_scaling.cli.progress import EvaluationProgress, interrupted, summary_table
    from ppl_scaling.drafts import draft_of
    from ppl_scaling.inference.evaluation import Evaluation
    from ppl_scaling.inference.evaluation_summary import peak_memory, summarize
    from ppl_scaling.tasks import MathGrader

    if seeds and num_replicates is not None:
        raise ValueError("expected --seeds or --num-replicates, got both")
    if num_replicates is not None and num_replicates < 1:
        raise ValueError(f"expected --num-replicates to be at least 1, got {num_replicates}")
    spec = method.spec(models)
    settings = {"method": spec.name, **models.settings(), **spec.settings, "keep_trajectories": keep_trajectories}
    with (
        MathGrader(grading.grading_seconds) as grader,
        Evaluation(
            read(problems, reading),
            output,
            settings=settings,
            seeds=seeds or range(num_replicates or 1),
            batch_size=grading.batch_size,
            overwrite=grading.overwrite,
        ) as evaluation,
    ):
        memory = None
        try:
            if len(evaluation.records) < evaluation.total:
                made = spec.build(models.load(), grader)
                with EvaluationProgress(evaluation.total, evaluation.records) as progress:
                    progress.describe(spec.label)
                    evaluation.run(made, grader.grade, keep_trajectories=keep_trajectories, on_record=progress.add)
                memory = peak_memory()
        except KeyboardInterrupt:
            interrupted(len(evaluation.records), evaluation.total, output)
            raise typer.Exit(130) from None
        found = summarize(evaluation.records, peak_memory_bytes=memory)
    Console(highlight=False).print(summary_table(spec.label, found))
    if summary is not None:
        with draft_of(summary, "the summary") as draft:
            draft.write_text(json.dumps({**settings, **found.to_dict()}, indent=2) + "\n", encoding="utf-8")


def read(path: str, options: ProblemOptions) -> list:
    """Read the problems as the options say."""
    from ppl_scaling.tasks import read_problems

    return read_problems(
        path,
        problem_fields=options.problem_field or ("problem",),
        answer_field=options.answer_field,
        id_field=options.id_field,
        answer_style=options.answer_style,
        limit=options.limit,
    )
