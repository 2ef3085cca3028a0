"""Checks between runs of one problem: replicates of a filter, and iterations and replicates of a Markov chain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppl_scaling.diagnostics.checks import HealthCheck, gravest, judge, smallest
from ppl_scaling.diagnostics.evidence_error import evidence_spread
from ppl_scaling.diagnostics.particle_checks import evidence_verdict, particle_checks
from ppl_scaling.diagnostics.particle_trace import ParticleTrace, particle_trace
from ppl_scaling.draw_statistics import ess, rhat
from ppl_scaling.inference import ParallelTemperingResult, ParticleFilterResult, ParticleGibbsResult

__all__ = ["chain_checks", "replicate_checks"]

_MORE = "raise num_particles, so that each replicate is better"


def replicate_checks(replicates: Sequence[Any]) -> tuple[list[HealthCheck], tuple[ParticleTrace, ...]]:
    """Check replicates, which may be errors: between them, and the gravest of each check within them."""
    spread = evidence_spread(replicates)
    failed = spread.num_failed / spread.num_replicates
    evidence = np.array([getattr(one, "log_evidence", -math.inf) for one in replicates])
    found = [
        judge(
            "failed_replicates",
            failed,
            warn=0.0,
            bad=0.5,
            worse="above",
            reason="a replicate whose weights were all zero counts with evidence zero: right, but of large variance",
            found=f"{spread.num_failed} of {spread.num_replicates} replicates failed",
            advice="raise num_particles, or use a likelihood without zeros",
        ),
        evidence_verdict(
            spread.standard_error,
            f"log-evidence {spread.log_evidence:.2f}"
            + (
                " of unknown error"
                if math.isnan(spread.standard_error)
                else f" ± {spread.standard_error:.2g} between replicates"
            ),
        ),
    ]
    if failed < 1:
        weights = np.exp(evidence - np.logaddexp.reduce(evidence))
        effective = float(1 / (weights @ weights))
        found.append(
            judge(
                "effective_replicates",
                effective,
                warn=max(len(replicates) / 2, 1.1),
                bad=1.1 if len(replicates) > 2 else None,
                worse="below",
                reason="replicates are pooled in proportion to their evidence: below a half most were run for nothing, near "
                "1 a single one decides, and its error bars with it",
                found=f"the pooled posterior rests on {effective:.1f} of {len(replicates)} replicates",
                advice=_MORE,
            )
        )
        known = not math.isnan(spread.ratio)
        found.append(
            judge(
                "evidence_agreement",
                spread.ratio,
                warn=spread.limit_99 if known else 1.0,
                bad=spread.limit_9999 if known else None,
                worse="above",
                reason="spread of the replicates' log-evidences over the error bars that each run gives itself; exact error "
                "bars exceed the first limit in one of 100 cases, the second in one of 10,000",
                found=f"the log-evidences of replicates spread {spread.ratio:.2f} times as much as their error bars say"
                if known
                else "the replicates do not tell whether their error bars are right",
                advice=f"trust the spread, not the error bars of one run, and {_MORE[: _MORE.index(',')]}"
                if known
                else "at least two replicates with error bars of their own are needed",
            )
        )
    runs = [(f"replicate {place + 1}", one) for place, one in enumerate(replicates) if isinstance(one, ParticleFilterResult)]
    traces = tuple(particle_trace(one) for _, one in runs)
    inner: dict[str, list[tuple[str, HealthCheck]]] = {}
    for (name, one), trace in zip(runs, traces, strict=True):
        for check in particle_checks(one, trace):
            inner.setdefault(check.name, []).append((name, check))
    return found + [gravest(entries) for entries in inner.values()], traces


def chain_checks(chains: Sequence[ParticleGibbsResult]) -> list[HealthCheck]:
    """Check Markov chains of one problem; answers are compared between chains as texts."""
    leading = next((chain.answers[0].answer for chain in chains if chain.answers), None)
    found = []
    if leading is not None:
        found += _mixing_checks(leading, [_weights_of(chain, leading) for chain in chains])
    found.append(gravest([(f"chain {place + 1}", _update_check(one)) for place, one in enumerate(chains)]))
    ladders = [(f"chain {place + 1}", one) for place, one in enumerate(chains) if isinstance(one, ParallelTemperingResult)]
    if ladders:
        found.append(gravest([(name, _swap_check(one)) for name, one in ladders]))
        found.append(gravest([(name, _trip_check(one)) for name, one in ladders]))
    return found


def _weights_of(chain: ParticleGibbsResult, answer: str) -> NDArray[np.float64]:
    """Weight of an answer in each iteration after the burn-in."""
    for column, one in enumerate(chain.answers):
        if one.answer == answer:
            return chain.answer_weights[chain.burn_in :, column]
    return np.zeros(chain.num_iterations - chain.burn_in)


def _mixing_checks(answer: str, series: Sequence[NDArray[np.float64]]) -> list[HealthCheck]:
    length = min(map(len, series))
    draws = np.stack([one[:length] for one in series])
    number = ess(draws)
    of = f"{len(series)} chains of {length}" if len(series) > 1 else f"{length}"
    found = [
        judge(
            "chain_ess",
            number,
            warn=50.0,
            bad=10.0,
            worse="below",
            reason="a probability estimated from n independent draws is off by up to 0.5 / sqrt(n): 0.07 at 50, 0.16 at 10",
            found=f"the weight of {answer!r} in {of} iterations tells nothing of how they depend on each other"
            if math.isnan(number)
            else f"{of} iterations are worth {number:.1f} independent ones for the weight of {answer!r}",
            advice="raise num_iterations, or num_particles so that the chain moves more",
        )
    ]
    if len(series) > 1:
        agreement = rhat(draws)
        found.append(
            judge(
                "rhat",
                agreement,
                warn=1.01,
                bad=1.1,
                worse="above",
                reason="beyond 1.01 chains that began apart still differ (Vehtari et al. 2021); 1.1 is the older rule",
                found=f"R-hat of the weight of {answer!r} is {agreement:.3f}"
                if not math.isnan(agreement)
                else f"the weight of {answer!r} does not tell whether the chains agree",
                advice="raise num_iterations and burn_in, or use ParallelTempering",
            )
        )
    return found


def _update_check(chain: ParticleGibbsResult) -> HealthCheck:
    shared = min(len(one.token_blocks) for one in chain.draws)  # later steps are rare, and change as rarely
    place, value = smallest(chain.update_rate[:shared])
    known = not math.isnan(value)
    return judge(
        "update_rate",
        value,
        warn=0.1,
        bad=0.01,
        worse="below",
        reason="at 0.1 a step is written anew once in ten iterations; where all lineages meet in the reference it never is, "
        "unless the posterior is certain of that step",
        found=f"step {place + 1} changed in {value:.0%} of the iterations" if known else "no step was seen to change or not",
        advice="raise num_particles, or use ancestor sampling" if known else "raise num_iterations to at least 2",
    )


def _swap_check(chain: ParallelTemperingResult) -> HealthCheck:
    place, value = smallest(chain.swap_probabilities)
    known = not math.isnan(value)
    return judge(
        "swap_rate",
        value,
        warn=0.1,
        bad=0.01,
        worse="below",
        reason="levels that hardly exchange are chains of their own; about 0.23 is where walkers travel fastest on long "
        "ladders (Atchade, Roberts and Rosenthal 2011)",
        found=f"levels {place + 1} and {place + 2} exchange with probability {value:.2f}"
        if known
        else "no exchange was proposed",
        advice="put another power between these levels" if known else "raise num_iterations",
    )


def _trip_check(chain: ParallelTemperingResult) -> HealthCheck:
    return judge(
        "round_trips",
        float(chain.round_trips),
        warn=1.0,
        worse="below",
        reason="until a walker has been to the last level and back, the first level has learned nothing from it",
        found=f"walkers made {chain.round_trips} trips from the first level to the last and back",
        advice="raise num_iterations, or use fewer levels",
    )
