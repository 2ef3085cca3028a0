"""The cells of a sweep: which method, budget and seed, in which file, and which of them share completions."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppl_scaling.cli.methods import METHODS, MethodSpec
from ppl_scaling.cli.options import ModelOptions

if TYPE_CHECKING:
    from ppl_scaling.cli.models import Models
    from ppl_scaling.inference.evaluation import Evaluation, OnRecord
    from ppl_scaling.tasks import MathGrader

__all__ = ["Cell", "plan", "run_cells"]


@dataclass(frozen=True)
class Cell:
    """A method at a budget under a seed.

    Attributes
    ----------
    label : str
    budget : int
    seed : int
    spec : MethodSpec
        With the budget in it.
    pool : MethodSpec or None
        Draws the completions that the cell shares with others.
    """

    label: str
    budget: int
    seed: int
    spec: MethodSpec
    pool: MethodSpec | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What its results depend on, the models apart."""
        pool = None if self.pool is None else self._pool_name
        return {"method": self.spec.name, **self.spec.settings, "budget": self.budget, "pool": pool}

    def path(self, folder: Path) -> Path:
        """Name the file of its results."""
        slug = re.sub(r"[^A-Za-z0-9@._-]+", "_", self.label)
        if slug != self.label:  # two labels may look the same now
            slug += "-" + hashlib.sha256(self.label.encode()).hexdigest()[:8]
        name = f"budget-{self.budget:04d}-seed-{self.seed}.jsonl"
        # The numbers that are drawn depend on the size of the pool, so a larger sweep has other files.
        return folder / slug / name if self.pool is None else folder / slug / self._pool_name / name

    @property
    def _pool_name(self) -> str:
        assert self.pool is not None
        return f"pool-{self.pool.settings['num_completions']}" + "-scored" * _scored(self.pool)


def plan(
    specs: Sequence[MethodSpec], budgets: Sequence[int], seeds: Sequence[int], options: ModelOptions, *, share: bool
) -> tuple[list[list[Cell]], list[str]]:
    """Lay out a sweep.

    Returns
    -------
    groups : list of list of Cell
        Cells of a group run side by side; if it has more than one they share completions.
    notes : list of str
        Cells that cannot be, and why; and methods that the draft model is nothing to.

    Raises
    ------
    ValueError
        If a method fits none of the budgets.
    """
    alone: list[list[Cell]] = []
    sharing: dict[str, list[Cell]] = defaultdict(list)
    notes: list[str] = []
    for spec in specs:
        errors = []
        if options.draft is not None and not spec.takes_proposal:
            notes.append(f"{spec.label} takes no proposal: what it draws is the model's, not the draft's")
        sizes = budgets[:1] if spec.size is None else budgets
        for budget in sizes:
            try:
                fitted = spec.budgeted(budget)
                fitted.check(options)
            except ValueError as error:
                errors.append(f"{spec.label} at budget {budget} is left out: {error}")
                cause = error
                continue
            cells = [Cell(spec.label, 1 if spec.size is None else budget, seed, fitted) for seed in seeds]
            if share and _independent(spec):
                others = {name: value for name, value in fitted.settings.items() if name != "num_completions"}
                for cell in cells:
                    sharing[json.dumps([cell.seed, others], sort_keys=True)].append(cell)
            else:
                alone += [[cell] for cell in cells]
        if len(errors) == len(sizes):
            raise cause
        notes += errors
    return [_shared(cells) for cells in sharing.values()] + alone, notes


def _shared(cells: list[Cell]) -> list[Cell]:
    """Give the cells a pool that is large enough for all, with scores if one selects by them."""
    if len(cells) == 1:
        return cells
    drawing = max((cell.spec for cell in cells), key=_scored)
    largest = max(cell.spec.settings["num_completions"] for cell in cells)
    pool = replace(drawing, settings={**drawing.settings, "num_completions": largest})
    return [replace(cell, pool=pool) for cell in cells]


def _independent(spec: MethodSpec) -> bool:
    from ppl_scaling.inference.baselines import IndependentSampling

    return spec.size is not None and issubclass(METHODS[spec.name].load(), IndependentSampling)


def _scored(spec: MethodSpec) -> bool:
    return getattr(METHODS[spec.name].load(), "scored", False)


def run_cells(
    cells: Sequence[Cell],
    evaluations: Sequence[Evaluation],
    models: Callable[[], Models],
    grader: MathGrader,
    on_record: OnRecord,
) -> None:
    """Run what is missing in a group of cells, batch by batch side by side."""
    from ppl_scaling.inference.shared_completions import CompletionPool, PooledMethod

    if all(len(one.records) == one.total for one in evaluations):
        return
    methods: list[Any] = [cell.spec.build(models(), grader) for cell in cells]
    drawing: Any = cells[0].pool
    pool = None if drawing is None else CompletionPool(drawing.build(models(), grader))
    if pool is not None:
        methods = [PooledMethod(pool, one) for one in methods]
    rounds = [one.advance(method, grader.grade) for one, method in zip(evaluations, methods, strict=True)]
    for new in zip(*rounds, strict=True):
        for records in new:
            for record in records:
                on_record(record)
        if pool is not None:
            pool.forget()
