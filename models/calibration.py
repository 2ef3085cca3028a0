r"""Calibration of a PRM: monotone maps of score logits after which scores mean probabilities, as Pyro programs.

A label says whether a prefix was right: 1 or 0, or the share of ``counts`` labels that said so. A map :math:`g_\theta` is
right if the share :math:`\sigma(g_\theta(l))` of the prefixes with logit :math:`l` are. All maps are increasing, so they
change no ranking and no AUC. They work on logits, in float64, from which no precision is lost however near a score is to 0
or 1, and they leave scores of exactly 0 and 1 where they are.

Every parameter is an unconstrained real number with a normal prior, and every prior is centred on the identity: without
labels scores are left as they are. The maps themselves are in :mod:`ppl_scaling.models.calibration_maps`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ppl_scaling.models.labels import LabelShare, check_labels
from ppl_scaling.models.scores.prior import Prior, Values

__all__ = ["Calibration"]


class Calibration(ABC):
    """Base of the maps. A new one sets ``name``, ``default_prior`` (with the reason in its docstring) and :meth:`transform`.

    Called, it is the Pyro program of labels: a site for each parameter, then ``label`` in the plate ``prefix``.

    Parameters
    ----------
    prior : Prior, optional
        Of this map's parameters.

    Raises
    ------
    TypeError
        If ``prior`` is no :class:`~ppl_scaling.models.scores.Prior`.
    ValueError
        If it is one of other parameters.
    """

    name: ClassVar[str]

    def __init__(self, prior: Prior | None = None) -> None:
        default = self.default_prior
        if prior is None:
            prior = default
        if not isinstance(prior, Prior):
            raise TypeError(f"expected prior to be a Prior, got {type(prior).__name__}")
        if set(prior.location) != set(default.location):
            raise ValueError(
                f"expected a prior of {', '.join(default.location)} for {type(self).__name__}, got one of "
                f"{', '.join(prior.location)}"
            )
        self.prior = prior

    def __repr__(self) -> str:
        given = [f"{name}={value!r}" for name, value in self.settings.items()]
        if self.prior != self.default_prior:
            given.append(f"prior={self.prior!r}")
        return f"{type(self).__name__}({', '.join(given)})"

    @property
    @abstractmethod
    def default_prior(self) -> Prior:
        """The prior that is taken if none is given."""

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of the constructor beside the prior, as they stand in JSON."""
        return {}

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return tuple(self.default_prior.location)

    @abstractmethod
    def transform(self, score_logits: Tensor, values: Values) -> Tensor:
        """Map logits; increasing, differentiable in the values, and infinite where the logits are.

        Parameters
        ----------
        score_logits : Tensor, shape (...)
            float64.
        values : mapping of str to Tensor, shape (...)
            The shapes broadcast.

        Returns
        -------
        Tensor, shape (...)
        """

    def __call__(self, score_logits: ArrayLike | Tensor, labels: Any = None, counts: Any = None) -> Tensor:
        """Run the Pyro program.

        Parameters
        ----------
        score_logits : array, shape (n,)
        labels : array, shape (n,), optional
            Without them labels are drawn.
        counts : array, shape (n,), or float, optional
            How many labels each of them stands for; default 1.

        Returns
        -------
        Tensor, shape (n,)
            The labels, observed or drawn.
        """
        logits, observed, number = check_labels(score_logits, labels, counts)
        prior = self.prior
        values = {
            name: pyro.sample(name, dist.Normal(_number(prior.location[name]), _number(prior.scale[name])))
            for name in self.parameters
        }
        with pyro.plate("prefix", len(logits)):
            return pyro.sample("label", LabelShare(self.transform(logits, values), number), obs=observed)

    def to_dict(self) -> dict[str, Any]:
        """Return what :func:`~ppl_scaling.models.calibration_maps.calibration_from` makes the map from."""
        prior = {"location": dict(self.prior.location), "scale": dict(self.prior.scale)}
        return {"name": self.name, "settings": self.settings, "prior": prior}


def _number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)
