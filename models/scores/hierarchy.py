r"""Many problems at once: each has its own law of scores, and what they have in common is learned (partial pooling).

For each unconstrained parameter of a score model, problem :math:`j` with features :math:`x_j` has the value

.. math:: \theta_j \sim N(\mu + x_j^\top w,\; \tau),

with a population mean :math:`\mu`, weights :math:`w` and a spread :math:`\tau` to be learned. The posterior of those is the
prior of the next problem, which is what a few scores of a new problem are worth most with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from numpy.typing import ArrayLike
from pyro.distributions import constraints
from torch import Tensor

from ppl_scaling.models.scores.base import Prior, ScoreModel, Values, as_tensor, validate_scores
from ppl_scaling.models.scores.correctness import ScoreAndCorrectness, validate_correct
from ppl_scaling.models.scores.prior_function import LinearPriorFunction

__all__ = ["HierarchicalScores"]


@dataclass(frozen=True)
class Observed:
    """Scores of all problems, checked and reduced to what the likelihood needs."""

    scores: Tensor
    mask: Tensor
    statistics: Tensor | None  # (d, num_problems) or (d, num_problems, n_max); None where the model defines none


class HierarchicalScores:
    r"""Partial pooling over problems for any score model, with an optional regression on features of the problem.

    Sites, for each parameter of the model with its prior ``Normal(location, scale)``:

    - ``{parameter}_mean`` ~ ``Normal(location, scale)``: a single problem's prior is what is believed of the population's;
    - ``{parameter}_spread`` ~ ``HalfNormal(scale)``: problems differ by no more than the prior thought possible;
    - ``{parameter}_weights`` ~ ``Normal(0, scale / sqrt(num_features))`` with features, so that all of them together
      move a problem by about ``scale``. This supposes features that are standardised over problems;
    - ``{parameter}_latent`` in plate ``problem``, from which the deterministic site ``{parameter}`` is computed;
    - ``score`` in plate ``problem``, the padded scores of a problem, with the density of those that the mask keeps (and
      of their labels, where the model has labels).

    **Centredness.** With :math:`m_j = \mu + x_j^\top w` and :math:`c_j` in [0, 1] the latent is
    :math:`N(c_j m_j, \tau^{c_j})` and :math:`\theta_j = m_j + \tau^{1 - c_j} (latent_j - c_j m_j)`. The model is the same
    whatever :math:`c`; how well NUTS moves in it is not. 1 (centred) suits problems whose scores say much more about
    :math:`\theta_j` than the population does, 0 (non-centred) those whose scores say less. By default
    :math:`c_j = n_j / (n_j + k)` with :math:`k` = ``4``: for a normal law the best :math:`k` is (spread of scores within a
    problem / spread of locations over problems) squared.

    Parameters
    ----------
    model : ScoreModel
        The law of scores of one problem; its prior is that of the population.
    num_features : int, default 0
        Number of features of a problem.
    centredness : float or mapping of str to float, optional
        The same for all problems, for all parameters or for each.

    Raises
    ------
    TypeError
        If ``model`` is not a :class:`~ppl_scaling.models.scores.base.ScoreModel`.
    ValueError
        If ``num_features`` is negative, or ``centredness`` not within [0, 1] or of other parameters.
    """

    def __init__(
        self, model: ScoreModel, *, num_features: int = 0, centredness: float | Mapping[str, float] | None = None
    ) -> None:
        if not isinstance(model, ScoreModel):
            raise TypeError(f"expected a ScoreModel, got {type(model).__name__}")
        if num_features < 0:
            raise ValueError(f"expected num_features >= 0, got {num_features}")
        self.model, self.num_features = model, num_features
        self.centredness = centredness if isinstance(centredness, Mapping) else dict.fromkeys(model.parameters, centredness)
        if set(self.centredness) != set(model.parameters):
            raise ValueError(f"expected centredness of {', '.join(model.parameters)}, got {', '.join(self.centredness)}")
        for value in self.centredness.values():
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"expected centredness within [0, 1], got {value}")
        # NUTS calls the program thousands of times with the same tensors: they are checked and reduced once.
        self._last: tuple[tuple[Any, ...], Observed] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r}, num_features={self.num_features})"

    def observe(self, scores: Tensor, mask: Tensor | None = None, correct: Tensor | None = None) -> Observed:
        """Check padded scores and reduce them to sufficient statistics, where the model has some."""
        given = (scores, mask, correct)
        key = (*given, *(getattr(tensor, "_version", None) for tensor in given))
        if self._last is not None and all(a is b for a, b in zip(self._last[0][:3], given, strict=True)):
            if self._last[0][3:] == key[3:]:
                return self._last[1]
        scores = as_tensor(scores)
        if scores.ndim != 2:
            raise ValueError(f"expected scores of shape (num_problems, n_max), got {tuple(scores.shape)}")
        kept = torch.ones_like(scores, dtype=torch.bool) if mask is None else torch.as_tensor(mask)
        if kept.dtype != torch.bool or kept.shape != scores.shape:
            raise ValueError(f"expected a mask of bool of shape {tuple(scores.shape)}, got {kept.dtype} {tuple(kept.shape)}")
        validate_scores(scores[kept])
        padded = torch.where(kept, scores, 0.5)
        statistics = None
        if correct is not None:
            if not isinstance(self.model, ScoreAndCorrectness):
                raise ValueError(f"expected correct only for ScoreAndCorrectness, got it for {type(self.model).__name__}")
            correct = validate_correct(torch.where(kept, as_tensor(correct), torch.nan), tuple(scores.shape))
        if type(self.model).statistics is not ScoreModel.statistics:
            statistics = self._statistics(padded, kept, correct)
        self._last = key, Observed(padded, kept, statistics)
        return self._last[1]

    def _statistics(self, scores: Tensor, mask: Tensor, correct: Tensor | None) -> Tensor:
        """Statistics of every problem, along dimension 1; rows over scores are padded with zeros, which count nothing."""
        each = []
        for problem, kept in enumerate(mask):
            if correct is not None and isinstance(self.model, ScoreAndCorrectness):
                each.append(self.model.statistics(scores[problem, kept], correct[problem, kept]))
            else:
                each.append(self.model.statistics(scores[problem, kept]))
        if each[0].ndim == 2:
            each = [torch.nn.functional.pad(rows, (0, mask.shape[1] - rows.shape[1])) for rows in each]
        return torch.stack(each, dim=1)

    def __call__(
        self,
        scores: Tensor | None = None,
        mask: Tensor | None = None,
        features: Tensor | None = None,
        *,
        correct: Tensor | None = None,
        num_problems: int | None = None,
        num_scores: int | None = None,
    ) -> Tensor:
        """Run the Pyro program.

        Parameters
        ----------
        scores : Tensor, shape (num_problems, n_max), optional
            Padded scores; what the mask leaves out may be anything.
        mask : Tensor of bool, shape (num_problems, n_max), optional
            Where there is a score; by default everywhere.
        features : Tensor, shape (num_problems, num_features), optional
            Features of the problems, standardised; needed if and only if ``num_features`` is not 0.
        correct : Tensor, shape (num_problems, n_max), optional
            Labels 1, 0 or NaN, for :class:`~ppl_scaling.models.scores.correctness.ScoreAndCorrectness` only.
        num_problems, num_scores : int, optional
            Without ``scores``: how many to draw.

        Returns
        -------
        Tensor, shape (num_problems, n_max)
            The scores, observed or drawn.
        """
        if scores is None:
            if num_problems is None or num_scores is None:
                raise ValueError("expected either scores or both num_problems and num_scores")
            shape: tuple[int, ...] = (num_problems, num_scores)
            observed = None
            lengths = torch.full((num_problems,), float(num_scores), dtype=torch.float64)
        else:
            if num_problems is not None or num_scores is not None:
                raise ValueError("expected either scores or num_problems and num_scores, got both")
            observed = self.observe(scores, mask, correct)
            shape, lengths = tuple(observed.scores.shape), observed.mask.sum(-1, dtype=torch.float64)
        features = self.check_features(features, shape[0])
        location, spread = self._population(features)
        values: dict[str, Tensor] = {}
        with pyro.plate("problem", shape[0]):
            for name in self.model.parameters:
                c, log_spread = self.centredness_of(name, lengths), spread[name].log()
                centre = c * location[name]
                latent = pyro.sample(f"{name}_latent", dist.Normal(centre, (c * log_spread).exp()))
                value = location[name] + ((1 - c) * log_spread).exp() * (latent - centre)
                values[name] = pyro.deterministic(name, value)
            law = _ProblemScores(self.model, values, shape, observed)
            return pyro.sample("score", law, obs=None if observed is None else observed.scores)

    def centredness_of(self, name: str, lengths: Tensor) -> Tensor:
        """Centredness of a parameter in problems with so many scores, shape (num_problems,)."""
        given = self.centredness[name]
        return lengths / (lengths + 4.0) if given is None else torch.full_like(lengths, given)

    def _population(self, features: Tensor | None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Sample the population; return location (of each problem, with features) and spread of each parameter."""
        location, spread = {}, {}
        for name in self.model.parameters:
            scale = as_tensor(self.model.prior.scale[name])
            location[name] = pyro.sample(f"{name}_mean", dist.Normal(as_tensor(self.model.prior.location[name]), scale))
            spread[name] = pyro.sample(f"{name}_spread", dist.HalfNormal(scale))
            if features is not None:
                law = dist.Normal(torch.zeros_like(features[0]), scale / math.sqrt(self.num_features)).to_event(1)
                location[name] = location[name] + features @ pyro.sample(f"{name}_weights", law)
        return location, spread

    def check_features(self, features: Tensor | None, num_problems: int) -> Tensor | None:
        """Check that there are features if and only if the regression has some, and return them as float64."""
        if features is None and not self.num_features:
            return None
        shape = None if features is None else tuple(features.shape)
        if shape != (num_problems, self.num_features) or not self.num_features:
            raise ValueError(f"expected features of shape ({num_problems}, {self.num_features}), got {shape}")
        return as_tensor(features)

    def prior_function(self, draws: Mapping[str, ArrayLike | Tensor]) -> LinearPriorFunction:
        r"""Return the prior of a new problem as a function of its features, from posterior draws of the population.

        Location and spread of a parameter are the mean and the standard deviation of a new problem's value, over problems
        *and* over what the draws leave open: :math:`E[\tau^2] + Var[\mu + x^\top w]`. What is lost is the shape (heavier
        tails than a normal's). In this model the parameters of a problem are independent given the population, so the only
        correlation there is comes from the uncertainty about the population, which shrinks with the number of problems; it
        is left out, because the priors of score models are of independent parameters.

        Parameters
        ----------
        draws : mapping of str to array
            ``{parameter}_mean`` and ``{parameter}_spread`` of shape (...), any number of chains and draws, and
            ``{parameter}_weights`` of shape (..., num_features).
        """
        coefficients, covariance, spread = {}, {}, {}
        for name in self.model.parameters:
            columns = np.asarray(draws[f"{name}_mean"], dtype=float).reshape(-1, 1)
            if self.num_features:
                weights = np.asarray(draws[f"{name}_weights"], dtype=float).reshape(-1, self.num_features)
                columns = np.concatenate([columns, weights], axis=1)
            coefficients[name] = columns.mean(0)
            covariance[name] = np.atleast_2d(np.cov(columns, rowvar=False, bias=True))
            spread[name] = float(np.sqrt(np.square(np.asarray(draws[f"{name}_spread"], dtype=float)).mean()))
        return LinearPriorFunction(coefficients, spread, covariance)

    def population_prior(self, draws: Mapping[str, ArrayLike | Tensor], features: ArrayLike | Tensor | None = None) -> Prior:
        """Return the prior of one new problem with ``features``, shape (num_features,); see :meth:`prior_function`."""
        return self.prior_function(draws)(features)


class _ProblemScores(dist.TorchDistribution):
    """The law of a problem's padded scores, of shape (num_problems) with events of shape (n_max,)."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.independent(constraints.unit_interval, 1)

    def __init__(self, model: ScoreModel, values: Values, shape: tuple[int, ...], observed: Observed | None) -> None:
        self.model, self.values, self.observed = model, values, observed
        super().__init__(torch.Size(shape[:1]), torch.Size(shape[1:]), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of each problem's scores."""
        data = self.observed
        if data is not None and data.statistics is not None and value is data.scores:
            return self.model.log_likelihood_of(data.statistics, self.values)
        each = self.model.log_prob(value, self.values)
        return (each if data is None else torch.where(data.mask, each, 0.0)).sum(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw scores of each problem."""
        with torch.no_grad():
            drawn = self.model.sample(self.values, (*sample_shape, *self.event_shape))
        return drawn.movedim(len(sample_shape), -1)
