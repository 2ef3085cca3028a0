"""Methods by name, as they are written on the command line: ``particle-gibbs`` or ``particle-gibbs:num_iterations=8``.

After the colon stand settings of the method (arguments of its class), of its proposal (``draft``: whether the draft model
writes; ``proposal_temperature``, ``proposal_top_p``, ``proposal_top_k``), of the likelihood and of the sampling; these win
over the options of the command.
"""

from __future__ import annotations

import importlib
import inspect
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from ppl_scaling.cli.options import OBSERVING, SAMPLING, ModelOptions

if TYPE_CHECKING:
    from ppl_scaling.cli.models import Models
    from ppl_scaling.inference import Method
    from ppl_scaling.interfaces import AnswerFormat

__all__ = ["METHODS", "METHODS_HELP", "MethodEntry", "MethodSpec", "complete_method"]

_PROPOSAL = ("draft", "proposal_temperature", "proposal_top_k", "proposal_top_p")
_GIVEN = {"self", "model", "proposal", "answer_format", "replicated", "prior"}  # made here, and nothing to be typed


@dataclass(frozen=True)
class MethodEntry:
    """Where a method is.

    Attributes
    ----------
    module, class_name : str
    rounds : tuple of str
        Settings that multiply the number of particles to the budget: a number, or a list whose length counts.
    around : str, optional
        Name of the method that it is made around, instead of a model; settings that are not its own are for that one.
    """

    module: str
    class_name: str
    rounds: tuple[str, ...] = ()
    around: str | None = None

    def load(self) -> type[Method]:
        """Import the class."""
        return getattr(importlib.import_module(self.module), self.class_name)


_INFERENCE, _BASELINES = "ppl_scaling.inference", "ppl_scaling.inference.baselines"
_OPTSCALE = "ppl_scaling.inference.optscale"

METHODS: Mapping[str, MethodEntry] = {
    "particle-filter": MethodEntry(_INFERENCE, "ParticleFilter"),
    "particle-gibbs": MethodEntry(_INFERENCE, "ParticleGibbs", ("num_iterations",)),
    "parallel-tempering": MethodEntry(_INFERENCE, "ParallelTempering", ("num_iterations", "powers")),
    "annealed-smc": MethodEntry(_INFERENCE, "AnnealedSMC"),
    "auxiliary-particle-filter": MethodEntry(_INFERENCE, "AuxiliaryParticleFilter"),
    "entropic-particle-filter": MethodEntry(_INFERENCE, "EntropicParticleFilter"),
    "resample-move": MethodEntry(_INFERENCE, "ResampleMoveFilter"),
    "islands": MethodEntry(_INFERENCE, "Islands", ("num_replicates",), around="particle-filter"),
    "greedy": MethodEntry(_BASELINES, "Greedy"),
    "pass@1": MethodEntry(_BASELINES, "SingleSample"),
    "majority-vote": MethodEntry(_BASELINES, "MajorityVote"),
    "best-of-n": MethodEntry(_BASELINES, "BestOfN"),
    "weighted-best-of-n": MethodEntry(_BASELINES, "WeightedBestOfN"),
    "beam-search": MethodEntry(_BASELINES, "BeamSearch"),
    "dvts": MethodEntry(_BASELINES, "DVTS"),
    "adaptive-self-consistency": MethodEntry(_BASELINES, "AdaptiveSelfConsistency"),
    "early-stopping-self-consistency": MethodEntry(_BASELINES, "EarlyStoppingSelfConsistency"),
    "difficulty-adaptive-self-consistency": MethodEntry(_BASELINES, "DifficultyAdaptiveSelfConsistency"),
    "optscale": MethodEntry(_OPTSCALE, "OptScale"),
    "optscale-replicates": MethodEntry(_OPTSCALE, "OptScaleReplicates", ("max_replicates",), around="particle-filter"),
}
METHODS_HELP = f"Methods: {', '.join(METHODS)}."


def complete_method(incomplete: str) -> list[str]:
    """Give the names that a shell may complete a method to."""
    return [name for name in METHODS if name.startswith(incomplete)]


