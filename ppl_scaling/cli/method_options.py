"""The options of a command that runs one method: which, and the settings that are asked for most."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from ppl_scaling.cli.methods import MethodSpec, complete_method
from ppl_scaling.cli.options import ModelOptions

__all__ = ["MethodOptions"]

_OPTSCALE = "How many completions (--method optscale)"


@dataclass(frozen=True)
class MethodOptions:
    """The method and its settings; what stands after a colon in the method's text wins over the options."""

    method: Annotated[
        str,
        typer.Option(
            help="A method below, with settings of its own after a colon: particle-filter:beta=4.",
            autocompletion=complete_method,
        ),
    ] = "particle-filter"
    num_particles: Annotated[
        int | None,
        typer.Option(help="Particles, or completions, of a problem. Default: the method's; 16 for the particle filter."),
    ] = None
    ess_threshold: Annotated[
        float | None,
        typer.Option(help="Resample when the effective sample size falls below this share of the particles, in (0, 1]."),
    ] = None
    resampling: Annotated[
        str | None, typer.Option(help="multinomial, stratified, systematic, residual or ssp. Default: systematic.")
    ] = None
    choice: Annotated[
        str | None, typer.Option(help="Final answer: mode, best_score or sample. Default: the method's, mostly mode.")
    ] = None
    target_score: Annotated[
        float | None,
        typer.Option(
            help="OptScale stops when a score reaches this. Without it and without --price: when one of the completions is "
            "probably right.",
            rich_help_panel=_OPTSCALE,
        ),
    ] = None
    confidence: Annotated[
        float | None, typer.Option(help="Probability with which that is wanted. Default: 0.9.", rich_help_panel=_OPTSCALE)
    ] = None
    price: Annotated[
        float | None,
        typer.Option(
            help="OptScale stops when no more gain in score is worth this a completion.", rich_help_panel=_OPTSCALE
        ),
    ] = None
    max_completions: Annotated[
        int | None, typer.Option(help="Most completions of methods that decide on them.", rich_help_panel=_OPTSCALE)
    ] = None

    def spec(self, models: ModelOptions) -> MethodSpec:
        """Name the method with its settings; mistakes in them are found here, before a model is loaded.

        Raises
        ------
        ValueError, TypeError
            If there is no such method, it takes no such setting or no draft model, or a setting is out of its range.
        """
        settings = asdict(self)
        method, num_particles = settings.pop("method"), settings.pop("num_particles")
        spec = MethodSpec.parse(method).with_settings(**settings).sized(num_particles)
        if models.draft is not None and not spec.takes_proposal:
            raise ValueError(f"expected a method that takes a proposal, for --draft, got {spec.name}")
        spec.check(models)
        return spec
