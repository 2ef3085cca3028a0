"""How well scores agree with labels: calibration error, Brier score, log loss, and AUC, which no increasing map changes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, log_expit
from torch import Tensor

from ppl_scaling.arguments import check_integer
from ppl_scaling.models.labels import check_labels

__all__ = ["ScoreMetrics", "score_metrics"]


@dataclass(frozen=True, eq=False)
class ScoreMetrics:
    r"""What scores are worth as probabilities.

    Attributes
    ----------
    calibration_error : float
        Expected calibration error: mean over labels of the distance between mean score and rate of right labels in the bin
        of the score. It depends on the bins, and is above 0 for perfect scores and few labels.
    brier_score : float
        Mean of :math:`(s - y)^2` over single labels; with soft labels the spread of single labels about them is part of it.
    log_loss : float
        Mean of :math:`-\log` of the probability of a label, in nats.
    auc : float
        Probability that a right prefix scores above a wrong one, ties counted half; NaN if all are right or all are wrong.
    num_labels : float
        Sum of the counts.
    bin_edges : float array, shape (B + 1,)
    bin_counts, bin_scores, bin_rates : float array, shape (B,)
        The reliability curve: labels in each bin, their mean score and the share of right ones; NaN in an empty bin.
    """

    calibration_error: float
    brier_score: float
    log_loss: float
    auc: float
    num_labels: float
    bin_edges: NDArray[np.float64]
    bin_counts: NDArray[np.float64]
    bin_scores: NDArray[np.float64]
    bin_rates: NDArray[np.float64]


def score_metrics(
    score_logits: ArrayLike | Tensor,
    labels: ArrayLike | Tensor,
    *,
    counts: ArrayLike | Tensor | None = None,
    num_bins: int = 10,
) -> ScoreMetrics:
    """Compare scores with labels.

    Parameters
    ----------
    score_logits : array, shape (n,)
        Finite.
    labels : array, shape (n,)
        From 0 to 1: right or wrong, the share of several labels, or a probability.
    counts : array, shape (n,), or float, optional
        How many labels each stands for; default 1.
    num_bins : int
        Bins of equal width.

    Returns
    -------
    ScoreMetrics

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of its range.

    Examples
    --------
    >>> metrics = score_metrics([2.0, 1.0, -1.0], [1, 0, 0])
    >>> metrics.auc
    1.0
    """
    num_bins = check_integer("num_bins", num_bins)
    checked = check_labels(score_logits, labels, counts)
    logits, shares, weights = (np.asarray(one) for one in checked)
    total = weights.sum()
    scores = expit(logits)
    right, wrong = weights * shares, weights * (1 - shares)
    edges = np.linspace(0.0, 1.0, num_bins + 1)
    bins = np.minimum((scores * num_bins).astype(int), num_bins - 1)
    inside, hits, sums = (np.bincount(bins, one, num_bins) for one in (weights, right, weights * scores))
    with np.errstate(invalid="ignore"):
        means, rates = sums / inside, hits / inside
    return ScoreMetrics(
        calibration_error=float(np.abs(sums - hits).sum() / total),
        brier_score=float((right * expit(-logits) ** 2 + wrong * scores**2).sum() / total),
        log_loss=float(-(right * log_expit(logits) + wrong * log_expit(-logits)).sum() / total),
        auc=_auc(logits, right, wrong),
        num_labels=float(total),
        bin_edges=edges,
        bin_counts=inside.astype(np.float64),
        bin_scores=means,
        bin_rates=rates,
    )


def _auc(logits: NDArray[np.float64], right: NDArray[np.float64], wrong: NDArray[np.float64]) -> float:
    if not (right.sum() > 0 and wrong.sum() > 0):
        return math.nan
    _, place = np.unique(logits, return_inverse=True)
    rights, wrongs = np.bincount(place, right), np.bincount(place, wrong)
    below = np.cumsum(wrongs) - 0.5 * wrongs
    return float((rights * below).sum() / (right.sum() * wrong.sum()))
