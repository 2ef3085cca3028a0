r"""How many further completions reach a target, and how many are worth their price.

**Target.** Given the law :math:`F` of scores, :math:`m` further completions all miss the target :math:`x` with probability
:math:`F(x^-)^m`. The law is not known; what is known are the scores so far, and given these the probability of missing is
:math:`E[F(x^-)^m \mid data]`. So the number asked for is

.. math:: m^* = \min\{m : 1 - E[F(x^-)^m \mid data] \ge \alpha\}.

By Jensen's inequality :math:`E[F^m] \ge E[F]^m`, so this is never less than
:math:`\lceil \log(1 - \alpha) / \log E[F] \rceil`, what one would ask for who takes the mean law for the law. The difference
is the price of not knowing, and it is large when few scores have been seen. As :math:`m` grows, :math:`E[F^m]` falls to the
probability that :math:`F(x^-) = 1`, that the target is out of reach; above :math:`1 - \alpha` no number is enough.

**Price.** :math:`m` completions raise the best score by :math:`g(m)` on average, and :math:`g` is concave, because
:math:`F^m` is convex in :math:`m`. So some number is worth its price if and only if a single one is. With a known law this
is Pandora's box with one kind of box: Weitzman's reservation value is the best score at which :math:`g(1)` equals the price,
to stop there is optimal, and it makes no difference that one might look only one step ahead. With an unknown law a further
score also teaches something, which :math:`g` leaves out: stopping may then come a little early, never late.

References
----------
Weitzman (1979), Optimal search for the best alternative, Econometrica 47; Wang et al. (2026), arXiv 2506.22376 (the plug-in
version of the target).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ppl_scaling.inference.optscale.posterior import ScorePosterior, check_score

__all__ = [
    "PRACTICAL",
    "RequiredCompletions",
    "WorthwhileCompletions",
    "needed_if_known",
    "required_completions",
    "worthwhile_completions",
]

PRACTICAL = 10**6
"""A number of completions above it is out of reach in practice."""

_BEYOND = 1e150  # a number that is larger than this counts as infinite
_ROUNDING = 4 * np.finfo(float).eps
_CANDIDATES = 12


@dataclass(frozen=True, eq=False)
class RequiredCompletions:
    """The number of further completions that a target asks for.

    Attributes
    ----------
    target_score, confidence : float
        What was asked for.
    number : int or float
        The smallest number of further completions with which the target is reached with probability ``confidence``; 0 if it
        has been reached, infinite if no number is enough.
    probability : float
        With which that number reaches the target; if it is infinite, the most that any number can do.
    posterior : ScorePosterior
        What it was computed from.
    """

    target_score: float
    confidence: float
    number: int | float
    probability: float
    posterior: ScorePosterior = field(repr=False)

    @property
    def reachable(self) -> bool:
        """Whether some number is enough, however large; see :attr:`practical`."""
        return math.isfinite(self.number)

    @property
    def practical(self) -> bool:
        """Whether a million are enough.

        Numbers beyond that say that the target is unlikely to be reached at all: the posterior gives a probability of more
        than ``1 - confidence`` to laws under which the target is next to impossible, and how many completions would be
        needed there is decided by the tails of the prior. What matters then is :meth:`probability_after` the number allowed.
        """
        return self.number <= PRACTICAL

    def __str__(self) -> str:
        target, sure = f"the target {self.target_score:g}", f"with probability {self.confidence:g}"
        if self.number == 0:
            return f"{target} has been reached"
        if self.practical:
            return f"{self.number} more completions reach {target} {sure}"
        needed = f"{float(self.number):.2g} would be needed" if self.reachable else "no number is enough"
        chance = f"a million reach it with probability {self.probability_after(PRACTICAL):.2g}"
        return f"{target} is out of reach in practice: {needed} to reach it {sure}; {chance}"

    def quantiles(self, probabilities: ArrayLike) -> NDArray[np.float64]:
        """Quantiles of the posterior of the number that would be needed if the law were known.

        That number is :func:`needed_if_known`, and it rises with ``F``, so its quantiles are those of ``F``.
        """
        wanted = np.asarray(probabilities, dtype=np.float64)
        if not ((wanted >= 0) & (wanted <= 1)).all():
            raise ValueError(f"expected probabilities in [0, 1], got {wanted.tolist()}")
        if self.posterior.best >= self.target_score:
            return np.zeros(wanted.shape)
        return needed_if_known(self.posterior.log_cdf_quantile(self.target_score, wanted), self.confidence)

    @property
    def median(self) -> float:
        """Median of the number that would be needed if the law were known."""
        return float(self.quantiles(0.5))

    @property
    def mean(self) -> float:
        """Mean of that number: often huge, or infinite, where the median is small."""
        if self.posterior.best >= self.target_score:
            return 0.0
        return self.posterior.expectation(self.target_score, lambda log_cdf: needed_if_known(log_cdf, self.confidence))

    def probability_after(self, m: int) -> float:
        """Probability that the target is reached once ``m`` further completions have been drawn."""
        if self.posterior.best >= self.target_score:
            return 1.0
        return float(-np.expm1(self.posterior.log_power_mean(self.target_score, m)))


def needed_if_known(log_cdf: ArrayLike, confidence: float) -> NDArray[np.float64]:
    r"""Return the number that is needed if the law is known: :math:`\lceil \log(1 - \alpha) / \log F \rceil`, at least 1.

    Parameters
    ----------
    log_cdf : array
        ``log F`` at the target. The number is 1 where it is minus infinity and infinite where it is 0.
    confidence : float
        In (0, 1].
    """
    values = np.asarray(log_cdf, dtype=np.float64)
    threshold = math.log1p(-confidence) if confidence < 1 else -math.inf
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        numbers = np.ceil(threshold / values * (1 - _ROUNDING))
    numbers = np.where(values == -np.inf, 1.0, np.where(values == 0, np.inf, numbers))
    return np.maximum(numbers, 1.0)


def required_completions(posterior: ScorePosterior, target_score: float, confidence: float) -> RequiredCompletions:
    """Return the smallest number of further completions with which the best score reaches a target.

    The derivation is at the top of this module.

    Parameters
    ----------
    posterior : ScorePosterior
        Given the scores seen so far.
    target_score : float
        In [0, 1]. A score equal to it reaches it.
    confidence : float
        In (0, 1]. Of 1 no number is enough, unless every score reaches the target for sure.

    Returns
    -------
    RequiredCompletions

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    target = check_score(target_score)
    if not 0 < confidence <= 1:
        raise ValueError(f"expected confidence in (0, 1], got {confidence}")
    if posterior.best >= target:
        return RequiredCompletions(target, confidence, 0, 1.0, posterior)
    number = _smallest(posterior, target, confidence)
    probability = float(-np.expm1(posterior.log_power_mean(target, min(number, _BEYOND))))
    return RequiredCompletions(target, confidence, number, probability, posterior)


