"""``ppl-scaling solve``: one problem, one particle filter, one posterior over answers."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from ppl_scaling.cli.options import ModelOptions, takes

__all__ = ["solve"]


@takes(models=ModelOptions)
def solve(
    problem: Annotated[str, typer.Argument(help="The problem, in quotes.")],
    models: ModelOptions,
    num_particles: Annotated[int, typer.Option(help="Particles of the filter.")] = 16,
    ess_threshold: Annotated[
        float | None,
        typer.Option(help="Resample when the effective sample size falls below this share of the particles, in (0, 1]."),
    ] = None,
    resampling: Annotated[str, typer.Option(help="multinomial, stratified, systematic, residual or ssp.")] = "systematic",
    choice: Annotated[str, typer.Option(help="Final answer: mode, best_score or sample.")] = "mode",
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same result.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Solve a problem and show the posterior over its answers.

    Example: ppl-scaling solve "Mia has 3 boxes of 12 pens. She gives away 5. How many are left?" --num-particles 32
    """
    from ppl_scaling.cli.render import Live, show
    from ppl_scaling.inference import ParticleFilter, resampling_scheme
    from ppl_scaling.tasks import MathGrader

    if not problem.strip():
        raise ValueError("expected a problem with some text, got an empty one")
    scheme = resampling_scheme(resampling)
    loaded = models.load()
    program = loaded.state_space()
    with MathGrader() as grader:
        smc = ParticleFilter(
            program,
            loaded.proposal(program),
            num_particles=num_particles,
            ess_threshold=ess_threshold,
            resampling=scheme,
            choice=choice,
            answer_format=grader,
        )
        with Live(num_particles, program.max_steps, visible=not as_json) as live:
            result = smc.run(problem, seed=seed, on_step=live.update)
        if as_json:
            typer.echo(json.dumps(result.to_dict()))
        else:
            show(result)
        result.choose(choice, seed=result.seed)  # a run without any answer has failed; say so after showing it
