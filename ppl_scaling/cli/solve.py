"""``ppl-scaling solve``: one problem, one particle filter, one posterior over answers."""

from __future__ import annotations

import json
from typing import Annotated

import typer

__all__ = ["solve"]

LIKELIHOODS = ("bernoulli", "twist", "odds")


def solve(
    problem: Annotated[str, typer.Argument(help="The problem, in quotes.")],
    model: Annotated[
        str | None, typer.Option(help="Language model: a folder or a hub name. Default: the embedded one.")
    ] = None,
    prm: Annotated[
        str | None, typer.Option(help="Process reward model: a folder or a hub name. Default: the embedded one.")
    ] = None,
    num_particles: Annotated[int, typer.Option(help="Particles of the filter.")] = 16,
    likelihood: Annotated[str, typer.Option(help="bernoulli, twist or odds: what a score says.")] = "bernoulli",
    beta: Annotated[float, typer.Option(help="Power of the likelihood; 0 ignores the reward model.")] = 1.0,
    odds_temperature: Annotated[float, typer.Option(help="Divides the log-odds of --likelihood odds.")] = 1.0,
    ess_threshold: Annotated[
        float | None,
        typer.Option(help="Resample when the effective sample size falls below this share of the particles, in (0, 1]."),
    ] = None,
    resampling: Annotated[str, typer.Option(help="multinomial, stratified, systematic, residual or ssp.")] = "systematic",
    temperature: Annotated[float, typer.Option(help="Sampling temperature of the language model.")] = 1.0,
    max_steps: Annotated[int, typer.Option(help="Longest answer in steps.")] = 20,
    max_step_tokens: Annotated[int, typer.Option(help="Longest step in tokens.")] = 64,
    choice: Annotated[str, typer.Option(help="Final answer: mode, best_score or sample.")] = "mode",
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same result.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1. Default: a GPU if there is one.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16, float16. Default: the checkpoint's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Solve a problem and show the posterior over its answers.

    Example: ppl-scaling solve "Mia has 3 boxes of 12 pens. She gives away 5. How many are left?" --num-particles 32
    """
    from ppl_scaling.backends import TokenClassificationRewardModel, TransformersLanguageModel
    from ppl_scaling.cli.render import Live, quiet_transformers, show
    from ppl_scaling.inference import ParticleFilter, resampling_scheme
    from ppl_scaling.models import (
        BernoulliLikelihood,
        LanguageModelStateSpace,
        Likelihood,
        OddsLikelihood,
        TwistLikelihood,
    )
    from ppl_scaling.models.pretrained import LANGUAGE_MODEL_PATH, REWARD_MODEL_PATH

    if not problem.strip():
        raise ValueError("expected a problem with some text, got an empty one")
    scheme = resampling_scheme(resampling)
    observed: Likelihood
    if likelihood == "bernoulli":
        observed = BernoulliLikelihood(beta)
    elif likelihood == "twist":
        observed = TwistLikelihood(beta)
    elif likelihood == "odds":
        observed = OddsLikelihood(odds_temperature, beta)
    else:
        raise ValueError(f"expected a likelihood among {', '.join(LIKELIHOODS)}, got {likelihood!r}")
    quiet_transformers()
    language_model = TransformersLanguageModel.from_pretrained(model or str(LANGUAGE_MODEL_PATH), device=device, dtype=dtype)
    reward_model = TokenClassificationRewardModel.from_pretrained(prm or str(REWARD_MODEL_PATH), device=device, dtype=dtype)
    program = LanguageModelStateSpace(
        language_model,
        reward_model,
        observed,
        temperature=temperature,
        max_steps=max_steps,
        max_step_tokens=max_step_tokens,
    )
    smc = ParticleFilter(program, num_particles=num_particles, ess_threshold=ess_threshold, resampling=scheme, choice=choice)
    with Live(num_particles, max_steps, visible=not as_json) as live:
        result = smc.run(problem, seed=seed, on_step=live.update)
    if as_json:
        typer.echo(json.dumps(result.to_dict()))
    else:
        show(result)
    result.choose(choice, seed=result.seed)  # a run without any answer has failed; say so after showing it
