"""Checks of one run of a particle filter: whether its particles are many and different enough to be believed."""

from __future__ import annotations

import math

import numpy as np

from ppl_scaling.diagnostics.checks import HealthCheck, judge, smallest, unrounded
from ppl_scaling.diagnostics.evidence_error import chan_lai_standard_error
from ppl_scaling.diagnostics.kinds import has_posterior
from ppl_scaling.diagnostics.particle_trace import ParticleTrace
from ppl_scaling.inference import AnnealedResult, ParticleFilterResult, ResampleMoveResult, Result

__all__ = ["answer_checks", "evidence_check", "evidence_verdict", "particle_checks"]

_ENOUGH, _ALONE = 10.0, 2.0
_ERROR = "a probability estimated from n effective particles is off by up to 0.5 / sqrt(n): 0.16 at 10, 0.35 at 2"
_SHARPER = "raise num_particles, lower beta, or calibrate the PRM"


def particle_checks(result: ParticleFilterResult, trace: ParticleTrace) -> list[HealthCheck]:
    """Check weights and ancestors; :func:`answer_checks` and :func:`evidence_check` are for the estimates."""
    size, steps = trace.num_particles, trace.num_steps
    word = "rung" if isinstance(result, AnnealedResult) else "step"
    few = max(_ALONE, min(_ENOUGH, size / 4))
    quarter = "" if few == _ENOUGH else "; below a quarter, three of four particles were written for nothing"
    advice = "raise ess_target, for more rungs, or num_particles" if word == "rung" else _SHARPER
    low, even, high = int(trace.ess.argmin()), int(np.argmin(trace.weight_entropy)), int(trace.max_weight.argmax())
    lowest, entropy, highest = float(trace.ess[low]), float(trace.weight_entropy[even]), float(trace.max_weight[high])
    found = [
        judge(
            "ess",
            lowest,
            warn=few,
            bad=_ALONE,
            worse="below",
            reason=_ERROR + quarter,
            found=f"ESS {'fell to' if lowest < few else 'was at least'} {lowest:.1f} of {size} at {word} {low + 1}",
            advice=advice,
        ),
        judge(
            "weight_entropy",
            entropy,
            warn=0.5,
            bad=0.25,
            worse="below",
            reason="share of the largest possible, log N: at 0.5 the weights are as uneven as if sqrt(N) particles shared "
            "all of it, at 0.25 the fourth root of N",
            found="one particle has no weights to be even"
            if math.isnan(entropy)
            else f"weights at {word} {even + 1} are as even as those of {size**entropy:.1f} equal particles",
            advice=advice,
        ),
        judge(
            "max_weight",
            highest,
            warn=0.5,
            bad=0.9,
            worse="above",
            reason="above one half a single particle outvotes all others together; at 0.9 the others are decoration",
            found=f"the weightiest particle had {highest:.0%} of the weight at {word} {high + 1}",
            advice=advice,
        ),
        _pareto_check(trace),
        _ancestor_check(trace, few, word),
        judge(
            "unique_roots",
            float(trace.unique_roots[-1]),
            warn=5,
            bad=_ALONE,
            worse="below",
            reason="error bars come from the families of first particles: of one family none can be had, and from 5 "
            "they are uncertain by a third, 1 / sqrt(2 (5 - 1))",
            found=f"the final particles descend from {trace.unique_roots[-1]} of {size} first ones",
            advice="raise num_particles, lower ess_threshold, or run replicates (Islands) for the error bars",
        ),
    ]
    if isinstance(result, (AnnealedResult, ResampleMoveResult)):  # moves make pasts different again
        found.append(_acceptance_check(result, word))
    else:
        found.append(
            judge(
                "path_degeneracy",
                trace.shared_steps / steps,
                warn=0.25,
                bad=0.5,
                worse="above",
                reason="over the steps that all final particles inherit from one particle the posterior is a single draw; "
                "mistakes there cannot be outvoted",
                found=f"all final particles share the same first {trace.shared_steps} of {steps} steps"
                if trace.shared_steps
                else f"the final particles share none of {steps} steps",
                advice="raise num_particles, lower ess_threshold, or use moves (ResampleMoveFilter, ParticleGibbs)",
            )
        )
    return found


def evidence_check(result: ParticleFilterResult) -> HealthCheck:
    """Check the standard error of the log-evidence that one run gives itself."""
    error, second = result.log_evidence_standard_error, chan_lai_standard_error(result)
    text = f"log-evidence {result.log_evidence:.2f}"
    second_taken = error == second and bool(result.resampled.any())
    error, second = unrounded(error), unrounded(second)
    if second_taken:  # the result took it where the other estimate was negative
        text += f" ± {second:.2g} by Chan and Lai; Lee and Whiteley's estimate is negative"
    elif math.isnan(error):
        text += " of unknown error, since all particles descend from one"
    else:
        text += f" ± {error:.2g} by Lee and Whiteley" + ("" if math.isnan(second) else f", ± {second:.2g} by Chan and Lai")
    return evidence_verdict(error, text)


