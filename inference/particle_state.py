"""What a filter keeps of its particles between steps.

This is the one file that touches the private names of Pyro's ``SMCState`` (1.9).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from pyro.infer.smcfilter import SMCState
from torch import Tensor

from ppl_scaling import host

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
        # Pyro's are float32 and on the default device; the filter moves ours to the model's as soon as it is known.
        self._log_weights = torch.zeros(num_groups * group_size, dtype=torch.float64)
        self.group_size = group_size
        self.groups = tuple(range(num_groups))
        self.sessions: dict[str, Any] = {}

    @property
    def num_groups(self) -> int:
        """Groups that are still in the batch."""
        return len(self.groups)

    @property
    def num_slots(self) -> int:
        """Particles in the batch, K: those of all groups together."""
        return self._num_particles

    @property
    def log_weights(self) -> Tensor:
        """Log-weights since the last resampling, shape (G, N), float64. Set them anew: records keep the old ones."""
        return self._log_weights.view(self.num_groups, self.group_size)

    @log_weights.setter
    def log_weights(self, log_weights: Tensor) -> None:
        self._log_weights = log_weights.flatten()

    def locked(self) -> AbstractContextManager[None]:
        """Refuse new values for a while: a guide may read the state only."""
        return self._lock()

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

    def keep(self, positions: Tensor) -> None:
        """Keep the groups that stand at ``positions``, shape (S,), and let the others go."""
        log_weights = self.log_weights[positions]
        self.groups = tuple(self.groups[position] for position in host.as_list(positions))
        self._move(positions[:, None], torch.arange(self.group_size, device=positions.device))
        self.log_weights = log_weights

    def resample(self, ancestors: Tensor) -> None:
        """Replace every particle by the one at ``ancestors`` in its group, shape (G, N); log-weights stay as they are."""
        self._move(torch.arange(len(ancestors), device=ancestors.device)[:, None], ancestors)

    def _move(self, groups: Tensor, particles: Tensor) -> None:
        index = (groups * self.group_size + particles).flatten()
        self._num_particles = len(index)
        for key in list(self):
            super().__setitem__(key, self[key][index])
