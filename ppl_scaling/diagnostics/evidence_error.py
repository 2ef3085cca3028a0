"""How well the evidence is known: two estimates from the genealogy of one run, and one from replicates.

One run has the estimates of Lee and Whiteley and of Chan and Lai (:class:`~ppl_scaling.inference.genealogy.Genealogy`).
Both are consistent for multinomial resampling. They differ in what few roots do to them: the first may become negative and
is NaN at one root; the second is never negative, leaves out the luck of resampling within families, and is too small where
few roots are left. A result has the first, and the second where that is negative.

Replicates need no theory: the spread of their log-evidences is what it is. The ratio of that spread to the error bars of the
single runs tells whether these can be trusted.

References
----------
Chan and Lai (2013), A general theory of particle filters in hidden Markov models and some applications, Annals of Statistics
41, arXiv 1312.5114; Lee and Whiteley (2018), Biometrika 105, arXiv 1509.00394.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import chi2

from ppl_scaling.diagnostics.checks import unrounded
from ppl_scaling.inference import Genealogy, ParticleFilter, ParticleFilterResult, ResampleMoveFilter
from ppl_scaling.inference.pooling import jackknife

__all__ = ["EvidenceSpread", "chan_lai_standard_error", "evidence_spread"]

# Other methods draw ancestors with other probabilities than the weights, and do not record these.
_METHODS = (ParticleFilter.method, ResampleMoveFilter.method)


@dataclass(frozen=True)
class EvidenceSpread:
    """What replicates say about the evidence.

    Attributes
    ----------
    num_replicates, num_failed : int
        All of them, and those whose weights were all zero: their evidence estimate is 0.
    log_evidence : float
        Logarithm of the mean estimate.
    standard_error : float
        Of it, by the jackknife over replicates; NaN for fewer than two.
    standard_deviation : float
        Of the log-evidence of one run; NaN for fewer than two that have not failed.
    ratio : float
        That, divided by the root mean square of the error bars that the runs gave themselves: near 1 if they are right. NaN
        where one of the two is unknown.
    limit_99, limit_9999 : float
        What ``ratio`` exceeds in one of a hundred, and of ten thousand, cases if the error bars are exact and the
        log-evidences are normal.
    """

    num_replicates: int
    num_failed: int
    log_evidence: float
    standard_error: float
    standard_deviation: float
    ratio: float
    limit_99: float
    limit_9999: float


def chan_lai_standard_error(result: ParticleFilterResult) -> float:
    """Estimate the standard error of the evidence, relative to itself, by Chan and Lai; see the module.

    NaN for one particle, and for methods that draw ancestors by other probabilities than the weights of the step before.
    """
    if result.method not in _METHODS:
        return math.nan
    genealogy = Genealogy(result.ancestors, result.resampled, result.num_particles)
    return genealogy.chan_lai_standard_error(result.log_weights_by_step)


def evidence_spread(replicates: Sequence[Any]) -> EvidenceSpread:
    """Compare the evidence of replicates of one problem.

    Parameters
    ----------
    replicates : sequence of Result with ``log_evidence``, or errors of replicates that failed

    Raises
    ------
    ValueError
        If there are none.
    """
    if not replicates:
        raise ValueError("expected at least one replicate, got none")
    found = np.array([getattr(one, "log_evidence", -math.inf) for one in replicates], dtype=np.float64)
    number = len(found)
    finite = found[np.isfinite(found)]
    standard_error, _ = jackknife(found, np.zeros((number, 0))) if len(finite) else (math.nan, None)
    errors = np.array([getattr(one, "log_evidence_standard_error", math.nan) for one in replicates])[np.isfinite(found)]
    deviation, ratio = math.nan, math.nan
    limits = [math.nan, math.nan]
    if len(finite) > 1:
        deviation = unrounded(float(finite.std(ddof=1)))
        own = unrounded(math.sqrt(float(np.mean(errors**2))))
        if own > 0:
            ratio = deviation / own
            freedom = len(finite) - 1
            limits = [math.sqrt(chi2.ppf(share, freedom) / freedom) for share in (0.99, 0.9999)]
    return EvidenceSpread(
        num_replicates=number,
        num_failed=number - len(finite),
        log_evidence=float(np.logaddexp.reduce(found) - math.log(number)),
        standard_error=unrounded(standard_error),
        standard_deviation=deviation,
        ratio=ratio,
        limit_99=limits[0],
        limit_9999=limits[1],
    )
