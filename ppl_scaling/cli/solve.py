"""``ppl-scaling solve``: one problem, one method, one posterior over answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ppl_scaling.cli.method_options import MethodOptions
from ppl_scaling.cli.options import ModelOptions, takes

__all__ = ["solve"]


@takes(method=MethodOptions, models=ModelOptions)
def solve(
    problem: Annotated[str, typer.Argument(help="The problem, in quotes.")],
    *,
    method: MethodOptions,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same result.")] = None,
    save: Annotated[
        Path | None, typer.Option(help="Write the whole result to this file, for load_result in Python.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    models: ModelOptions,
) -> None:
    """Solve a problem and show the posterior over its answers.

    Example: ppl-scaling solve "Mia has 3 boxes of 12 pens. She gives away 5. How many are left?" --num-particles 32

    OptScale: ppl-scaling solve "..." --method optscale --target-score 0.95 --confidence 0.9 --max-completions 64
    """
    from ppl_scaling.cli.render import Live, show
    from ppl_scaling.tasks import MathGrader

    if not problem.strip():
        raise ValueError("expected a problem with some text, got an empty one")
    if save is not None and save.is_dir():
        raise ValueError(f"expected a file to save the result to, got the folder {save}")
    spec = method.spec(models)
    loaded = models.load()
    with MathGrader() as grader:
        made = spec.build(loaded, grader)
        with Live(getattr(made, "num_particles", None), made.model.max_steps, visible=not as_json) as live:
            result = made.run(problem, seed=seed, on_step=live.update)
        if save is not None:
            result.save(save)
        if as_json:
            typer.echo(json.dumps(result.to_dict()))
        else:
            show(result)
        result.choose(made.choice, seed=result.seed)  # a run without any answer has failed; say so after showing it
