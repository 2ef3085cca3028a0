"""Settings that may be typed: which stopping rule, and which law of scores with which prior."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from ppl_scaling.arguments import check_counts
from ppl_scaling.inference.optscale.combined_rules import AllOf, AnyOf
from ppl_scaling.inference.optscale.coverage_rule import CoverageRule
from ppl_scaling.inference.optscale.evidence import Decision, Evidence, StoppingRule, ask, next_round
from ppl_scaling.inference.optscale.plug_in_rule import PlugInRule
from ppl_scaling.inference.optscale.rules import AnswerRule, GuaranteeRule, PriceRule
from ppl_scaling.models.scores import SCORE_MODELS
from ppl_scaling.models.scores.base import Prior, ScoreModel
from ppl_scaling.models.scores.dirichlet import DirichletScores

__all__ = ["RULES", "ScoreLaws", "Stopping", "stopping_rule"]

_PLUG_INS = ("optscale_0", "optscale_t", "sequential_optscale_0", "sequential_optscale_t")
_DEFAULTS = {"target_score": 0.95, "confidence": 0.9, "price_per": "completion"}
_DEFAULT_COVERAGE_PRICE = 0.01
RULES: dict[str, tuple[str, ...]] = {
    "guarantee": ("target_score", "confidence", "give_up_below", "peek"),
    "price": ("price", "price_per"),
    "coverage": ("confidence", "price"),
    "answer": ("confidence",),
    **dict.fromkeys(_PLUG_INS, ("target_score", "confidence", "peek")),
}
"""The rules by name, each with the settings that it takes."""


def stopping_rule(rule: str | StoppingRule | None, **settings: Any) -> StoppingRule:
    """Make a stopping rule.

    Parameters
    ----------
    rule : str or StoppingRule or None
        A rule; or names of rules, joined by ``or`` to stop with any of them or by ``and`` to stop when all do, such as
        ``"guarantee or answer"``. None stands for ``"price"`` if there is a price and no target, for
        ``"guarantee or price"`` if there are both, for ``"guarantee"`` if there is a target or another setting of it, and
        else for ``"coverage"``.
    **settings
        Of the rules, see :data:`RULES`; None stands for one that was not given. Default: a target of 0.95 with confidence
        0.9, a price per completion, and for ``"coverage"`` a price of 0.01. That rule and its price were chosen on tuning
        problems of the embedded models (``tests/benchmarks/optscale_replay.py``), where they give the accuracy of 32
        completions with 18 on average; and they need no number that depends on the verifier, as a target does.

    Raises
    ------
    ValueError
        If there is no such rule, a setting is missing or out of its range, or none of the rules takes it.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    if rule is not None and not isinstance(rule, str):
        if given:
            raise ValueError(f"expected a rule or the settings of one, got both: {', '.join(given)} beside {rule!r}")
        return rule
    if rule is None:
        of_target = any(name in given for name in ("target_score", "give_up_below", "peek"))
        wanted = [name for name, one in (("guarantee", of_target), ("price", "price" in given)) if one]
        rule = " or ".join(wanted or ["coverage"])
    word = " and " if " and " in rule else " or "
    names = [name.strip() for name in rule.split(word)]
    for name in names:
        if name not in RULES:
            raise ValueError(f"expected a stopping rule among {', '.join(RULES)}, joined by 'or' or by 'and', got {name!r}")
    for setting in given:
        if not any(setting in RULES[name] for name in names):
            raise ValueError(f"expected no {setting}, of which the rule {rule!r} makes no use, got {given[setting]!r}")
    if "price" in names and "price" not in given:
        raise ValueError("expected a price for the rule 'price', got none")
    made = [
        _make(name, {key: value for key, value in {**_DEFAULTS, **given}.items() if key in RULES[name]}) for name in names
    ]
    if len(made) == 1:
        return made[0]
    return AllOf(tuple(made)) if word == " and " else AnyOf(tuple(made))


def _make(name: str, settings: dict[str, Any]) -> StoppingRule:
    if name == "guarantee":
        return GuaranteeRule(**settings)
    if name == "price":
        return PriceRule(settings["price"], settings["price_per"])
    if name == "coverage":
        return CoverageRule(**{"price": _DEFAULT_COVERAGE_PRICE, **settings})
    if name == "answer":
        return AnswerRule(**settings)
    return PlugInRule(name.removeprefix("sequential_"), sequential=name.startswith("sequential_"), **settings)


