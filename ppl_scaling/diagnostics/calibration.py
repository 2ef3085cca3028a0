r"""Are probabilities right? Reliability curve, calibration error, Brier score, log score, AUC; with intervals.

Events have a stated probability :math:`p_i` and an outcome :math:`y_i \in \{0, 1\}`: scores of prefixes with labels, or
posterior probabilities of answers with the truth. Bins hold equal numbers of events. The expected calibration error,

.. math::  \mathrm{ECE} = \sum_b \Bigl| \tfrac{1}{n} \sum_{i \in b} (p_i - y_i) \Bigr| ,

is above zero for right probabilities too, the more the fewer events there are. So it comes with what it would be if all
probabilities were right: outcomes are drawn from them, again and again (consistency resampling).

Events of one group, as the steps of one problem, are not independent. Intervals draw groups with replacement, all their
events together. The consistency resampling lets the outcomes of a group hang on one uniform number, the strongest positive
dependence there is, which errs on the safe side.

References
----------
Bröcker and Smith (2007), Increasing the reliability of reliability diagrams, Weather and Forecasting 22; Guo, Pleiss, Sun
and Weinberger (2017), arXiv 1706.04599 (ECE); Wilson (1927) for the intervals of the curve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlog1py, xlogy

__all__ = ["CalibrationReport", "Estimate", "measure_calibration"]

_CHUNK = 100  # resamples at a time, to bound the memory
_Z = 1.959964  # of 95 %


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval, NaN where there is none."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, eq=False)
class CalibrationReport:
    """How stated probabilities compare with what happened.

    Attributes
    ----------
    num_events, num_groups : int
    bin_count : int array, shape (B,)
    bin_probability, bin_frequency : float array, shape (B,)
        The reliability curve: mean stated probability, and share of events that happened.
    bin_low, bin_high : float array, shape (B,)
        95 % interval of the share, as if each group in the bin were one event.
    ece : Estimate
        The lower end of its interval says little, since the error is positive by itself.
    ece_expected, ece_limit_95, ece_limit_99 : float
        Mean and quantiles of the error if all probabilities were right.
    excess : Estimate
        Mean stated probability minus the share that happened: above 0 if too sure.
    brier : Estimate
        Mean squared difference; 0.25 for always saying 1/2.
    log_score : Estimate
        Mean of minus the logarithm of the probability of what happened; log 2 for always saying 1/2. Infinite if something
        happened that was called impossible.
    auc : Estimate
        Probability that a random event that happened has a higher probability than one that did not, ties counted half. It
        is about order alone. NaN if all events happened or none.
    """

    num_events: int
    num_groups: int
    bin_count: NDArray[np.int64]
    bin_probability: NDArray[np.float64]
    bin_frequency: NDArray[np.float64]
    bin_low: NDArray[np.float64]
    bin_high: NDArray[np.float64]
    ece: Estimate
    ece_expected: float
    ece_limit_95: float
    ece_limit_99: float
    excess: Estimate
    brier: Estimate
    log_score: Estimate
    auc: Estimate

    def __str__(self) -> str:
        return (
            f"{self.num_events} events in {self.num_groups} groups: ECE {self.ece} "
            f"({self.ece_expected:.3f} expected if right), excess {self.excess}, Brier {self.brier}, "
            f"log score {self.log_score}, AUC {self.auc}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what can be written as JSON; numbers that are not finite become None."""

        def plain(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: plain(one) for name, one in value.items()}
            if isinstance(value, np.ndarray):
                return [plain(one) for one in value.tolist()]
            return value if math.isfinite(value) else None

        return {name: plain(value) for name, value in asdict(self).items()}


