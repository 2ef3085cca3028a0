r"""The posterior of the law of scores, as a decision sees it.

A decision asks one thing of the law :math:`F` of scores: how probable is it that :math:`m` further completions all stay
below a score :math:`x`? Given :math:`F` that is :math:`F(x^-)^m`, with the left limit because a score of exactly :math:`x`
is not below it; given the scores seen so far it is the posterior mean of that power. Everything else here is made of it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ppl_scaling.inference.optscale.expected_gain import integrate_to_one, node_gains
from ppl_scaling.inference.optscale.powers import log_cdf_of, log_power_mean_of, log_sum
from ppl_scaling.models.scores.base import ScoreModel, Values, as_tensor, validate_scores

__all__ = ["NodePosterior", "ScorePosterior", "check_score"]

Array = NDArray[np.float64]

_TABLES = 512  # scores of which the tables are kept


class ScorePosterior(ABC):
    """What the scores seen so far say of the law of scores.

    A subclass defines :meth:`log_power_mean`, :meth:`cdf_quantile` and :meth:`sample_scores`.

    Parameters
    ----------
    scores : sequence of float
        The scores seen; there may be none.

    Attributes
    ----------
    scores : Tensor, shape (n,)
    num_scores : int
    best : float
        The highest score seen; minus infinity if there is none.
    """

    def __init__(self, scores: Any) -> None:
        self.scores = validate_scores(scores)
        self.num_scores = len(self.scores)
        self.best = float(self.scores.max()) if self.num_scores else -math.inf

    @property
    def precise(self) -> bool:
        """Whether all that has been asked so far has the precision that was asked for."""
        return True

    @abstractmethod
    def log_power_mean(self, score: ArrayLike, m: ArrayLike) -> Array:
        r"""Log-probability that ``m`` further scores all stay below ``score``: :math:`\log E[F(x^-)^m \mid data]`.

        Parameters
        ----------
        score : float or array, shape (...)
        m : int or array, shape (...)
            At least 0. The two broadcast.

        Returns
        -------
        array, shape (...)
            Zero where ``m`` is 0.
        """

    @abstractmethod
    def cdf_quantile(self, score: float, probabilities: ArrayLike) -> Array:
        """Quantiles of the posterior of ``F(score)``, the probability that one score stays below ``score``."""

    @abstractmethod
    def sample_scores(self, shape: tuple[int, int], seed: int) -> Array:
        """Draw ``shape[0]`` sets of ``shape[1]`` further scores; those of a row share one law.

        The global random generators are left as they are.
        """

    def log_cdf_quantile(self, score: float, probabilities: ArrayLike) -> Array:
        """Quantiles of the posterior of ``log F(score)``: those of ``F`` where that is closer to 1 than floats can say."""
        with np.errstate(divide="ignore"):
            return np.log(self.cdf_quantile(score, probabilities))

    def expectation(self, score: float, function: Callable[[Array], Array]) -> float:
        """Posterior mean of ``function(log F(score))``; here from 2000 quantiles."""
        probabilities = (np.arange(2000) + 0.5) / 2000
        return float(np.mean(function(self.log_cdf_quantile(score, probabilities))))

    def predictive_cdf(self, scores: ArrayLike) -> Array:
        """Probability that the next score stays below each of ``scores``."""
        return np.exp(self.log_power_mean(scores, 1))

    def expected_gain(self, m: int = 1) -> float:
        r"""By how much the best of ``m`` further scores is expected to exceed the best so far.

        .. math:: E[(\max_{j \le m} s_j - b)^+ \mid data] = \int_b^1 \bigl(1 - E[F(x^-)^m \mid data]\bigr)\, dx

        with :math:`b` the best score seen, and 0 if there is none. It rises with ``m``, ever more slowly.
        """
        return float(self.expected_gains([m])[0])

    def expected_gains(self, numbers: ArrayLike) -> Array:
        """:meth:`expected_gain` of each of several numbers, for little more than the price of one."""
        wanted = check_numbers(numbers)
        return integrate_to_one(
            lambda scores, weights: -weights @ np.expm1(self.log_power_mean(scores[:, None], wanted)), max(self.best, 0.0)
        )


class NodePosterior(ScorePosterior):
    """Weighted values of the parameters of a score model: the nodes of a quadrature rule, or draws of a sampler.

    Parameters
    ----------
    model : ScoreModel
    values : mapping of str to array
        Of each parameter at each node: of shape (K,), or of any shapes that broadcast to that of ``log_weights``.
    log_weights : array, shape (K,) or (K1, K2, ...)
        They need not be normalized.
    scores : sequence of float
        The scores seen.

    Attributes
    ----------
    log_weights, weights : array, shape (K,)
        Normalized.

    Raises
    ------
    ValueError
        If a parameter is missing, the shapes do not match, or there is no node of positive weight.
    """

    def __init__(self, model: ScoreModel, values: Mapping[str, Any], log_weights: Any, scores: Any) -> None:
        super().__init__(scores)
        self.model = model
        weights = np.asarray(log_weights, dtype=np.float64)
        self._tensors: Values = {name: as_tensor(values[name]) for name in model.parameters if name in values}
        if len(self._tensors) != len(model.parameters):
            raise ValueError(f"expected values of {', '.join(model.parameters)}, got {', '.join(values)}")
        shape = torch.broadcast_shapes(*(value.shape for value in self._tensors.values()))
        if tuple(shape) != weights.shape:
            raise ValueError(f"expected log_weights of the shape of the values, {tuple(shape)}, got {weights.shape}")
        total = log_sum(weights) if weights.size else -math.inf
        if not math.isfinite(total):
            raise ValueError(f"expected nodes with finite log_weights, got a sum of weights with logarithm {total}")
        self.log_weights: Array = (weights - total).reshape(-1)
        self.weights: Array = np.exp(self.log_weights)
        self._tables: dict[float, tuple[Array, Array]] = {}
        self._gain_tables: dict[int, dict[bytes, Array]] = {}

    @cached_property
    def values(self) -> dict[str, Array]:
        """Value of each parameter at each node, arrays of shape (K,)."""
        tensors = torch.broadcast_tensors(*self._tensors.values())
        return {name: tensor.reshape(-1).numpy() for name, tensor in zip(self._tensors, tensors, strict=True)}

    @property
    def ess(self) -> float:
        """How many nodes of equal weight would be as concentrated."""
        return float(1 / (self.weights**2).sum())

    def mean(self, name: str) -> float:
        """Posterior mean of a parameter."""
        return float(self.weights @ self.values[name])

    def std(self, name: str) -> float:
        """Posterior standard deviation of a parameter."""
        return math.sqrt(float(self.weights @ (self.values[name] - self.mean(name)) ** 2))

    def log_power_mean(self, score: ArrayLike, m: ArrayLike) -> Array:
        """Sum over the nodes; see :meth:`ScorePosterior.log_power_mean`."""
        numbers = check_powers(m)
        if np.ndim(score) == 0:  # what a decision asks many times
            return log_power_mean_of(*self.table(check_score(score)), numbers.ravel()).reshape(numbers.shape)
        scores, numbers = np.broadcast_arrays(np.asarray(score, np.float64), numbers)
        result = np.empty(scores.shape)
        different = [check_score(one) for one in np.unique(scores)]
        self.prepare(different)
        for one in different:
            where = scores == one
            result[where] = log_power_mean_of(*self.table(one), numbers[where])
        return result

    def expected_gains(self, numbers: ArrayLike) -> Array:
        """Integrate at each node, then sum over the nodes; see :meth:`ScorePosterior.expected_gains`."""
        return self.gains_at_nodes(check_numbers(numbers), self._tensors, slice(None), self.weights) @ self.weights

    def gains_at_nodes(self, numbers: Array, tensors: Values, kept: Any, weights: Array) -> Array:
        """:meth:`expected_gains` if each node were the truth; shape (M, K)."""
        tables = self._gain_tables.setdefault(len(weights), {})

        def log_cdf(scores: Array) -> Array:
            key = scores.tobytes()
            if key not in tables:
                tables[key] = log_cdf_of(self.model, scores, tensors, lower_tail=False)[:, kept]
            return tables[key]

        return node_gains(log_cdf, weights, numbers, max(self.best, 0.0))

    def log_cdf_quantile(self, score: float, probabilities: ArrayLike) -> Array:
        """Interpolate between the nodes, on the scale of ``log(-log F)``, which is that of numbers of completions."""
        log_cdf, weights = self.table(check_score(score))
        with np.errstate(divide="ignore"):
            scale = np.clip(np.log(-log_cdf), -750, 750)
        order = np.argsort(-scale)
        ordered = weights[order]
        found = np.interp(np.asarray(probabilities, dtype=np.float64), np.cumsum(ordered) - ordered / 2, scale[order])
        with np.errstate(over="ignore"):
            return -np.exp(found)

    def cdf_quantile(self, score: float, probabilities: ArrayLike) -> Array:
        """Interpolate between the nodes."""
        return np.exp(self.log_cdf_quantile(score, probabilities))

    def expectation(self, score: float, function: Callable[[Array], Array]) -> float:
        """Sum over the nodes."""
        log_cdf, weights = self.table(check_score(score))
        return float(weights @ function(log_cdf))

    def sample_scores(self, shape: tuple[int, int], seed: int) -> Array:
        """Draw a node for each row, then scores from its law."""
        sets, size = shape
        drawn = np.random.default_rng(seed).choice(len(self.log_weights), size=sets, p=self.weights)
        values = {name: torch.from_numpy(value[drawn]) for name, value in self.values.items()}
        generator = torch.Generator().manual_seed(seed)
        return self.model.sample(values, (size,), generator=generator).T.contiguous().numpy()

    def table(self, score: float) -> tuple[Array, Array]:
        """``log F(score)`` at the nodes that this score needs, and their weights; arrays of shape (K,)."""
        self.prepare([score])
        return self._tables[score]

    def prepare(self, scores: Sequence[float]) -> None:
        """Compute the tables of several scores at once."""
        missing = [score for score in scores if score not in self._tables]
        if not missing:
            return
        if len(self._tables) > _TABLES:
            self._tables.clear()
            missing = list(scores)
        for score, log_cdf in zip(missing, log_cdf_of(self.model, missing, self._tensors), strict=True):
            self._tables[score] = log_cdf, self.weights


def check_powers(m: ArrayLike) -> Array:
    """Check the powers of a cdf."""
    numbers = np.asarray(m, dtype=np.float64)
    if not (numbers >= 0).all():
        raise ValueError(f"expected m >= 0, got {numbers.min():g}")
    return numbers


def check_numbers(numbers: ArrayLike) -> Array:
    """Check numbers of further completions."""
    wanted = np.asarray(numbers, dtype=np.float64)
    if wanted.ndim != 1 or (wanted < 0).any():
        raise ValueError(f"expected numbers of further completions, each at least 0, got {wanted.tolist()}")
    return wanted


def check_score(score: Any) -> float:
    """Check that a score to reach is a number in [0, 1]."""
    value = float(score)
    if not 0 <= value <= 1:
        raise ValueError(f"expected a score in [0, 1], got {score}")
    return value
