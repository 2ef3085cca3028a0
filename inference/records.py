"""What a filter remembers of each step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

__all__ = ["StepRecord", "latent_name"]


def latent_name(name: str, t: int) -> str:
    """Name of a latent site of step ``t`` among those of a whole run: it ends in ``_{t}``, except for ``init``."""
    return name if t == 0 or name.endswith(f"_{t}") else f"{name}_{t}"


@dataclass(frozen=True, eq=False)
class StepRecord:
    """What happened in one step, for the groups that took part in it.

    Attributes
    ----------
    t : int
        0 is ``init``.
    groups : tuple of int
        Which groups the rows below belong to.
    ancestors : Tensor, shape (G, N)
        The particle of step ``t - 1`` that each particle continues, as a position within the group.
    resampled : Tensor, shape (G,), bool
        Whether the group was resampled before this step.
    log_weights : Tensor, shape (G, N)
        After the step, since the last resampling; not normalised.
    ess : Tensor, shape (G,)
        Effective sample size after the step.
    log_evidence : Tensor, shape (G,)
        Of all steps so far.
    sites : mapping of str to Tensor
        Latent and deterministic sites, with ``G * N`` as leading dimension, by the names that the program gives them.
    finished, truncated : Tensor, shape (G, N), or None
        Entries of the state after the step.
    """

    t: int
    groups: tuple[int, ...]
    ancestors: Tensor
    resampled: Tensor
    log_weights: Tensor
    ess: Tensor
    log_evidence: Tensor
    sites: Mapping[str, Tensor]
    finished: Tensor | None
    truncated: Tensor | None