def measure_calibration(
    probabilities: ArrayLike,
    outcomes: ArrayLike,
    *,
    groups: Sequence[Any] | NDArray[Any] | None = None,
    num_bins: int = 10,
    resolution: ArrayLike = 0.0,
    num_resamples: int = 1000,
    seed: int = 0,
) -> CalibrationReport:
    """Compare stated probabilities with what happened.

    Parameters
    ----------
    probabilities : float array, shape (n,)
        For a reward model: its scores of steps, prefixes or whole answers.
    outcomes : bool array, shape (n,)
        For a reward model: the labels of these.
    groups : sequence, shape (n,), optional
        What each event belongs to, such as its problem; default: all are independent.
    num_bins : int, default 10
        At most; equal probabilities are never in different bins.
    resolution : float or float array, shape (n,), default 0
        For the log score probabilities are moved so far into (0, 1): that of N particles can't tell 1 from 1 - 1 / (2 N).
    num_resamples : int, default 1000
        Of the bootstrap, and of the consistency resampling; rounded up to hundreds.
    seed : int
        Of the resampling; the same events have the same intervals.

    Raises
    ------
    ValueError
        If there are no events, the shapes disagree, a probability is not in [0, 1], an outcome neither 0 nor 1, a resolution
        not in [0, 1/2], or a number below 1.

    Examples
    --------
    >>> found = measure_calibration([0.9] * 10, [True] * 6 + [False] * 4)
    >>> round(found.ece.value, 6), round(found.excess.value, 6), found.ece.value > found.ece_limit_95
    (0.3, 0.3, True)
    """
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    if p.ndim != 1 or p.shape != y.shape or not len(p):
        raise ValueError(f"expected as many outcomes as probabilities, at least one, got shapes {y.shape} and {p.shape}")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"expected probabilities in [0, 1], got {p[~((p >= 0) & (p <= 1))][0]}")
    if not np.isin(y, (0.0, 1.0)).all():
        raise ValueError(f"expected outcomes of 0 or 1, got {y[~np.isin(y, (0.0, 1.0))][0]}")
    if num_bins < 1:
        raise ValueError(f"expected num_bins to be at least 1, got {num_bins}")
    if num_resamples < 1:
        raise ValueError(f"expected num_resamples to be at least 1, got {num_resamples}")
    if groups is None:
        group = np.arange(len(p))
    else:
        if len(groups) != len(p):
            raise ValueError(f"expected a group for each of {len(p)} events, got {len(groups)}")
        names = {name: place for place, name in enumerate(dict.fromkeys(groups))}
        group = np.array([names[name] for name in groups])
    bins = _bins(p, num_bins)
    rng = np.random.default_rng(seed)
    nudge = np.asarray(resolution, dtype=np.float64)
    if nudge.shape not in ((), p.shape) or not ((nudge >= 0) & (nudge <= 0.5)).all():
        raise ValueError(f"expected a resolution in [0, 1/2], or one for each of {len(p)} events, got {resolution!r}")
    clipped = np.clip(p, nudge, 1 - nudge)
    losses = -(xlogy(y, clipped) + xlog1py(1 - y, -clipped))
    events = _Events(p, y, group, bins, losses)
    num_chunks = math.ceil(num_resamples / _CHUNK)
    drawn = events.bootstrap(rng, num_chunks)
    under_truth = events.consistent(rng, num_chunks)
    low, high = events.wilson()
    counts = np.bincount(bins)
    return CalibrationReport(
        num_events=len(p),
        num_groups=events.num_groups,
        bin_count=counts,
        bin_probability=np.bincount(bins, weights=p) / counts,
        bin_frequency=np.bincount(bins, weights=y) / counts,
        bin_low=low,
        bin_high=high,
        ece=_estimate(float(np.abs(np.bincount(bins, weights=p - y)).sum() / len(p)), drawn["ece"]),
        ece_expected=float(under_truth.mean()),
        ece_limit_95=float(np.quantile(under_truth, 0.95)),
        ece_limit_99=float(np.quantile(under_truth, 0.99)),
        excess=_estimate(float((p - y).mean()), drawn["excess"]),
        brier=_estimate(float(((p - y) ** 2).mean()), drawn["brier"]),
        log_score=_estimate(float(losses.mean()), drawn["log_score"]),
        auc=_estimate(float(events.weighted_auc(np.ones((1, len(p))))[0]), drawn["auc"]),
    )