def default_law(rule: StoppingRule) -> str:
    """Name the score model for a rule if none is given: the papers' own for theirs, and for what theirs is a part of.

    For all others the logit-normal law: of the laws with two parameters, which a decision in milliseconds needs, it predicts
    real scores best (``tests/benchmarks/optscale_real_data.py``), and its prior suits verifiers of any level.
    """
    return "truncated-normal" if _has_plug_in(rule) else "logit-normal"


def _has_plug_in(rule: StoppingRule) -> bool:
    return isinstance(rule, PlugInRule) or any(map(_has_plug_in, rule.rules if isinstance(rule, AllOf | AnyOf) else ()))


class ScoreLaws:
    """The law of scores of each problem: one for all, or with a prior that depends on the problem.

    Parameters
    ----------
    score_model : str or score model
        Or its name: one of ``ppl_scaling.models.scores.SCORE_MODELS``, or ``"dirichlet"``.
    prior : Prior or callable of str to Prior, optional
        In place of the model's own; a callable is asked with the problem.

    Raises
    ------
    ValueError, TypeError
        If there is no such model, or the prior is not one of its parameters.
    """

    def __init__(self, score_model: Any, prior: Prior | Callable[[str], Prior] | None = None) -> None:
        if isinstance(score_model, str):
            known = {**SCORE_MODELS, DirichletScores.name: DirichletScores}
            if score_model not in known:
                raise ValueError(f"expected a score model among {', '.join(known)}, got {score_model!r}")
            score_model = known[score_model]()
        if not isinstance(score_model, ScoreModel | DirichletScores):
            raise TypeError(f"expected a score model or the name of one, got {type(score_model).__name__}")
        if isinstance(score_model, DirichletScores) and score_model.concentration == 0:
            raise ValueError("expected a concentration above 0: the Bayesian bootstrap says nothing before the first score")
        if prior is not None and isinstance(score_model, DirichletScores):
            raise ValueError(f"expected a score model with parameters for a prior, got {score_model!r}")
        self.score_model = score_model if prior is None or callable(prior) else _with_prior(score_model, prior)
        self.prior_function = prior if callable(prior) else None

    def of(self, problem: str) -> Any:
        """Return the law of a problem's scores, with its prior."""
        if self.prior_function is None:
            return self.score_model
        return _with_prior(self.score_model, self.prior_function(problem))

    @property
    def configuration(self) -> dict[str, Any]:
        """For the record of a result."""
        function = self.prior_function
        named = None if function is None else getattr(function, "__name__", type(function).__name__)
        return {"score_model": repr(self.score_model), "prior_function": named}


class Stopping:
    """What methods that stop by a rule have in common: the rule, the law of scores, and how it is asked.

    Parameters
    ----------
    rule, target_score, confidence, price, price_per, give_up_below, peek
        See :func:`stopping_rule`.
    score_model, prior
        See :class:`ScoreLaws`; default: that of the rule.
    round_size : int or None
        Most that are drawn between two decisions; None for as many as the rule asks for.

    Raises
    ------
    ValueError, TypeError
        If a setting is out of its range.
    """

    def __init__(
        self,
        rule: str | StoppingRule | None = None,
        *,
        target_score: float | None = None,
        confidence: float | None = None,
        price: float | None = None,
        price_per: str | None = None,
        give_up_below: float | None = None,
        peek: int | None = None,
        score_model: Any = None,
        prior: Prior | Callable[[str], Prior] | None = None,
        round_size: int | None = None,
    ) -> None:
        if round_size is not None:
            check_counts(round_size=round_size)
        self.rule = stopping_rule(
            rule,
            target_score=target_score,
            confidence=confidence,
            price=price,
            price_per=price_per,
            give_up_below=give_up_below,
            peek=peek,
        )
        self.laws = ScoreLaws(score_model or default_law(self.rule), prior)
        self.round_size = round_size

    @property
    def _stopping(self) -> dict[str, Any]:
        """Settings for the record of a result."""
        return {"rule": repr(self.rule), **self.laws.configuration, "round_size": self.round_size}

    def _ask(self, evidence: Evidence) -> tuple[Decision, int]:
        """Return what the rule says, and how many to draw next: none if it stops."""
        decision = ask(self.rule, evidence)
        return decision, 0 if decision.stop else next_round(decision, evidence, self.round_size)


def _with_prior(score_model: Any, prior: Prior) -> ScoreModel:
    changed = copy.copy(score_model)
    ScoreModel.__init__(changed, prior)
    return changed