def _smallest(posterior: ScorePosterior, target: float, confidence: float) -> int | float:
    """Search on the scale of ``log m`` and ``log(-log E[F^m])``: there the curve is close to a line of slope at most 1."""
    threshold = math.log1p(-confidence) * (1 - _ROUNDING) if confidence < 1 else -math.inf

    def missed(m: float) -> float:
        return float(posterior.log_power_mean(target, m))

    lowest = missed(1)
    if lowest <= threshold:
        return 1
    if confidence == 1 or missed(_BEYOND) > threshold:
        return math.inf
    goal = math.log(-threshold)

    def height(m: float, value: float) -> float:
        return math.log(max(-value, 5e-324)) - goal

    # Upwards with growing strides: by Jensen the first is not too long, unless a stride is.
    low, low_height, stride = 1, height(1, lowest), 1.0
    while True:
        high = max(2 * low, int(min(low * math.exp(min(-low_height * stride, 300.0)), _BEYOND)) + 1)
        value = missed(high)
        if value <= threshold:
            high_height = height(high, value)
            break
        low, low_height, stride = high, height(high, value), 1.5 * stride
    # Then between: along the chord, and by halves in every third step.
    steps = 0
    while high - low > max(1, int(high * _ROUNDING)):
        share = (
            0.5 if steps % 3 == 2 or not low_height < high_height < math.inf else -low_height / (high_height - low_height)
        )
        if high < 2 * low:  # here logarithms of large numbers are too coarse to tell them apart
            middle = low + int(share * (high - low))
        else:
            middle = int(math.exp(math.log(low) + share * (math.log(high) - math.log(low))))
        middle = min(max(middle, low + 1), high - 1)
        value = missed(middle)
        if value <= threshold:
            high, high_height = middle, height(middle, value)
        else:
            low, low_height = middle, height(middle, value)
        steps += 1
    return high


@dataclass(frozen=True)
class WorthwhileCompletions:
    """The number of further completions that is worth most.

    Attributes
    ----------
    number : int
        0 if none is worth its price.
    gain : float
        By how much they are expected to raise the best score.
    price : float
        Of all of them.
    """

    number: int
    gain: float
    price: float

    @property
    def net_gain(self) -> float:
        """Gain less price."""
        return self.gain - self.price


def worthwhile_completions(posterior: ScorePosterior, price: float, max_completions: int) -> WorthwhileCompletions:
    """Return the number of further completions, if all were paid for now, whose expected gain exceeds their price most.

    Parameters
    ----------
    posterior : ScorePosterior
        Given the scores seen so far. Without any, the gain counts from 0.
    price : float
        Of one completion, in units of the score; at least 0.
    max_completions : int
        Largest number to consider, at least 0.

    Returns
    -------
    WorthwhileCompletions

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    if not (math.isfinite(price) and price >= 0):
        raise ValueError(f"expected price to be finite and at least 0, got {price}")
    if isinstance(max_completions, bool) or not float(max_completions).is_integer() or max_completions < 0:
        raise ValueError(f"expected max_completions to be an integer of at least 0, got {max_completions}")
    nothing = WorthwhileCompletions(0, 0.0, 0.0)
    if max_completions == 0:
        return nothing
    low, high = 1, int(max_completions)
    while True:
        numbers = np.unique(np.rint(np.geomspace(low, high, min(high - low + 1, _CANDIDATES)))).astype(int)
        gains = posterior.expected_gains(numbers)
        if numbers[0] == 1 and gains[0] <= price:
            return nothing  # by concavity no other number is worth more than it costs either
        best = int(np.argmax(gains - price * numbers))
        if len(numbers) == numbers[-1] - numbers[0] + 1:
            number = int(numbers[best])
            return WorthwhileCompletions(number, float(gains[best]), price * number)
        low, high = int(numbers[max(best - 1, 0)]), int(numbers[min(best + 1, len(numbers) - 1)])
