"""Independent normal priors of the parameters of a law of scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Prior", "Values"]

Values = Mapping[str, Tensor]
"""A tensor for each parameter; the tensors broadcast."""


@dataclass(frozen=True)
class Prior:
    """Independent normal priors of the unconstrained parameters.

    Parameters
    ----------
    location, scale : mapping of str to float
        Mean and standard deviation of each parameter.

    Raises
    ------
    ValueError
        If the two name different parameters, a location is not finite, or a scale is not positive and finite.

    Examples
    --------
    >>> prior = Prior({"location": 0.8}, {"location": 0.2})
    >>> prior.sample((3,), torch.Generator().manual_seed(0))["location"].shape
    torch.Size([3])
    """

    location: Mapping[str, float]
    scale: Mapping[str, float]

    def __post_init__(self) -> None:
        if set(self.location) != set(self.scale):
            raise ValueError(
                f"expected a location and a scale for the same parameters, got {sorted(self.location)} "
                f"and {sorted(self.scale)}"
            )
        for name, location in self.location.items():
            if not math.isfinite(location):
                raise ValueError(f"expected the prior location of {name!r} to be finite, got {location}")
            if not (math.isfinite(self.scale[name]) and self.scale[name] > 0):
                raise ValueError(f"expected the prior scale of {name!r} to be positive and finite, got {self.scale[name]}")

    def log_prob(self, values: Values) -> Tensor:
        """Log-density of ``values``, summed over the parameters; the shape is theirs."""
        total = torch.zeros((), dtype=torch.float64)
        for name, location in self.location.items():
            scale = self.scale[name]
            z = (values[name] - location) / scale
            total = total - 0.5 * z**2 - math.log(scale) - 0.5 * math.log(2 * math.pi)
        return total

    def sample(self, shape: tuple[int, ...] = (), generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Draw values of the parameters, in the order of ``location``."""
        return {
            name: location + self.scale[name] * torch.randn(shape, dtype=torch.float64, generator=generator)
            for name, location in self.location.items()
        }
