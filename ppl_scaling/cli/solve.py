"""``ppl-scaling solve``: one problem, one particle filter, one posterior over answers."""

from __future__ import annotations

import json
from typing import Annotated

import typer

__all__ = ["solve"]


def solve(
    problem: Annotated[str, typer.Argument(help="The problem, in quotes.")],
    model: Annotated[
        str | None, typer.Option(help="Language model: a folder, a .gguf file or a hub name. Default: the embedded one.")
    ] = None,
    prm: Annotated[
        str | None, typer.Option(help="Process reward model: a folder or a hub name. Default: the embedded one.")
    ] = None,
    prm_family: Annotated[
        str | None,
        typer.Option(
            help="token-classification, qwen-math-prm, math-shepherd, rlhflow, skywork, sequence-classification or judge. "
            "Default: what the configuration tells."
        ),
    ] = None,
    aggregation: Annotated[
        str | None,
        typer.Option(help="Score of a prefix: last, min, prod, mean or whole-prefix. Default: the family's."),
    ] = None,
    num_particles: Annotated[int, typer.Option(help="Particles of the filter.")] = 16,
    likelihood: Annotated[
        str | None,
        typer.Option(
            help="bernoulli, twist or odds: what a score says. Default: bernoulli for scores of steps, twist for prefixes."
        ),
    ] = None,
    beta: Annotated[float, typer.Option(help="Power of the likelihood; 0 ignores the reward model.")] = 1.0,
    odds_temperature: Annotated[float, typer.Option(help="Divides the log-odds of --likelihood odds.")] = 1.0,
    ess_threshold: Annotated[
        float | None,
        typer.Option(help="Resample when the effective sample size falls below this share of the particles, in (0, 1]."),
    ] = None,
    resampling: Annotated[str, typer.Option(help="multinomial, stratified, systematic, residual or ssp.")] = "systematic",
    preset: Annotated[
        str | None,
        typer.Option(help="Settings of a paper: qwen2.5-math, llama-3 or optscale. Options given beside it win."),
    ] = None,
    system_prompt: Annotated[str | None, typer.Option(help="Stands in front of the problem.")] = None,
    step_delimiter: Annotated[
        str | None, typer.Option(help=r"Text that ends a step, such as '\n\n'. Default: '\n'.")
    ] = None,
    stop_at_boxed: Annotated[
        bool | None,
        typer.Option("--stop-at-boxed/--no-stop-at-boxed", help="End an answer with the step that has a boxed one."),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Sampling temperature of the language model. Default: 1, or the preset's.")
    ] = None,
    top_p: Annotated[float | None, typer.Option(help="Sample from the nucleus of this probability, in (0, 1].")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Longest answer in steps. Default: 20, or the preset's.")] = None,
    max_step_tokens: Annotated[
        int | None, typer.Option(help="Longest step in tokens. Default: 64, or the preset's.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Longest answer in tokens. Default: what the context holds.")
    ] = None,
    choice: Annotated[str, typer.Option(help="Final answer: mode, best_score or sample.")] = "mode",
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same result.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1. Default: a GPU if there is one.")] = None,
    prm_device: Annotated[str | None, typer.Option(help="Where the reward model runs. Default: --device.")] = None,
    micro_batch: Annotated[
        int | None, typer.Option(help="Most particles that pass through the language model at once. Default: all that fit.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16, float16. Default: the checkpoint's.")] = None,
    device_map: Annotated[
        str | None, typer.Option(help="auto: spread the language model over all GPUs, in place of --device.")
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Let the language model's checkpoint run code of its own.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Solve a problem and show the posterior over its answers.

    Example: ppl-scaling solve "Mia has 3 boxes of 12 pens. She gives away 5. How many are left?" --num-particles 32
    """
    from ppl_scaling.backends import TransformersLanguageModel, load_reward_model
    from ppl_scaling.cli.render import Live, quiet_transformers, show
    from ppl_scaling.cli.settings import language_model_settings, state_space_settings
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
    likelihoods: dict[str | None, Likelihood] = {
        "bernoulli": BernoulliLikelihood(beta),
        "twist": TwistLikelihood(beta),
        "odds": OddsLikelihood(odds_temperature, beta),
    }
    if likelihood not in (None, *likelihoods):
        raise ValueError(f"expected a likelihood among {', '.join(map(str, likelihoods))}, got {likelihood!r}")
    writing = language_model_settings(
        preset, system_prompt=system_prompt, step_delimiter=step_delimiter, stop_at_boxed=stop_at_boxed
    )
    limits = {"max_steps": max_steps, "max_step_tokens": max_step_tokens, "max_tokens": max_tokens}
    sampling = state_space_settings(preset, temperature=temperature, top_p=top_p, **limits)
    quiet_transformers()
    language_model = TransformersLanguageModel.from_pretrained(
        model or str(LANGUAGE_MODEL_PATH),
        device=device,
        dtype=dtype,
        device_map=device_map,
        trust_remote_code=trust_remote_code,
        micro_batch=micro_batch,
        **writing,
    )
    reward_model = load_reward_model(
        prm or str(REWARD_MODEL_PATH),
        family=prm_family,
        aggregation=aggregation,
        device=prm_device or device,
        dtype=dtype,
    )
    likelihoods[None] = likelihoods["twist" if reward_model.scores_prefixes else "bernoulli"]
    program = LanguageModelStateSpace(language_model, reward_model, likelihoods[likelihood], **sampling)
    smc = ParticleFilter(program, num_particles=num_particles, ess_threshold=ess_threshold, resampling=scheme, choice=choice)
    with Live(num_particles, program.max_steps, visible=not as_json) as live:
        result = smc.run(problem, seed=seed, on_step=live.update)
    if as_json:
        typer.echo(json.dumps(result.to_dict()))
    else:
        show(result)
    result.choose(choice, seed=result.seed)  # a run without any answer has failed; say so after showing it