def evidence_verdict(error: float, found: str) -> HealthCheck:
    """Judge the standard error of a log-evidence, however it was got."""
    return judge(
        "evidence_error",
        error,
        warn=0.5,
        bad=1.2,
        worse="above",
        reason="of the log-evidence; up to 0.5 its bias, half the variance, stays below 0.13, and beyond about 1.2 weights "
        "by evidence of replicates, and particle MCMC, waste most runs (Doucet et al. 2015)",
        found=found,
        advice="raise num_particles, or pool replicates (Islands)",
    )


def answer_checks(result: Result) -> list[HealthCheck]:
    """Check whether there are answers, and whether the order of the first two is known."""
    return [_margin_check(result), _no_answer_check(result)]


def _pareto_check(trace: ParticleTrace) -> HealthCheck:
    size, value = trace.num_particles, float(trace.pareto_k[-1])
    limit = min(0.7, 1 - 1 / math.log10(size)) if size > 10 else 0.0
    if math.isnan(value):
        text = f"the largest of {size} final weights do not tell how heavy their tail is"
    elif value == -math.inf:
        text = "all final weights are the same"
    else:
        text = f"Pareto k of the final weights is {value:.2f}"
    if 0.7 < value < 1 and (needed := 10 ** (1 / (1 - value))) < 1e9:
        text += f", as if {needed:.0f} particles were needed"
    return judge(
        "pareto_k",
        value,
        warn=limit,
        bad=0.7,
        worse="above",
        reason="above 1 - 1 / log10(N) averages over N weights are off by more than their error bars say, and above 0.7 "
        "more particles hardly help (Vehtari et al. 2024)",
        found=text,
        advice="read the ESS and the largest weight instead; this needs 21 particles, and five different large weights"
        if math.isnan(value)
        else "use a proposal nearer to the posterior, lower beta, or calibrate the PRM",
    )


def _ancestor_check(trace: ParticleTrace, few: float, word: str) -> HealthCheck:
    steps = np.flatnonzero(trace.resampled)
    if not len(steps):
        value, text = float(trace.num_particles), "no particles were resampled"
    else:
        step = int(steps[trace.unique_ancestors[steps].argmin()])
        value = float(trace.unique_ancestors[step])
        text = f"before {word} {step + 1} resampling kept {value:.0f} of {trace.num_particles} particles"
    return judge(
        "unique_ancestors",
        value,
        warn=min(few, trace.num_particles),
        bad=_ALONE,
        worse="below",
        reason="what is not continued is lost; " + _ERROR,
        found=text,
        advice=f"{_SHARPER}, or use an EntropicParticleFilter, which resamples more gently",
    )


def _acceptance_check(result: AnnealedResult | ResampleMoveResult, word: str) -> HealthCheck:
    place, value = smallest(result.acceptance)
    known = not math.isnan(value)
    return judge(
        "move_acceptance",
        value,
        warn=0.1,
        bad=0.01,
        worse="below",
        reason="moves make copies different again: at 0.1 nine of ten stay copies after one move",
        found=f"{value:.0%} of the moves were accepted at {word} {place + 1}" if known else "no moves were made",
        advice="raise num_moves or num_particles, or lower beta" if known else "set num_moves to at least 1",
    )


def _margin_check(result: Result) -> HealthCheck:
    answers, more = result.answers, "raise num_particles, or pool replicates (Islands)"
    if not has_posterior(result):
        unknown = bool(answers) and math.isnan(answers[0].standard_error)
        more = "use a method with a posterior, such as ParticleFilter" if unknown else "draw more completions"
    if len(answers) > 1:
        ahead = answers[0].probability - answers[1].probability
        # Negative correlation makes the errors of two shares add up; of two answers alone they do so exactly.
        error = answers[0].standard_error + answers[1].standard_error
        text = f"{answers[0].answer!r} leads {answers[1].answer!r} by {ahead:.2f}"
    else:
        ahead, error = (answers[0].probability, answers[0].standard_error) if answers else (0.0, math.inf)
        text = f"{answers[0].answer!r} is the only answer" if answers else "no particle has an answer"
    ahead, error = unrounded(ahead), unrounded(error)
    text += "" if not answers else " of unknown error" if math.isnan(error) else f" ± {error:.2g}"
    return judge(
        "answer_margin",
        ahead / error if error else math.inf if ahead else 0.0,
        warn=2.0,
        bad=None if answers else 0.1,
        worse="below",
        reason="lead of the first answer in standard errors: at 2 another run would put another answer first in one of "
        "forty cases",
        found=text,
        advice=more if answers else "raise max_steps or max_tokens, and check the format of the answers",
    )


def _no_answer_check(result: Result) -> HealthCheck:
    weights = sum(one.weight for one in result.trajectories if one.truncated)
    return judge(
        "no_answer",
        result.no_answer_probability,
        warn=0.1,
        bad=0.5,
        worse="above",
        reason="weight of trajectories without an answer; above one half the posterior over answers is the minority's",
        found=f"{result.no_answer_probability:.0%} of the weight has no answer, {weights:.0%} was truncated",
        advice="raise max_steps or max_tokens, and check that the model ends its answers in the expected format",
    )
