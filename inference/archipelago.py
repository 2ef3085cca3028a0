r"""Islands of particles that exchange: a particle filter whose groups consist of islands.

A group of :math:`I \cdot N` particles holds :math:`I` islands. Within an island particles are resampled as in a filter of
its own; and where the islands' mean weights differ too much, whole islands are resampled among each other. Both keep the
particles properly weighted: an island that is resampled alone carries its mean weight, islands that are exchanged carry the
mean of all.

Target
------
That of the particle filter. ``exp(log_evidence)`` is the mean of the islands' estimates, and unbiased; an island without a
possible particle counts with 0 until an exchange replaces it.

References
----------
Vergé, Dubarry, Del Moral and Moulines (2015), On parallel implementation of sequential Monte Carlo methods: the island
particle model, Statistics and Computing 25, arXiv 1306.3911; Whiteley, Lee and Heine (2016), On the role of interaction in
sequential Monte Carlo algorithms, Bernoulli 22 (adaptive interaction).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ppl_scaling.inference.smc_filter import SMCFilter
from ppl_scaling.log_weights import log_mean_exp, normalize, too_unequal

__all__ = ["IslandFilter"]


class IslandFilter(SMCFilter):
    """A filter of groups of islands.

    Parameters
    ----------
    *args, **settings
        Of :class:`~ppl_scaling.inference.smc_filter.SMCFilter`; ``ess_threshold`` is that within an island, and the number
        of particles that of all islands of a group.
    num_islands : int
        In each group.
    exchange_threshold : float
        Islands are resampled when the effective number of islands is below this fraction.

    Attributes
    ----------
    island_ancestors : list of (tuple of int, Tensor, Tensor)
        For each step the groups, the island that each island continues, shape (G, I), and whether there was an exchange,
        shape (G,).
    """

    def __init__(self, *args: Any, num_islands: int, exchange_threshold: float, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.num_islands = num_islands
        self.island_size = self.group_size // num_islands
        self.exchange_threshold = exchange_threshold

    def _start(self) -> None:
        super()._start()
        self.island_ancestors: list[tuple[tuple[int, ...], Tensor, Tensor]] = []

    def choose_ancestors(self) -> tuple[Tensor, Tensor]:
        """Resample islands among each other where need be, then particles within each."""
        log_weights = self.log_weights.view(-1, self.num_islands, self.island_size)
        island_log_weights = log_mean_exp(log_weights)
        exchanged = too_unequal(island_log_weights, self.exchange_threshold)
        islands = torch.arange(self.num_islands, device=log_weights.device).expand_as(island_log_weights)
        islands = torch.where(exchanged[:, None], self.resampling(normalize(island_log_weights)), islands)
        self.island_ancestors.append((self.groups, islands, exchanged))

        log_weights = log_weights.gather(1, islands[:, :, None].expand_as(log_weights))
        own = log_mean_exp(log_weights)
        alive = own > -math.inf
        poor = alive & too_unequal(log_weights, self.ess_threshold)
        # An island that is dead keeps its particles, and any weights will do to ask the scheme with.
        askable = torch.where(alive[:, :, None], log_weights, torch.zeros_like(log_weights))
        drawn = self.resampling(normalize(askable).flatten(0, 1)).view_as(log_weights)
        particles = torch.arange(self.island_size, device=log_weights.device).expand_as(log_weights)
        particles = torch.where(poor[:, :, None], drawn, particles)

        # Relative to the mean weight of the group, which goes into the evidence.
        overall = log_mean_exp(island_log_weights)[:, None]
        mean = torch.where(exchanged[:, None], torch.zeros_like(own), own - overall)
        within = torch.where(poor[:, :, None], torch.zeros_like(log_weights), log_weights - own[:, :, None])
        carried = torch.where(alive[:, :, None], mean[:, :, None] + within, torch.full_like(within, -math.inf))
        self._carried = carried.flatten(1)
        return (islands[:, :, None] * self.island_size + particles).flatten(1), exchanged | poor.any(-1)

    def carried_log_weights(self, ancestors: Tensor) -> Tensor:
        """Return each island's mean weight, relative to the group's."""
        return self._carried