@dataclass(frozen=True)
class MethodSpec:
    """A method and its settings.

    Parameters
    ----------
    label : str
        As it was typed.
    name : str
    settings : mapping
        What stands after the colon.

    Raises
    ------
    ValueError
        If there is no such method, or it takes no such setting.

    Examples
    --------
    >>> MethodSpec.parse("particle-filter:likelihood=twist,beta=4").settings
    {'likelihood': 'twist', 'beta': 4}
    """

    label: str
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in METHODS:
            close = get_close_matches(self.name, METHODS, n=1, cutoff=0.6)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"expected a method among {', '.join(METHODS)}, got {self.name!r}{hint}")
        own = [one for one in self.parameters if one not in _GIVEN]
        takes = {*own, *OBSERVING, *SAMPLING, *(_PROPOSAL if self.takes_proposal else ())}
        for setting in self.settings:
            if setting not in takes:
                raise ValueError(
                    f"expected a setting that {self.name} takes ({', '.join(own) or 'it has none'}) or one of likelihood "
                    f"and sampling, got {setting!r}"
                )

    @classmethod
    def parse(cls, text: str) -> MethodSpec:
        """Read ``name`` or ``name:setting=value,...``; values are JSON, or else texts."""
        name, colon, rest = text.strip().partition(":")
        settings = {}
        for part in re.split(r",(?=\s*\w+\s*=)", rest) if colon else []:
            key, equals, value = part.partition("=")
            if not equals or not key.strip():
                raise ValueError(f"expected a method as name:setting=value,setting=value, got {text!r}")
            settings[key.strip()] = _value(value.strip())
        return cls(text.strip(), name.strip(), settings)

    def with_settings(self, **given: Any) -> MethodSpec:
        """Add settings; None stands for one that was not given, and what the text says wins."""
        known = {name: value for name, value in given.items() if value is not None}
        return MethodSpec(self.label, self.name, {**known, **self.settings})

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """Arguments of the class, and of the one that it is made around."""
        around = METHODS[self.name].around
        inner = {} if around is None else _parameters(METHODS[around].load())
        return {**inner, **_parameters(METHODS[self.name].load())}

    @property
    def takes_proposal(self) -> bool:
        """Whether something else than the model may draw the steps."""
        return "proposal" in self.parameters

    @property
    def size(self) -> str | None:
        """The argument that says how many particles or completions there are; None if that is fixed."""
        return getattr(METHODS[self.name].load(), "budget", "num_particles")

    def sized(self, number: int | None) -> MethodSpec:
        """Set the number of particles or completions; None leaves the default.

        Raises
        ------
        ValueError
            If the method has a fixed number.
        """
        if number is None:
            return self
        if self.size is None:
            raise ValueError(f"expected no number of particles for {self.name}, which writes one completion, got {number}")
        return self.with_settings(**{self.size: number})

    def budgeted(self, budget: int) -> MethodSpec:
        """Spend a budget: the number of completions, or of particles times that of iterations and levels.

        What the text leaves open is set: the number of particles, else of iterations. A method of fixed size stays as it is.

        Raises
        ------
        ValueError
            If the budget is no multiple of what is fixed, or nothing is open.
        """
        if self.size is None:
            return self
        factors = (self.size, *METHODS[self.name].rounds)
        free = next((one for one in factors if one not in self.settings), None)
        if free is None:
            raise ValueError(f"expected {' or '.join(factors)} to be left open for the budget, got {self.label!r}")
        fixed = math.prod(self._count(one) for one in factors if one != free)
        if budget % fixed:
            raise ValueError(f"expected a budget that is a multiple of {fixed} for {self.label}, got {budget}")
        return self.with_settings(**{free: budget // fixed})

    def check(self, options: ModelOptions) -> None:
        """Find out what is wrong with the settings, without the models: those of a stand-in will do.

        Raises
        ------
        ValueError, TypeError
            If a setting is out of its range.
        """
        from ppl_scaling.backends.finite import FiniteLanguageModel, FunctionRewardModel
        from ppl_scaling.cli.models import Models
        from ppl_scaling.tasks import MathAnswers

        language_model = FiniteLanguageModel({"": {"a": 0.5, "$": 0.5}})
        self.build(Models(language_model, FunctionRewardModel(lambda prompt, text: 0.5), options), MathAnswers())

    def build(self, models: Models, answer_format: AnswerFormat) -> Method:
        """Make the method.

        Raises
        ------
        ValueError, TypeError
            If a setting is out of its range.
        """
        from ppl_scaling.inference import resampling_scheme

        parameters = self.parameters
        own = {name: value for name, value in self.settings.items() if name in parameters}
        shaping = {name: value for name, value in self.settings.items() if name not in parameters and name not in _PROPOSAL}
        program = models.state_space(**shaping)
        if isinstance(own.get("resampling"), str):
            own["resampling"] = resampling_scheme(own["resampling"])
        drawing = {name.removeprefix("proposal_"): self.settings[name] for name in _PROPOSAL if name in self.settings}
        if self.takes_proposal:
            own["proposal"] = models.proposal(program, **drawing)
        entry = METHODS[self.name]
        if entry.around is None:
            return _made(entry, program, own, answer_format)
        inner = _parameters(METHODS[entry.around].load())
        within = _made(METHODS[entry.around], program, {k: v for k, v in own.items() if k in inner}, answer_format)
        return _made(entry, within, {k: v for k, v in own.items() if k not in inner}, answer_format)

    def _count(self, setting: str) -> int:
        value = self.settings.get(setting, self.parameters[setting].default)
        count = value if isinstance(value, int) else len(value)
        if count < 1:
            raise ValueError(f"expected {setting} to be at least 1, got {value}")
        return count


def _parameters(method: type[Method]) -> dict[str, inspect.Parameter]:
    """Arguments of a class, those that it passes on to its bases included."""
    found: dict[str, inspect.Parameter] = {}
    for base in method.__mro__:
        if "__init__" not in vars(base):
            continue
        own = inspect.signature(vars(base)["__init__"]).parameters
        found = {**own, **found}
        if not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in own.values()):
            break
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {name: one for name, one in found.items() if one.kind not in kinds}


def _made(entry: MethodEntry, over: Any, settings: Mapping[str, Any], answer_format: AnswerFormat) -> Method:
    cls: Any = entry.load()
    return cls(over, **settings, answer_format=answer_format)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return float(text) if re.fullmatch(r"[-+]?\.\d+", text) else text  # .95, which JSON does not know
