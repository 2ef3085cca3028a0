"""Diagnose a result: every check that its kind has, in one report.

What is looked at depends on the kind of result.

=========================== ===================================================================================
a particle filter           weights and ancestors at their worst step, error of the evidence, answers
annealed SMC                the same by rung, and how many moves were accepted
islands, several filters    spread of the evidence between replicates, and whether it is what single runs claim; of the
                            checks within replicates the gravest
Markov chains               effective iterations, R-hat between chains, how often steps change, exchange between levels
OptScale                    answers; whether the target was within reach, whether the law of scores fits them, precision
baselines                   answers
records of an evaluation    whether answers of posterior probability p are right in a share p of the problems
=========================== ===================================================================================

Thresholds are rules of thumb, each with its reason. A report without a warning says that the posterior was computed well, as
far as the result can tell. It does not say that the answer is right: whether the posterior is, over many problems, is what
the report of an evaluation is about. And it is no proof: a filter that has lost all particles of one kind of answer has no
trace of them left. Replicates find that out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ppl_scaling.diagnostics.checks import HealthReport
from ppl_scaling.diagnostics.evaluation_checks import evaluation_checks
from ppl_scaling.diagnostics.optscale_checks import optscale_checks
from ppl_scaling.diagnostics.particle_checks import answer_checks, evidence_check, evidence_verdict, particle_checks
from ppl_scaling.diagnostics.particle_trace import particle_trace
from ppl_scaling.diagnostics.replicate_checks import chain_checks, replicate_checks
from ppl_scaling.inference import EvaluationRecord, IslandsResult, ParticleFilterResult, ParticleGibbsResult, Result
from ppl_scaling.inference.optscale.method import OptScaleResult
from ppl_scaling.inference.optscale.replicates import OptScaleReplicatesResult
from ppl_scaling.interfaces import AnswerFormat

__all__ = ["diagnose"]

_LONGEST = 40


def diagnose(
    result: Result | Sequence[Result] | Sequence[EvaluationRecord], *, answer_format: AnswerFormat | None = None
) -> HealthReport:
    """Check the health of a result.

    Parameters
    ----------
    result : Result, or sequence of Result, or sequence of EvaluationRecord
        A sequence of results are replicates of one problem: particle filters, or Markov chains.
    answer_format : AnswerFormat, optional
        Says which recorded answers mean the same; used for records only. Default: those that are the same text.

    Returns
    -------
    HealthReport

    Raises
    ------
    ValueError
        If there are no results, or they are of several problems.
    TypeError
        If it is something else, or the results are not of one kind that has replicates.

    Examples
    --------
    >>> from ppl_scaling.backends.finite import FiniteLanguageModel, FunctionRewardModel
    >>> from ppl_scaling.inference import ParticleFilter
    >>> from ppl_scaling.models import LanguageModelStateSpace
    >>> lm = FiniteLanguageModel({"": {"a": 0.6, "b": 0.3, "$": 0.1}})
    >>> prm = FunctionRewardModel(lambda prompt, text: 0.1 if text.startswith("a") else 0.9)
    >>> result = ParticleFilter(LanguageModelStateSpace(lm, prm, max_steps=3), num_particles=4).run("?", seed=1)
    >>> [one.name for one in diagnose(result).checks][:3]
    ['ess', 'weight_entropy', 'max_weight']
    """
    if isinstance(result, Result):
        return _of_one(result)
    try:
        found: list[Any] = list(result)
    except TypeError:
        raise TypeError(
            f"expected a Result, or a sequence of results or of evaluation records, got {type(result).__name__}"
        ) from None
    if not found:
        raise ValueError("expected at least one result, got none")
    if all(isinstance(one, EvaluationRecord) for one in found):
        problems = len({one.index for one in found})
        return HealthReport(f"evaluation of {problems} problems", tuple(evaluation_checks(found, answer_format)))
    if not all(isinstance(one, Result) for one in found):
        raise TypeError("expected results alone or evaluation records alone, got a mixture or something else")
    return _of_one(found[0]) if len(found) == 1 else _of_many(found)


def _of_one(result: Result) -> HealthReport:
    report = _of_method(result)
    if isinstance(result, OptScaleResult | OptScaleReplicatesResult):
        report = replace(report, checks=(*optscale_checks(result), *report.checks))
    return report


def _of_method(result: Result) -> HealthReport:
    subject = f"{result.method} on {_quoted(result.problem)}"
    if isinstance(result, IslandsResult) and len(result.replicates) > 1:
        checks, traces = replicate_checks(result.replicates)
        return HealthReport(subject, (*answer_checks(result), *checks), traces)
    if isinstance(result, IslandsResult):  # with exchange: one run, whose error was estimated from the islands
        whole = result.replicates[0]
        trace, error = particle_trace(whole), result.log_evidence_standard_error
        found = f"log-evidence {result.log_evidence:.2f} ± {error:.2g} from {result.num_replicates} islands"
        inner = [*particle_checks(whole, trace), evidence_verdict(error, found)]
        return HealthReport(subject, (*inner, *answer_checks(result)), (trace,))
    if isinstance(result, ParticleFilterResult):
        trace = particle_trace(result)
        checks = [*particle_checks(result, trace), evidence_check(result), *answer_checks(result)]
        return HealthReport(subject, tuple(checks), (trace,))
    if isinstance(result, ParticleGibbsResult):
        return HealthReport(subject, (*answer_checks(result), *chain_checks([result])))
    return HealthReport(subject, tuple(answer_checks(result)))


def _of_many(results: Sequence[Any]) -> HealthReport:
    if len(problems := {one.problem for one in results}) > 1:
        raise ValueError(f"expected results of one problem, got {len(problems)} problems; diagnose each on its own")
    subject = f"{len(results)} replicates of {results[0].method} on {_quoted(results[0].problem)}"
    if all(isinstance(one, ParticleFilterResult) for one in results):
        checks, traces = replicate_checks(results)
        return HealthReport(subject, tuple(checks), traces)
    if all(isinstance(one, ParticleGibbsResult) for one in results):
        return HealthReport(subject, tuple(chain_checks(results)))
    kinds = ", ".join(sorted({type(one).__name__ for one in results}))
    raise TypeError(f"expected replicates that are all particle filters or all Markov chains, got {kinds}")


def _quoted(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "...")
