"""The density of a hierarchy over problems as one function of one vector, for samplers that ask for it often.

Pyro's handlers cost a fixed time at each site of a program, and a hierarchy has four sites for each parameter: with
sufficient statistics most of the time of a gradient goes there. This is the same density without them; the tests hold it
against the program's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ppl_scaling.models.scores.base import as_tensor
from ppl_scaling.models.scores.hierarchy import HierarchicalScores, log_likelihood

__all__ = ["HierarchicalPotential"]

_LOG_TWO_PI = math.log(2 * math.pi)


class HierarchicalPotential:
    """Minus the log-density of a :class:`~ppl_scaling.models.scores.hierarchy.HierarchicalScores` given scores.

    It is a ``potential_fn`` as Pyro's HMC and NUTS take it, over one unconstrained vector named "state": the means of the
    parameters, the logarithms of the spreads (with their Jacobian), the weights, and the latents. Multiple chains in
    processes of their own can use it: it can be pickled.

    Parameters
    ----------
    hierarchy : HierarchicalScores
    scores, mask, features, correct
        As the program takes them.

    Attributes
    ----------
    size : int
        Length of the vector.

    Examples
    --------
    >>> from pyro.infer import MCMC, NUTS
    >>> from ppl_scaling.models.scores import LogitNormalScores
    >>> hierarchy = HierarchicalScores(LogitNormalScores())
    >>> potential = HierarchicalPotential(hierarchy, torch.rand(5, 4, dtype=torch.float64))
    >>> kernel, start = NUTS(potential_fn=potential), potential.initial()
    >>> mcmc = MCMC(kernel, 2, warmup_steps=2, initial_params=start, disable_progbar=True)
    >>> mcmc.run()
    >>> potential.sites(mcmc.get_samples())["location"].shape
    torch.Size([2, 5])
    """

    def __init__(
        self,
        hierarchy: HierarchicalScores,
        scores: Tensor,
        mask: Tensor | None = None,
        features: Tensor | None = None,
        *,
        correct: Tensor | None = None,
    ) -> None:
        model, self.hierarchy = hierarchy.model, hierarchy
        self.observed = hierarchy.observe(scores, mask, correct)
        lengths = self.observed.mask.sum(-1, dtype=torch.float64)
        self.features = hierarchy.check_features(features, len(lengths))
        self.centredness = torch.stack([hierarchy.centredness_of(name, lengths) for name in model.parameters])
        self.location = as_tensor([model.prior.location[name] for name in model.parameters])
        self.scale = as_tensor([model.prior.scale[name] for name in model.parameters])
        number = len(model.parameters)
        self.shapes = ((number,), (number,), (number, hierarchy.num_features), (number, len(lengths)))
        self.size = sum(math.prod(shape) for shape in self.shapes)

    def split(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return means, log-spreads, weights and latents of states of shape (..., size); one row for each parameter."""
        parts = state.split([math.prod(shape) for shape in self.shapes], dim=-1)
        means, log_spreads, weights, latents = (
            part.unflatten(-1, shape) for part, shape in zip(parts, self.shapes, strict=True)
        )
        return means, log_spreads, weights, latents

    def _values(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return values of the parameters, and latents less their centre with the logarithm of their scale."""
        means, log_spreads, weights, latents = self.split(state)
        location, log_spread = means.unsqueeze(-1), log_spreads.unsqueeze(-1)
        if self.features is not None:
            location = location + weights @ self.features.T
        offset, log_scale = latents - self.centredness * location, self.centredness * log_spread
        return location + (log_spread - log_scale).exp() * offset, offset, log_scale

    def __call__(self, params: Mapping[str, Tensor]) -> Tensor:
        """Return the potential energy of ``params["state"]``, shape (size,), which has all normalising constants."""
        state = params["state"]
        means, log_spreads, weights, latents = self.split(state)
        values, offset, log_scale = self._values(state)
        energy = 0.5 * ((means - self.location) / self.scale).square().sum()
        energy = energy + 0.5 * (log_spreads.exp() / self.scale).square().sum() - log_spreads.sum()
        energy = energy + 0.5 * (offset * (-log_scale).exp()).square().sum() + log_scale.sum()
        constants = (means.numel() + latents.numel()) * 0.5 * _LOG_TWO_PI + log_spreads.numel() * 0.5 * math.log(math.pi / 2)
        energy = energy + constants + 2 * self.scale.log().sum()
        if self.features is not None:
            scale = self.scale.unsqueeze(-1) / math.sqrt(self.hierarchy.num_features)
            energy = energy + 0.5 * (weights / scale).square().sum()
            energy = energy + self.hierarchy.num_features * scale.log().sum() + 0.5 * weights.numel() * _LOG_TWO_PI
        named = dict(zip(self.hierarchy.model.parameters, values.unbind(-2), strict=True))
        return energy - log_likelihood(self.hierarchy.model, self.observed, named).sum()

    def initial(self) -> dict[str, Tensor]:
        """Return a state to start from: every problem where the prior is, spreads at half the prior's scale."""
        latents = self.centredness * self.location.unsqueeze(-1)
        weights = torch.zeros(self.shapes[2], dtype=torch.float64)
        parts = (self.location, (0.5 * self.scale).log(), weights, latents)
        return {"state": torch.cat([part.flatten() for part in parts])}

    def sites(self, draws: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Turn draws of "state", shape (..., size), into draws of the program's sites, each of shape (..., *site)."""
        state = draws["state"]
        means, log_spreads, weights, latents = self.split(state)
        values = self._values(state)[0]
        sites = {}
        for row, name in enumerate(self.hierarchy.model.parameters):
            sites[f"{name}_mean"], sites[f"{name}_spread"] = means[..., row], log_spreads[..., row].exp()
            if self.features is not None:
                sites[f"{name}_weights"] = weights[..., row, :]
            sites[f"{name}_latent"], sites[name] = latents[..., row, :], values[..., row, :]
        return sites
