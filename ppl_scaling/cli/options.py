"""Options that several commands share.

A group of options is a dataclass whose fields are annotated for typer. ``@takes(models=ModelOptions)`` gives a command the
options of the group, and hands them over as one argument ``models``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from ppl_scaling.cli.settings import digest

if TYPE_CHECKING:
    from ppl_scaling.cli.models import Models
    from ppl_scaling.interfaces import RewardModel
    from ppl_scaling.models import Likelihood

__all__ = ["OBSERVING", "SAMPLING", "GradingOptions", "ModelOptions", "ProblemOptions", "takes"]

_MODELS, _SAMPLING, _OBSERVING, _PROBLEMS = "Models", "Steps and sampling", "Likelihood", "Problems"
_ELSEWHERE = {"device", "prm_device", "micro_batch", "device_map", "trust_remote_code"}
"""Options that say where and how a model runs, not what it computes."""

OBSERVING = ("likelihood", "beta", "odds_temperature")
SAMPLING = ("temperature", "top_k", "top_p", "max_steps", "max_step_tokens", "max_tokens")
"""Options of the state space, which a method may have its own values of."""


def _option(panel: str, help: str, *names: str) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel)


@dataclass(frozen=True)
class ModelOptions:
    """The language model, the reward model, and how the one writes and the other is observed."""

    model: Annotated[
        str | None, _option(_MODELS, "Language model: a folder, a .gguf file or a hub name. Default: the embedded one.")
    ] = None
    prm: Annotated[
        str | None, _option(_MODELS, "Process reward model: a folder or a hub name. Default: the embedded one.")
    ] = None
    prm_family: Annotated[
        str | None,
        _option(
            _MODELS,
            "token-classification, qwen-math-prm, math-shepherd, rlhflow, skywork, sequence-classification or judge. "
            "Default: what the configuration tells.",
        ),
    ] = None
    draft: Annotated[
        str | None,
        _option(
            _MODELS,
            "Language model with the same tokens that writes the steps, which --model then weighs; for methods that take a "
            "proposal.",
        ),
    ] = None
    aggregation: Annotated[
        str | None, _option(_MODELS, "Score of a prefix: last, min, prod, mean or whole-prefix. Default: the family's.")
    ] = None
    likelihood: Annotated[
        str | None,
        _option(
            _OBSERVING,
            "bernoulli, twist or odds: what a score says. Default: bernoulli for scores of steps, twist for prefixes, with "
            "the power that the reward model recommends.",
        ),
    ] = None
    beta: Annotated[
        float | None, _option(_OBSERVING, "Power of the likelihood; 0 ignores the reward model. Default: 1, see above.")
    ] = None
    odds_temperature: Annotated[float, _option(_OBSERVING, "Divides the log-odds of --likelihood odds.")] = 1.0
    calibration: Annotated[
        str | None, _option(_OBSERVING, "Map scores by this file of ppl-scaling calibrate before the likelihood.")
    ] = None
    calibration_uncertainty: Annotated[
        str, _option(_OBSERVING, "plug_in: the mean map; marginal: averaged over maps; latent: a map for each particle.")
    ] = "plug_in"
    preset: Annotated[
        str | None,
        _option(_SAMPLING, "Settings of a paper: qwen2.5-math, llama-3 or optscale. Options given beside it win."),
    ] = None
    system_prompt: Annotated[str | None, _option(_SAMPLING, "Stands in front of the problem.")] = None
    step_delimiter: Annotated[str | None, _option(_SAMPLING, r"Text that ends a step, such as '\n\n'. Default: '\n'.")] = (
        None
    )
    stop_at_boxed: Annotated[
        bool | None,
        _option(_SAMPLING, "End an answer with the step that has a boxed one.", "--stop-at-boxed/--no-stop-at-boxed"),
    ] = None
    temperature: Annotated[
        float | None, _option(_SAMPLING, "Sampling temperature of the language model. Default: 1, or the preset's.")
    ] = None
    top_p: Annotated[float | None, _option(_SAMPLING, "Sample from the nucleus of this probability, in (0, 1].")] = None
    max_steps: Annotated[int | None, _option(_SAMPLING, "Longest answer in steps. Default: 20, or the preset's.")] = None
    max_step_tokens: Annotated[int | None, _option(_SAMPLING, "Longest step in tokens. Default: 64, or the preset's.")] = (
        None
    )
    max_tokens: Annotated[int | None, _option(_SAMPLING, "Longest answer in tokens. Default: what the context holds.")] = (
        None
    )
    device: Annotated[str | None, _option(_MODELS, "cpu, cuda, cuda:1. Default: a GPU if there is one.")] = None
    prm_device: Annotated[str | None, _option(_MODELS, "Where the reward model runs. Default: --device.")] = None
    micro_batch: Annotated[
        int | None,
        _option(_MODELS, "Most particles that pass through the language model at once. Default: all that fit."),
    ] = None
    dtype: Annotated[str | None, _option(_MODELS, "float32, bfloat16, float16. Default: the checkpoint's.")] = None
    device_map: Annotated[
        str | None, _option(_MODELS, "auto: spread the language model over all GPUs, in place of --device.")
    ] = None
    trust_remote_code: Annotated[
        bool, _option(_MODELS, "Let the language model's checkpoint run code of its own.", "--trust-remote-code")
    ] = False

    def settings(self) -> dict[str, Any]:
        """Return what results depend on."""
        settings = {name: value for name, value in asdict(self).items() if name not in _ELSEWHERE}
        if self.calibration is None:
            del settings["calibration"], settings["calibration_uncertainty"]
        else:  # what the file holds counts, not what it is called
            settings["calibration"] = digest(self.calibration)
        return settings

    def likelihood_with(self, given: dict[str, Any], reward_model: RewardModel | None = None) -> Likelihood:
        """Make the likelihood; ``given`` wins over the options.

        Raises
        ------
        ValueError
            If there is no such likelihood, or a number is out of its range.
        """
        from ppl_scaling.cli.settings import calibrated
        from ppl_scaling.models import BernoulliLikelihood, OddsLikelihood, TwistLikelihood
        from ppl_scaling.models.state_space import default_likelihood

        name, beta, odds_temperature = (given.get(name, getattr(self, name)) for name in OBSERVING)
        power = 1.0 if beta is None else beta
        likelihoods: dict[str, Likelihood] = {
            "bernoulli": BernoulliLikelihood(power),
            "twist": TwistLikelihood(power),
            "odds": OddsLikelihood(odds_temperature, power),
        }
        if name is not None and name not in likelihoods:
            raise ValueError(f"expected a likelihood among {', '.join(likelihoods)}, got {name!r}")
        likelihood = default_likelihood(reward_model, beta) if name is None else likelihoods[name]
        return calibrated(likelihood, self.calibration, self.calibration_uncertainty)

    def load(self) -> Models:
        """Load the models.

        Raises
        ------
        ValueError, PPLScalingError
            If an option is out of its range, or a model cannot be loaded.
        """
        from ppl_scaling.backends import TransformersLanguageModel, load_reward_model
        from ppl_scaling.cli.models import Models
        from ppl_scaling.cli.render import quiet_transformers
        from ppl_scaling.cli.settings import language_model_settings
        from ppl_scaling.models.pretrained import LANGUAGE_MODEL_PATH, REWARD_MODEL_PATH

        self.likelihood_with({})  # what is wrong is said before the models are loaded
        writing = language_model_settings(
            self.preset,
            system_prompt=self.system_prompt,
            step_delimiter=self.step_delimiter,
            stop_at_boxed=self.stop_at_boxed,
        )
        quiet_transformers()

        def language_model(name: str) -> TransformersLanguageModel:
            return TransformersLanguageModel.from_pretrained(
                name,
                device=self.device,
                dtype=self.dtype,
                device_map=self.device_map,
                trust_remote_code=self.trust_remote_code,
                micro_batch=self.micro_batch,
                **writing,
            )

        writer = language_model(self.model or str(LANGUAGE_MODEL_PATH))
        draft = None if self.draft is None else language_model(self.draft)
        reward_model = load_reward_model(
            self.prm or str(REWARD_MODEL_PATH),
            family=self.prm_family,
            aggregation=self.aggregation,
            device=self.prm_device or self.device,
            dtype=self.dtype,
        )
        return Models(writer, reward_model, self, draft)


@dataclass(frozen=True)
class ProblemOptions:
    """How problems are read from a file."""

    problem_field: Annotated[
        list[str] | None,
        _option(_PROBLEMS, "Field with the problem; several are joined by a space. Default: problem."),
    ] = None
    answer_field: Annotated[str, _option(_PROBLEMS, "Field with the right answer.")] = "answer"
    id_field: Annotated[str | None, _option(_PROBLEMS, "Field with a name of the problem. Default: 1, 2, 3, ...")] = None
    answer_style: Annotated[
        str,
        _option(
            _PROBLEMS,
            r"text: as it stands; hashes: after the last ####, as in GSM8K; boxed: in the last \boxed{}; auto: after #### "
            "on the last line, else what is boxed, else as it stands.",
        ),
    ] = "auto"
    limit: Annotated[int | None, _option(_PROBLEMS, "Take the first so many problems.")] = None


@dataclass(frozen=True)
class GradingOptions:
    """How answers are graded, and how many problems run at once."""

    batch_size: Annotated[
        int, typer.Option(help="Problems that run at once, each with particles of its own. Results depend on it.")
    ] = 8
    grading_seconds: Annotated[
        float, typer.Option(help="A comparison of two answers that takes longer counts as wrong.")
    ] = 5.0
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin again instead of going on.")] = False


def takes(**groups: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of some groups, each in the place of the argument that it gets the group as."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        taken: list[inspect.Parameter] = []
        for name, own in inspect.signature(command, eval_str=True).parameters.items():
            if name not in groups:
                taken.append(own.replace(kind=inspect.Parameter.KEYWORD_ONLY))
                continue
            hints = get_type_hints(groups[name], include_extras=True)
            for one in fields(groups[name]):
                kind = inspect.Parameter.KEYWORD_ONLY
                taken.append(inspect.Parameter(one.name, kind, default=one.default, annotation=hints[one.name]))

        @functools.wraps(command)
        def call(**given: Any) -> None:
            for name, group in groups.items():
                given[name] = group(**{one.name: given.pop(one.name) for one in fields(group)})
            command(**given)

        call.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined]
        call.__annotations__ = {one.name: one.annotation for one in taken}
        return call

    return decorate
