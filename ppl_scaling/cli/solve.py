"""``ppl-scaling solve``: one problem, one method, one posterior over answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ppl_scaling.cli.methods import complete_method
from ppl_scaling.cli.options import ModelOptions, takes

__all__ = ["solve"]

_OPTSCALE = "How many completions (--method optscale)"


@takes(models=ModelOptions)
def solve(
    problem: Annotated[str, typer.Argument(help="The problem, in quotes.")],
    models: ModelOptions,
    method: Annotated[
        str,
        typer.Option(
            help="A method below, with settings of its own after a colon: particle-filter:beta=4.",
            autocompletion=complete_method,
        ),
    ] = "particle-filter",
    num_particles: Annotated[
        int | None, typer.Option(help="Particles, or completions. Default: the method's; 16 for the particle filter.")
    ] = None,
    ess_threshold: Annotated[
        float | None,
        typer.Option(help="Resample when the effective sample size falls below this share of the particles, in (0, 1]."),
    ] = None,
    resampling: Annotated[
        str | None, typer.Option(help="multinomial, stratified, systematic, residual or ssp. Default: systematic.")
    ] = None,
    choice: Annotated[
        str | None, typer.Option(help="Final answer: mode, best_score or sample. Default: the method's, mostly mode.")
    ] = None,
    target_score: Annotated[
        float | None,
        typer.Option(
            help="OptScale stops when a score reaches this. Without it and without --price: when one of the completions is "
            "probably right.",
            rich_help_panel=_OPTSCALE,
        ),
    ] = None,
    confidence: Annotated[
        float | None, typer.Option(help="Probability with which that is wanted. Default: 0.9.", rich_help_panel=_OPTSCALE)
    ] = None,
    price: Annotated[
        float | None,
        typer.Option(
            help="OptScale stops when no more gain in score is worth this a completion.", rich_help_panel=_OPTSCALE
        ),
    ] = None,
    max_completions: Annotated[
        int | None, typer.Option(help="Most completions of methods that decide on them.", rich_help_panel=_OPTSCALE)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same result.")] = None,
    save: Annotated[
        Path | None, typer.Option(help="Write the whole result to this file, for load_result in Python.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Solve a problem and show the posterior over its answers.

    Example: ppl-scaling solve "Mia has 3 boxes of 12 pens. She gives away 5. How many are left?" --num-particles 32

    OptScale: ppl-scaling solve "..." --method optscale --target-score 0.95 --confidence 0.9 --max-completions 64
    """
    from ppl_scaling.cli.methods import MethodSpec
    from ppl_scaling.cli.render import Live, show
    from ppl_scaling.tasks import MathGrader

    if not problem.strip():
        raise ValueError("expected a problem with some text, got an empty one")
    if save is not None and save.is_dir():
        raise ValueError(f"expected a file to save the result to, got the folder {save}")
    spec = MethodSpec.parse(method).with_settings(
        ess_threshold=ess_threshold,
        resampling=resampling,
        choice=choice,
        target_score=target_score,
        confidence=confidence,
        price=price,
        max_completions=max_completions,
    )
    spec = spec.sized(num_particles)
    spec.check(models)  # before the models are loaded
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