@dataclass(frozen=True, eq=False)
class _Events:
    p: NDArray[np.float64]
    y: NDArray[np.float64]
    group: NDArray[np.int64]
    bins: NDArray[np.int64]
    losses: NDArray[np.float64]

    @property
    def num_groups(self) -> int:
        return int(self.group.max()) + 1

    def bootstrap(self, rng: np.random.Generator, num_chunks: int) -> dict[str, NDArray[np.float64]]:
        """Draw groups with replacement; sums by group are all that is needed, but for the AUC."""
        number = self.num_groups
        finite = bool(np.isfinite(self.losses).all())
        columns = [np.ones_like(self.p), self.p - self.y, (self.p - self.y) ** 2, self.losses if finite else 0 * self.p]
        sums = np.stack([np.bincount(self.group, weights=one, minlength=number) for one in columns], axis=1)
        by_bin = np.zeros((number, self.bins.max() + 1))
        np.add.at(by_bin, (self.group, self.bins), self.p - self.y)
        found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in ("ece", "excess", "brier", "log_score", "auc")}
        for _ in range(num_chunks):
            draws = rng.multinomial(number, np.full(number, 1 / number), size=_CHUNK).astype(np.float64)
            totals = draws @ sums
            size = totals[:, 0]
            found["ece"].append(np.abs(draws @ by_bin).sum(1) / size)
            found["excess"].append(totals[:, 1] / size)
            found["brier"].append(totals[:, 2] / size)
            found["log_score"].append(totals[:, 3] / size if finite else np.full(_CHUNK, math.nan))
            found["auc"].append(self.weighted_auc(draws[:, self.group]))
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def consistent(self, rng: np.random.Generator, num_chunks: int) -> NDArray[np.float64]:
        """Calibration errors of outcomes drawn from the probabilities."""
        members = (self.bins[:, None] == np.arange(self.bins.max() + 1)).astype(np.float64)
        expected = self.p @ members
        errors = []
        for _ in range(num_chunks):
            outcomes = rng.random((_CHUNK, self.num_groups))[:, self.group] < self.p
            errors.append(np.abs(outcomes @ members - expected).sum(1) / len(self.p))
        return np.concatenate(errors)

    def wilson(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Interval of the share in each bin, with as many events as the bin has groups."""
        shares = np.bincount(self.bins, weights=self.y) / np.bincount(self.bins)
        pairs = np.unique(np.stack([self.bins, self.group]), axis=1)
        number = np.bincount(pairs[0])
        centre = (shares + _Z**2 / (2 * number)) / (1 + _Z**2 / number)
        half = _Z / (1 + _Z**2 / number) * np.sqrt(shares * (1 - shares) / number + (_Z / (2 * number)) ** 2)
        return centre - half, centre + half

    def weighted_auc(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """AUC of each row of weights, shape (R, n), NaN where all that weigh happened or none."""
        order = np.argsort(self.p, kind="stable")
        starts = np.flatnonzero(np.diff(self.p[order], prepend=-1.0))
        ordered, happened = weights[:, order], self.y[order]
        right = np.add.reduceat(ordered * happened, starts, axis=1)
        wrong = np.add.reduceat(ordered * (1 - happened), starts, axis=1)
        below = np.cumsum(wrong, axis=1) - wrong / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            return (right * below).sum(1) / (right.sum(1) * wrong.sum(1))


def _bins(p: NDArray[np.float64], num_bins: int) -> NDArray[np.int64]:
    """Bin of each probability: equal numbers of events, equal probabilities together, no bin empty."""
    edges = np.unique(np.quantile(p, np.linspace(0, 1, num_bins + 1)[1:-1]))
    return np.unique(np.searchsorted(edges, p, side="left"), return_inverse=True)[1].ravel()


def _estimate(value: float, drawn: NDArray[np.float64]) -> Estimate:
    """Percentile interval; resamples in which the number does not exist are left out."""
    known = drawn[np.isfinite(drawn)]
    if not (math.isfinite(value) and len(known)):
        return Estimate(value, math.nan, math.nan)
    low, high = np.quantile(known, [0.025, 0.975])
    return Estimate(value, float(low), float(high))
