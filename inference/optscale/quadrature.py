r"""The posterior of a score model by deterministic quadrature: the online path.

Nodes come from trapezoid rules for up to two parameters (:mod:`~ppl_scaling.inference.optscale.lattice`), from one for each
block where a model's parameters fall into independent blocks, and from quasi-Monte-Carlo otherwise
(:mod:`~ppl_scaling.inference.optscale.quasi_monte_carlo`). No random number is drawn, so the same scores give the same
numbers.

What is integrated is chosen by the question. A posterior starts with as many nodes as its evidence needs. When it is asked
for a score, the error of ``E[F(score)^m]`` is measured for all ``m`` from 1 to a trillion, and where it is too large, nodes
are added for this score until it is not.

Priors are cut at 20 standard deviations, where normal laws have 1e-88 of their mass. Without that, a run of equal scores
would send scales of laws of scores to where floats end. The cut is smooth: the coordinates are :math:`t` with
:math:`z = 20 \tanh(t / 20)` prior standard deviations from the centre.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ppl_scaling.inference.optscale.dirichlet import DirichletPosterior
from ppl_scaling.inference.optscale.nodes import LatticeRule, Rule
from ppl_scaling.inference.optscale.posterior import NodePosterior, ScorePosterior, check_numbers
from ppl_scaling.inference.optscale.powers import log_cdf_of
from ppl_scaling.inference.optscale.quasi_monte_carlo import QuasiMonteCarloRule
from ppl_scaling.models.scores.base import ScoreModel, Values, validate_scores
from ppl_scaling.models.scores.correctness import validate_correct
from ppl_scaling.models.scores.dirichlet import DirichletScores

__all__ = ["QuadraturePosterior", "infer_scores"]

Array = NDArray[np.float64]

_POWERS = 21  # of 4, from 1 to 1e12: the numbers of completions at which the error is measured


def infer_scores(model: Any, scores: Any, *, correct: Any = None, precision: float | None = None) -> ScorePosterior:
    """Return the posterior of the law of scores, by quadrature or in closed form.

    Parameters
    ----------
    model : ScoreModel or DirichletScores
    scores : sequence of float
        The scores seen; there may be none.
    correct : sequence of float, optional
        1, 0 or NaN for each score, for models of score and correctness.
    precision : float, optional
        Largest error of ``E[F(score)^m]`` and relative error of the evidence. Default: 1e-4; 1e-3
        for models of several blocks, and 1e-2 for those with a block of more than two parameters. What is reached is the
        posterior's ``precision``.

    Returns
    -------
    QuadraturePosterior or DirichletPosterior

    Raises
    ------
    TypeError
        If ``model`` is neither.
    ValueError
        If a score is NaN or outside [0, 1], or ``precision`` is not in (0, 0.1].
    """
    if isinstance(model, DirichletScores):
        if correct is not None:
            raise TypeError("expected no labels for DirichletScores, which is a law of scores alone")
        return DirichletPosterior(model, scores)
    if not isinstance(model, ScoreModel):
        raise TypeError(f"expected a ScoreModel or DirichletScores, got {type(model).__name__}")
    if precision is not None and not 0 < precision <= 0.1:
        raise ValueError(f"expected precision in (0, 0.1], got {precision}")
    return QuadraturePosterior(model, scores, correct=correct, precision=precision)


class QuadraturePosterior(NodePosterior):
    """A posterior that adds nodes where a question needs them; see the module's description.

    Parameters
    ----------
    model : ScoreModel
    scores : sequence of float
    correct : sequence of float, optional
    precision : float, optional

    Attributes
    ----------
    log_evidence : float
        Log-density of the scores under the model.
    precision : float
        Bound on the errors of all that has been asked so far, from the spread of interlaced rules: what was asked for, or
        more where that would have taken more than 400 000 nodes.
    precise : bool
        Whether it is what was asked for.
    """

    def __init__(self, model: ScoreModel, scores: Any, *, correct: Any = None, precision: float | None = None) -> None:
        seen = validate_scores(scores)
        kind = LatticeRule if LatticeRule.suits(model) else QuasiMonteCarloRule
        with torch.no_grad():
            self._rule: Rule = kind(model, _log_likelihood(model, seen, correct), precision)
            nodes = self._rule.start()
            errors = self._rule.evidence_errors(nodes)
            while errors.sum() > self._rule.precision and (finer := self._rule.finer(nodes, int(errors.argmax()))):
                nodes = finer
                errors = self._rule.evidence_errors(nodes)
        super().__init__(model, nodes.values(), nodes.log_weights, seen)
        self.log_evidence = nodes.log_total
        self.precision = max(self._rule.precision, float(errors.sum()))
        self._levels = [nodes]

    @property
    def precise(self) -> bool:
        """Whether all that has been asked so far has the precision that was asked for."""
        return self.precision <= self._rule.precision

    def prepare(self, scores: Sequence[float]) -> None:
        """Compute the tables of several scores, each with as many nodes as it needs."""
        waiting = [score for score in scores if score not in self._tables]
        if waiting and len(self._tables) + len(waiting) > 256:
            self._tables.clear()
            waiting = list(scores)
        level = 0
        while waiting:
            nodes = self._levels[level]
            failed = []
            log_cdf = log_cdf_of(self.model, waiting, nodes.tensors)[:, nodes.kept]
            errors = [nodes.errors(_powers(row)) for row in log_cdf]
            can_refine = level + 1 < len(self._levels) or self._refine(np.max(errors, axis=0))
            for score, row, error in zip(waiting, log_cdf, errors, strict=True):
                if error.sum() > self._rule.precision and can_refine:
                    failed.append(score)
                else:
                    self._tables[score] = row, nodes.weights
                    self.precision = max(self.precision, float(error.sum()))
            waiting, level = failed, level + 1

    def expected_gains(self, numbers: ArrayLike) -> Array:
        """Integrate with the first nodes that are fine enough for the integrals, whose error is measured as that of powers.

        The integral averages over scores, so it seldom needs the nodes that ``E[F(score)^m]`` needs at each of them.
        ``precision`` holds for it in units of the room ``1 - best``.
        """
        wanted, room = check_numbers(numbers), 1 - max(self.best, 0.0)
        if room == 0:
            return np.zeros(len(wanted))
        for nodes in self._levels:  # which grow within the loop
            gains = self.gains_at_nodes(wanted, nodes.tensors, nodes.kept, nodes.weights)
            error = nodes.errors(gains / room)
            if error.sum() <= self._rule.precision or not (nodes is not self._levels[-1] or self._refine(error)):
                break
        self.precision = max(self.precision, float(error.sum()))
        return gains @ nodes.weights

    def _refine(self, errors: Array) -> bool:
        """Add a level of nodes where the errors ask for one and there may be one."""
        if errors.sum() <= self._rule.precision:
            return False
        finer = self._rule.finer(self._levels[-1], int(errors.argmax()))
        if finer is not None:
            self._levels.append(finer)
        return finer is not None


def _powers(log_cdf: Array) -> Array:
    """``F^m`` at the nodes for several m, one a row, by squaring twice: errors oscillate with ``log m``, so m is dense."""
    powers = np.empty((_POWERS, len(log_cdf)))
    powers[0] = np.exp(log_cdf)
    for k in range(1, _POWERS):
        np.square(powers[k - 1], out=powers[k])
        np.square(powers[k], out=powers[k])
    return powers


def _log_likelihood(model: ScoreModel, scores: Tensor, correct: Any) -> Callable[[Values], Tensor]:
    if correct is None:
        statistics = model.statistics(scores)
        return lambda values: model.log_likelihood_of(statistics, values)
    labels = validate_correct(correct, (len(scores),))
    return lambda values: model.log_likelihood(scores, values, labels)  # type: ignore[call-arg]
