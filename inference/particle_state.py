"""What a filter keeps of its particles between steps."""

from __future__ import annotations

from typing import Any

import torch
from pyro.infer.smcfilter import SMCState
from torch import Tensor

__all__ = ["ParticleState"]


class ParticleState(SMCState):
    """What the program remembers of each particle: tensors whose leading dimension is the particle.

    Particles of one group are neighbours. A tensor without dimensions is spread over all particles, as when
    ``pyro.condition`` fixes a latent. Two boolean entries have a meaning for the filter: particles for which
    ``finished`` or ``truncated`` is true are absorbing, and their weights no longer change.

    Attributes
    ----------
    group_size : int
        Particles in each group.
    groups : tuple of int
        Which groups are still in the batch, by their number at the beginning.
    sessions : dict
        For what is no tensor and belongs to the run as a whole. It is neither resampled nor locked.
    """

    def __init__(self, num_groups: int, group_size: int) -> None:
        super().__init__(num_groups * group_size)
        self.group_size = group_size
        self.groups = tuple(range(num_groups))
        self.sessions: dict[str, Any] = {}

    @property
    def num_groups(self) -> int:
        """Groups that are still in the batch."""
        return self._num_particles // self.group_size

    def __setitem__(self, key: Any, value: Tensor) -> None:
        if isinstance(value, Tensor) and value.dim() == 0:
            value = value.expand(self._num_particles)
        super().__setitem__(key, value)

    def ended(self) -> Tensor | None:
        """Particles that are finished or truncated, shape (K,), or None if the program has no such entries."""
        flags = [self[key] for key in ("finished", "truncated") if key in self]
        for flag in flags:
            if flag.dtype != torch.bool:
                raise TypeError(f"expected state['finished'] and state['truncated'] to be bool, got {flag.dtype}")
        return torch.stack(flags).any(0) if flags else None

    def move(self, index: Tensor) -> None:
        """Replace every entry by its elements at ``index``, shape (K,)."""
        self._num_particles = len(index)
        for key in list(self):
            super().__setitem__(key, self[key][index])
