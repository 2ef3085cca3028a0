"""Where the particles of a genealogy stand in a picture, and what became of each.

Each generation is a column. Its particles are ordered by the place of the parent, so that no two lines cross. Among the
children of one parent, and in the first column, those that lead to the chosen answer stand first, then those that lead to
other answers, to none, and to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ppl_scaling.inference.annealed import AnnealedResult
from ppl_scaling.inference.results import ParticleFilterResult, Trajectory

__all__ = ["GenealogyLayout", "genealogy_layout", "lay_out"]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class GenealogyLayout:
    """A genealogy of T generations of N particles. Row ``t`` of each table is step ``t + 1``.

    Attributes
    ----------
    rank : int array, shape (T, N)
        Place of each particle in its column, 0 at the top.
    parents : int array, shape (T, N)
        Particle of the row before that each particle continues; in the first row -1.
    descendants : int array, shape (T, N)
        How many of the last row descend from each; 0 for a lineage that was dropped.
    heirs : int array, shape (T, N)
        The weightiest particle of the last row that descends from each; -1 if there is none.
    weights : float array, shape (T, N)
        Normalised within each row, before any resampling. NaN where they are not known.
    resampled : bool array, shape (T,)
        Whether the particles were resampled on the way into the row.
    active : bool array, shape (T, N)
        Whether the particle wrote something in the step. One that was dropped counts as active where no texts are known.
    favoured : bool array, shape (T, N)
        Whether some particle of the last row with the chosen answer descends from it.
    trajectories : tuple of Trajectory
        Of the last row; empty if there are none.
    along : str
        What a column is: ``"step"``, or ``"rung"`` of annealed SMC.
    """

    rank: Integers
    parents: Integers
    descendants: Integers
    heirs: Integers
    weights: Array
    resampled: NDArray[np.bool_]
    active: NDArray[np.bool_]
    favoured: NDArray[np.bool_]
    trajectories: tuple[Trajectory, ...] = ()
    along: str = "step"

    @property
    def num_steps(self) -> int:
        """T."""
        return len(self.rank)

    @property
    def num_particles(self) -> int:
        """N."""
        return self.rank.shape[1]

    @property
    def order(self) -> Integers:
        """Which particle stands at each place, shape (T, N)."""
        return np.argsort(self.rank, axis=1)

    @property
    def ends(self) -> NDArray[np.bool_]:
        """Where a particle wrote its last step, shape (T, N): the next row has none of its children at work."""
        at_work = np.zeros_like(self.active)
        for t in range(1, self.num_steps):
            np.logical_or.at(at_work[t - 1], self.parents[t], self.active[t])
        return self.active & ~at_work & (self.descendants > 0)


def lay_out(
    ancestors: ArrayLike,
    *,
    log_weights: ArrayLike | None = None,
    resampled: ArrayLike | None = None,
    trajectories: Sequence[Trajectory] = (),
    texts: Sequence[Sequence[str]] = (),
    answer: str | None = None,
    along: str = "step",
) -> GenealogyLayout:
    """Arrange a genealogy.

    Parameters
    ----------
    ancestors : int array, shape (T, N)
        As in :class:`~ppl_scaling.inference.results.ParticleFilterResult`: row ``t`` has the particle of generation ``t``
        that each particle of generation ``t + 1`` continues. The first generation has written nothing and is not drawn.
    log_weights : float array, shape (T, N), optional
        After each step.
    resampled : bool array, shape (T,), optional
        Default: where the ancestors are not each particle itself.
    trajectories : sequence of Trajectory, optional
        Of the last generation.
    texts : sequence of T sequences of N str, optional
        What each particle wrote in each step.
    answer : str, optional
        The chosen one.
    along : str

    Raises
    ------
    ValueError
        If the shapes do not fit, or an ancestor is no particle.
    """
    table = np.asarray(ancestors, dtype=np.int64)
    if table.ndim != 2 or 0 in table.shape:
        raise ValueError(f"expected ancestors of shape (T, N) with at least one step and particle, got {table.shape}")
    steps, size = table.shape
    if table.min() < 0 or table.max() >= size:
        raise ValueError(f"expected ancestors in 0 to {size - 1}, got {table.min()} to {table.max()}")
    weights = np.full(table.shape, np.nan) if log_weights is None else _normalized(log_weights, table.shape)
    moved = (table != np.arange(size)).any(1) if resampled is None else np.asarray(resampled, dtype=bool)
    if moved.shape != (steps,):
        raise ValueError(f"expected resampled of shape ({steps},), got {moved.shape}")
    if trajectories and len(trajectories) != size:
        raise ValueError(f"expected {size} trajectories, one for each particle, got {len(trajectories)}")
    descendants, favoured, heirs = _backwards(table, weights[-1], trajectories, answer)
    numbers = _numbers(trajectories, weights[-1], answer, size)
    leads_to = np.where(heirs < 0, numbers.max() + 1, numbers[heirs])
    lengths = np.array(
        [len(one.token_blocks) for one in trajectories] if trajectories and along == "step" else [steps] * size
    )
    active = (heirs < 0) | (np.arange(steps)[:, None] < lengths[heirs])
    if texts:
        written = np.array([[bool(text) for text in row] for row in texts])
        if written.shape != table.shape:
            raise ValueError(f"expected texts of shape {table.shape}, got {written.shape}")
        active &= written | (descendants > 0)
    rank = np.empty_like(table)
    keys: Integers = np.zeros(size, dtype=np.int64) if (table[0] == np.arange(size)).all() else table[0]
    for t in range(steps):
        order = np.lexsort((np.arange(size), -descendants[t], leads_to[t], keys))
        rank[t, order] = np.arange(size)
        if t + 1 < steps:
            keys = rank[t, table[t + 1]]
    parents = table.copy()
    parents[0] = -1
    return GenealogyLayout(rank, parents, descendants, heirs, weights, moved, active, favoured, tuple(trajectories), along)


def genealogy_layout(result: ParticleFilterResult) -> GenealogyLayout:
    """Arrange the genealogy of a result."""
    along = "rung" if isinstance(result, AnnealedResult) else "step"
    return lay_out(
        result.ancestors,
        log_weights=result.log_weights_by_step,
        resampled=result.resampled,
        trajectories=result.trajectories,
        texts=result.texts_by_step,
        answer=result.answer,
        along=along,
    )


def _normalized(log_weights: ArrayLike, shape: tuple[int, ...]) -> Array:
    values = np.asarray(log_weights, dtype=np.float64)
    if values.shape != shape:
        raise ValueError(f"expected log_weights of shape {shape}, got {values.shape}")
    with np.errstate(invalid="ignore"):
        return np.exp(values - np.logaddexp.reduce(values, axis=1, keepdims=True))


def _backwards(
    table: Integers, last_weights: Array, trajectories: Sequence[Trajectory], answer: str | None
) -> tuple[Integers, NDArray[np.bool_], Integers]:
    """From the last row back: how many descend from each particle, which lead to the answer, and who is the heir of each."""
    steps, size = table.shape
    descendants, heirs = np.zeros(table.shape, dtype=np.int64), np.full(table.shape, -1, dtype=np.int64)
    favoured = np.zeros(table.shape, dtype=bool)
    by_weight = np.argsort(np.nan_to_num(last_weights), kind="stable")
    chosen = np.array([one.answer is not None and one.answer == answer for one in trajectories] or [False] * size)
    slots = np.arange(size)
    for t in range(steps - 1, -1, -1):
        np.add.at(descendants[t], slots, 1)
        np.logical_or.at(favoured[t], slots, chosen)
        heirs[t, slots[by_weight]] = by_weight  # the weightiest comes last, and stays
        slots = table[t, slots]
    return descendants, favoured, heirs


def _numbers(trajectories: Sequence[Trajectory], weights: Array, answer: str | None, size: int) -> Integers:
    """Give a number to the answer of each particle of the last row."""
    if not trajectories:
        return np.zeros(size, dtype=np.int64)
    totals: dict[str | None, float] = {}
    for one, weight in zip(trajectories, np.nan_to_num(weights), strict=True):
        totals[one.answer] = totals.get(one.answer, 0.0) + float(weight)
    names = sorted(totals, key=lambda name: (name is None, name != answer, -totals[name]))
    return np.array([names.index(one.answer) for one in trajectories], dtype=np.int64)
