r"""What every law of scores has in common: unconstrained parameters with normal priors, and the Pyro program.

A law on [0, 1] is described by a few *unconstrained* real numbers, each with its own normal prior. So quadrature, Laplace,
NUTS, hierarchies and regressions are written once and serve all the laws.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor

from ppl_scaling.models.scores.prior import Prior, Values

__all__ = ["RESOLUTION", "Prior", "ScoreLaw", "ScoreModel", "Values", "as_tensor", "numpy_generator", "validate_scores"]

RESOLUTION = 2.0**-24
"""Half a step of float32 below 1. Laws whose density may have a pole take it to be flat this near to 0 and to 1."""


class ScoreModel(ABC):
    """Base of the laws of scores with finitely many parameters.

    A new law sets ``name``, ``parameters`` and ``default_prior`` (with the reason in its docstring) and defines
    :meth:`log_prob`, :meth:`log_cdf`, :meth:`log_survival` and :meth:`sample`. Where the likelihood has sufficient
    statistics it also overrides :meth:`statistics` and :meth:`log_likelihood_of`.

    Shapes: ``values`` holds a tensor of shape (...) for each parameter, where (...) is any shape, the same for all or such
    that they broadcast. Everything is float64.

    Parameters
    ----------
    prior : Prior, optional
        Of this model's parameters; default: the class's ``default_prior``.

    Raises
    ------
    TypeError
        If ``prior`` is not a :class:`Prior`.
    ValueError
        If it is one of other parameters.
    """

    name: ClassVar[str]
    parameters: ClassVar[tuple[str, ...]]
    default_prior: ClassVar[Prior]
    log_gaps: ClassVar[Mapping[str, str]] = {}
    """Parameters that are the logarithm of a distance from another one, and that one: quadrature takes the place reached."""

    def __init__(self, prior: Prior | None = None) -> None:
        if prior is None:
            prior = self.default_prior
        if not isinstance(prior, Prior):
            raise TypeError(f"expected prior to be a Prior, got {type(prior).__name__}")
        if set(prior.location) != set(self.parameters):
            raise ValueError(
                f"expected a prior of {', '.join(self.parameters)} for {type(self).__name__}, got one of "
                f"{', '.join(prior.location)}"
            )
        self.prior = prior

    def saved_arguments(self) -> dict[str, Any]:
        """Give what makes the same model again, for a saved result."""
        return {"prior": self.prior}

    def __repr__(self) -> str:
        given = "" if self.prior == self.default_prior else repr(self.prior)
        return f"{type(self).__name__}({given})"

    @abstractmethod
    def log_prob(self, scores: Tensor, values: Values) -> Tensor:
        """Log-density of each score; differentiable.

        Parameters
        ----------
        scores : Tensor, shape (..., n)
        values : mapping of str to Tensor, shape (...)
            The two shapes (...) broadcast.

        Returns
        -------
        Tensor, shape (..., n)
        """

    @abstractmethod
    def log_cdf(self, score: float | Tensor, values: Values) -> Tensor:
        """``log P(s < score)``: an atom at ``score`` is not below it. Accurate in both tails; no gradient.

        ``score`` broadcasts with the values: give a column ``scores[:, None]`` for a table of scores by values.
        """

    @abstractmethod
    def log_survival(self, score: float | Tensor, values: Values) -> Tensor:
        """``log P(s >= score)``, the complement of :meth:`log_cdf`. Accurate in both tails; no gradient."""

    @abstractmethod
    def sample(
        self, values: Values, sample_shape: tuple[int, ...] = (), *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw scores.

        Returns
        -------
        Tensor, shape (*sample_shape, ...)
            With (...) the shape of the values. Without a generator torch's global one is used, as in Pyro.
        """

    def statistics(self, scores: Tensor) -> Tensor:
        """Reduce scores of shape (n,) to what the likelihood needs of them; here: nothing can be left out."""
        return scores

    def log_likelihood_of(self, statistics: Tensor, values: Values) -> Tensor:
        """Log-likelihood of the scores that ``statistics`` was computed from; see :meth:`log_likelihood`."""
        return self.log_prob(statistics, values).sum(-1)

    def log_likelihood(self, scores: Tensor, values: Values) -> Tensor:
        """Log-density of all scores together; differentiable.

        Parameters
        ----------
        scores : Tensor, shape (n,)
        values : mapping of str to Tensor, shape (...)

        Returns
        -------
        Tensor, shape (...)
        """
        return self.log_likelihood_of(self.statistics(scores), values)

    def arrange(self, values: Values) -> tuple[Tensor, ...]:
        """Return the values as float64 tensors, in the order of ``parameters``."""
        missing = [name for name in self.parameters if name not in values]
        if missing:
            raise ValueError(f"expected values of {', '.join(self.parameters)}, got none of {', '.join(missing)}")
        return tuple(as_tensor(values[name]) for name in self.parameters)

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Groups of parameters that are independent given scores, whatever the scores; here all are one group.

        A model whose likelihood factorises names the groups: quadrature then takes them one by one.
        """
        return (self.parameters,)

    def law(self, values: Values) -> ScoreLaw:
        """Return the law of one score given the parameters, as a Pyro distribution."""
        return ScoreLaw(self, values)

    def __call__(self, scores: Tensor | None = None, *, num_scores: int | None = None) -> Tensor:
        """Run the Pyro program: a site for each parameter, then ``score`` in the plate ``completion``.

        Parameters
        ----------
        scores : Tensor, shape (n,), optional
            The observed scores. Without them ``score`` is drawn.
        num_scores : int, optional
            How many scores to draw; needed without ``scores`` and only then.

        Returns
        -------
        Tensor, shape (n,)
            The scores, observed or drawn.
        """
        if (scores is None) == (num_scores is None):
            raise ValueError(f"expected either scores or num_scores, got {'neither' if scores is None else 'both'}")
        if scores is not None:
            scores = validate_scores(scores)
        values = self.sample_parameters()
        with pyro.plate("completion", num_scores if scores is None else len(scores)):
            return pyro.sample("score", self.law(values), obs=scores)

    def sample_parameters(self) -> dict[str, Tensor]:
        """Sample each parameter from its prior, at a site of its name."""
        return {
            name: pyro.sample(name, dist.Normal(as_tensor(self.prior.location[name]), as_tensor(self.prior.scale[name])))
            for name in self.parameters
        }


class ScoreLaw(TorchDistribution):
    """The law of one score, given the parameters of a score model, as a Pyro distribution.

    Parameters
    ----------
    model : ScoreModel
    values : mapping of str to Tensor
        The batch shape is what their shapes broadcast to.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.unit_interval
    has_rsample = False

    def __init__(self, model: ScoreModel, values: Values, *, validate_args: bool | None = None) -> None:
        self.model = model
        self.values = {name: as_tensor(value) for name, value in values.items()}
        batch_shape = torch.broadcast_shapes(*(value.shape for value in self.values.values()))
        super().__init__(batch_shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> ScoreLaw:
        """Expand to ``batch_shape``. The values stay as they are, so that what depends on them only is computed once."""
        new = self._get_checked_instance(ScoreLaw, _instance)
        new.model, new.values = self.model, self.values
        super(ScoreLaw, new).__init__(torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of ``value``, of the shape that it and the batch shape broadcast to."""
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape, self.batch_shape)
        return self.model.log_prob(value.unsqueeze(-1), self.values).squeeze(-1).expand(shape)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw scores with torch's global generator."""
        values = {name: value.expand(self.batch_shape) for name, value in self.values.items()}
        with torch.no_grad():
            return self.model.sample(values, tuple(sample_shape))


def as_tensor(value: Any) -> Tensor:
    """Return ``value`` as a float64 tensor, with its gradient if it has one."""
    return torch.as_tensor(value, dtype=torch.float64)


def numpy_generator(generator: torch.Generator | None) -> np.random.Generator:
    """Return a generator of numpy's, seeded from torch's: for laws that torch cannot draw from with a generator."""
    return np.random.default_rng(int(torch.randint(2**63 - 1, (), generator=generator)))


def validate_scores(scores: Any) -> Tensor:
    """Check scores and return them as a float64 tensor of shape (n,), which may be empty.

    Scores of exactly 0 and 1 are legal for every model.

    Raises
    ------
    TypeError
        If they are not numbers.
    ValueError
        If they are not one-dimensional, or one of them is NaN or outside [0, 1].
    """
    if not isinstance(scores, Tensor):
        array = np.asarray(scores)  # of Python floats torch would make float32
        if array.dtype.kind not in "fiu":
            raise TypeError(f"expected scores to be a sequence of numbers, got {scores!r}")
        scores = torch.from_numpy(array.astype(np.float64))
    if scores.dtype is torch.bool or scores.is_complex():
        raise TypeError(f"expected scores to be real numbers, got {scores.dtype}")
    checked = scores.detach().to("cpu", torch.float64)
    if checked.ndim != 1:
        raise ValueError(f"expected scores of shape (n,), got {tuple(checked.shape)}")
    wrong = ~((checked >= 0) & (checked <= 1))
    if wrong.any():
        position = int(wrong.nonzero()[0])
        raise ValueError(f"expected scores between 0 and 1, got {checked[position].item()} at position {position}")
    return checked
