"""The joint model of a completion's score and of whether it is right.

Stopping rules that look at scores promise a high score. What a user wants is a right answer, and a verifier that likes
wrong answers makes the two differ. Here both are modelled: labels say what is known,
and are integrated out where nothing is.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from torch import Tensor

from ppl_scaling.models.scores.base import ScoreLaw, Values, as_tensor, validate_scores
from ppl_scaling.models.scores.two_component import TwoComponentScores

__all__ = ["ScoreAndCorrectness", "validate_correct"]


class ScoreAndCorrectness(TwoComponentScores):
    r"""Score and correctness of completions: the mixture of right and wrong ones, with labels where they are known.

    A completion is right with probability ``share``, and its score follows the law of the right or of the wrong ones: the
    parameters, their priors and the laws are those of
    :class:`~ppl_scaling.models.scores.two_component.TwoComponentScores`. ``correct`` holds 1 (right), 0 (wrong) or NaN
    (unknown) for each score. With all labels unknown this is that mixture.

    Labels are worth most across problems: in a hierarchy (:class:`~ppl_scaling.models.scores.hierarchy.HierarchicalScores`)
    labelled problems teach what the scores of right completions look like, for problems without any label.

    :meth:`probability_correct` need not rise with the score: of two normals of different scale the wider one rules *both*
    far ends. Where wrong scores spread wider, as they mostly do, a score far above all right ones is suspect.
    """

    name: ClassVar[str] = "score-and-correctness"

    # `correct` is an argument that the laws of scores alone do not have; each method works without it.
    def statistics(self, scores: Tensor, correct: Tensor | None = None) -> Tensor:
        """Return the rows of the two components and, with labels, a sixth one: 1, 0, or -1 where a label is unknown."""
        rows = super().statistics(scores)
        return rows if correct is None else torch.cat([rows, as_tensor(correct).nan_to_num(-1.0).unsqueeze(0)])

    def log_likelihood_of(self, statistics: Tensor, values: Values) -> Tensor:
        """Log-likelihood of the scores and labels that ``statistics`` was computed from."""
        return (statistics[0] * self._log_prob_of(statistics, values)).sum(-1)

    def _log_prob_of(self, statistics: Tensor, values: Values) -> Tensor:
        wrong, right = self.log_joint_of(statistics, values)
        either = torch.logaddexp(wrong, right)
        if len(statistics) == 5:
            return either
        label = statistics[5]
        return torch.where(label < 0, either, torch.where(label == 1, right, wrong))

    def log_prob(self, scores: Tensor, values: Values, correct: Tensor | None = None) -> Tensor:
        """Log-density of each score together with its label where it is known.

        Parameters
        ----------
        scores : Tensor, shape (..., n)
        values : mapping of str to Tensor, shape (...)
        correct : Tensor, shape (..., n), optional
            1, 0 or NaN for each score; by default nothing is known.

        Returns
        -------
        Tensor, shape (..., n)
        """
        return self._log_prob_of(self.statistics(scores, correct), values)

    def log_likelihood(self, scores: Tensor, values: Values, correct: Tensor | None = None) -> Tensor:
        """Log-density of all scores and of the labels that are known, shape (...); see :meth:`log_prob`."""
        return self.log_likelihood_of(self.statistics(scores, correct), values)

    def probability_correct(self, scores: Tensor, values: Values) -> Tensor:
        """Probability that a completion is right, given its score and the parameters.

        Parameters
        ----------
        scores : Tensor, shape (..., n)
        values : mapping of str to Tensor, shape (...)

        Returns
        -------
        Tensor, shape (..., n)
            Average it over posterior draws of ``values`` for the probability given the data.
        """
        wrong, right = self.log_joint(scores, values)
        return (right - wrong).sigmoid()

    def __call__(
        self, scores: Tensor | None = None, correct: Tensor | None = None, *, num_scores: int | None = None
    ) -> Tensor:
        """Run the Pyro program: a site for each parameter, then ``correct`` and ``score`` in the plate ``completion``.

        Labels that are not known are integrated out, not sampled: what is left is smooth, as NUTS and Laplace need it. Where
        none is known there is no site ``correct``. Without ``scores`` labels are drawn, and scores given them.

        Parameters
        ----------
        scores : Tensor, shape (n,), optional
            The observed scores.
        correct : Tensor, shape (n,), optional
            1, 0 or NaN for each of the scores.
        num_scores : int, optional
            How many scores to draw; needed without ``scores`` and only then.

        Returns
        -------
        Tensor, shape (n,)
            The scores, observed or drawn.
        """
        if (scores is None) == (num_scores is None):
            raise ValueError(f"expected either scores or num_scores, got {'neither' if scores is None else 'both'}")
        if scores is None and correct is not None:
            raise ValueError("expected correct only together with scores: labels are drawn where scores are")
        if scores is not None:
            scores = validate_scores(scores)
            correct = validate_correct(correct, (len(scores),))
        values = self.sample_parameters()
        with pyro.plate("completion", num_scores if scores is None else len(scores)):
            share = dist.Bernoulli(logits=values["logit_share"])
            if correct is None:
                correct = pyro.sample("correct", share)
            elif not correct.isnan().all():
                pyro.sample("correct", share.expand(correct.shape).mask(~correct.isnan()), obs=correct.nan_to_num(0.0))
            return pyro.sample("score", _ScoreGivenLabel(self, values, correct), obs=scores)


class _ScoreGivenLabel(dist.TorchDistribution):
    """The law of a score given its label, or of the mixture where that is NaN."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.unit_interval

    def __init__(self, model: ScoreAndCorrectness, values: Values, correct: Tensor) -> None:
        self.model, self.values, self.correct = model, values, correct
        shape = torch.broadcast_shapes(correct.shape, *(value.shape for value in values.values()))
        super().__init__(shape)

    def expand(self, batch_shape: Any, _instance: Any = None) -> _ScoreGivenLabel:
        """Expand to ``batch_shape``."""
        return _ScoreGivenLabel(self.model, self.values, self.correct.expand(batch_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of the scores given the labels."""
        if self._validate_args:
            self._validate_sample(value)
        scores, correct = value.unsqueeze(-1), self.correct.unsqueeze(-1)
        joint = self.model.log_prob(scores, self.values, correct).squeeze(-1)
        logits = self.values["logit_share"]
        label = dist.Bernoulli(logits=logits).log_prob(self.correct.nan_to_num(0.0))
        return joint - torch.where(self.correct.isnan(), 0.0, label)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw scores given the labels."""
        unknown = ScoreLaw(self.model, self.values).expand(self.batch_shape).sample(sample_shape)
        given = self.correct.expand((*sample_shape, *self.batch_shape)) == 1
        return torch.where(self.correct.isnan(), unknown, self.model.sample_given(given, self.values))


def validate_correct(correct: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    """Check labels and return them as a float64 tensor of ``shape``; without labels all are NaN.

    Raises
    ------
    ValueError
        If there is not one label for each score, or a label is not 0, 1 or NaN.
    """
    if correct is None:
        return torch.full(shape, torch.nan, dtype=torch.float64)
    correct = as_tensor(correct)
    if correct.shape != shape:
        raise ValueError(f"expected correct of shape {tuple(shape)}, one label for each score, got {tuple(correct.shape)}")
    wrong = ~(correct.isnan() | (correct == 0) | (correct == 1))
    if wrong.any():
        raise ValueError(f"expected correct to be 0, 1 or NaN, got {correct[wrong][0].item()}")
    return correct
