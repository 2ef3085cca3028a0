r"""A particle filter that moves the pasts of its particles after every resampling.

Target
------
The particle filter's. Resampling makes copies, and copies share their past; a kernel that leaves the present target
:math:`p(x_{1:t} \mid c, y_{1:t} = 1)` invariant makes them different again without changing what they represent. The kernel
is cut-and-regrow (:mod:`ppl_scaling.inference.moves`) up to the present step, so that a mistake of an early step, which the
filter can only outvote, is mended. Weights and evidence are those of the filter, and stay unbiased.

Cost
----
For each resampling, each of ``num_moves`` moves forwards every trajectory so far and draws about half of it again; then the
particles are replayed once more, all those in the batch, to have their caches: about ``(num_moves + 1) t`` steps forwarded
and ``num_moves t / 2`` steps drawn per particle at step ``t``. A resampling at every step so costs of the order of ``T``
times the filter; a low ``ess_threshold`` is advisable.

References
----------
Gilks and Berzuini (2001), Following a moving target: Monte Carlo inference for dynamic Bayesian models, JRSS B 63.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppl_scaling import host
from ppl_scaling.arguments import check_integer
from ppl_scaling.errors import AllWeightsZeroError, PPLScalingError
from ppl_scaling.inference.genealogy import Genealogy
from ppl_scaling.inference.group_view import Costs, read_group
from ppl_scaling.inference.method import OnStep, Progress
from ppl_scaling.inference.moves import NoAnswers, Population, check_latents, cut_and_regrow
from ppl_scaling.inference.particle_filter import ParticleFilter
from ppl_scaling.inference.particle_summary import settled, summary
from ppl_scaling.inference.results import ParticleFilterResult, Result, finite
from ppl_scaling.inference.smc_filter import SMCFilter
from ppl_scaling.log_weights import log_mean_exp, normalize, too_unequal
from ppl_scaling.models.proposals import GivenSteps

__all__ = ["ResampleMoveFilter", "ResampleMoveResult"]


@dataclass(frozen=True, eq=False, repr=False)
class ResampleMoveResult(ParticleFilterResult):
    """Posterior of a particle filter with moves.

    Attributes
    ----------
    acceptance : float array, shape (T,)
        Share of the moves at the beginning of each step that were accepted; NaN where there were none.
    """

    acceptance: NDArray[np.float64]

    def _details(self) -> dict[str, Any]:
        rates = [finite(rate) for rate in self.acceptance.tolist()]
        return {**super()._details(), "acceptance": rates}


class ResampleMoveFilter(ParticleFilter):
    """A particle filter with cut-and-regrow moves; see the module for target, cost and references.

    Parameters
    ----------
    model : LanguageModelStateSpace
        Its only latent sites are the token blocks.
    proposal : object with a method ``law``, optional
    num_moves : int, default 1
        After each resampling.
    **settings
        Of :class:`~ppl_scaling.inference.particle_filter.ParticleFilter`.

    Raises
    ------
    ValueError, TypeError
        If a setting is out of its range, or the model has other latents.
    """

    method: ClassVar[str] = "resample-move particle filter"

    def __init__(self, model: Any, proposal: Any | None = None, *, num_moves: int = 1, **settings: Any) -> None:
        self.num_moves = check_integer("num_moves", num_moves, 0)
        super().__init__(model, proposal, **settings)

    @property
    def configuration(self) -> dict[str, Any]:
        """Settings of model and method, for the record of a result."""
        return {**super().configuration, "num_moves": self.num_moves}

    def _infer(self, problems: Sequence[str], seed: int, on_step: OnStep | None) -> list[Result | PPLScalingError]:
        lanes = [_Lane(problem, place) for place, problem in enumerate(problems)]
        try:
            batch = self._replay(lanes, {}, 0)
            for t in range(1, self.model.max_steps + 1):
                if t > 1:
                    batch = self._rejuvenate(batch, t - 1)
                try:
                    batch.smc.step(t)
                finally:
                    batch.note_failures()
                self._note(batch, t, on_step)
                self._part(batch)
                if all(lane.outcome is not None for lane in lanes):
                    break
        except PPLScalingError:
            if any(lane.outcome is None for lane in lanes):
                raise
        return [self._lane_outcome(lane, seed) for lane in lanes]

    def _replay(self, lanes: list[_Lane], given: dict[int, dict[int, Any]], t: int) -> _Batch:
        """Open a filter, which never resamples by itself, and take it through ``t`` known steps."""
        guide = GivenSteps(self.model, given, self.proposal) if given else self.proposal
        smc = SMCFilter(self.model, guide, self.num_particles, num_groups=len(lanes), ess_threshold=0.5 / self.num_particles)
        batch = _Batch(smc, lanes, given)
        try:
            smc.init([lane.problem for lane in lanes])
            for s in range(1, t + 1):
                smc.step(s)
        finally:
            batch.note_failures()
        return batch

    def _rejuvenate(self, batch: _Batch, t: int) -> _Batch:
        """Resample the groups that need it and move their particles; the batch that goes on from step ``t``."""
        log_weights = batch.smc.log_weights
        resampled = host.as_list(too_unequal(log_weights, self.ess_threshold))
        lanes = batch.present()
        for lane, resamples in zip(lanes, resampled, strict=True):
            lane.resampled.append(resamples)
            lane.acceptance.append(math.nan)
            lane.ancestors.append(np.arange(self.num_particles))
        if not any(resampled):
            return batch
        populations = [batch.leave(lane) for lane in lanes]
        before = batch.smc.log_evidence - log_mean_exp(log_weights)
        carried = log_weights.clone()
        for position, lane in enumerate(lanes):
            if resampled[position]:
                drawn = self.resampling(normalize(log_weights[position : position + 1]))[0].cpu().numpy()
                lane.ancestors[-1] = drawn
                populations[position] = populations[position][drawn]
                before[position] += log_mean_exp(log_weights[position])
                carried[position] = 0.0
        self._move(lanes, populations, [p for p, resamples in enumerate(resampled) if resamples], t)
        given = {
            group: {i: one.token_blocks for i, one in enumerate(population.trajectories)}
            for group, population in enumerate(populations)
        }
        after = self._replay(lanes, given, t)
        after.offsets = after.smc.log_weights - carried
        after.smc.reweigh(carried, before)
        return after

    def _move(self, lanes: list[_Lane], populations: list[Population], positions: list[int], t: int) -> None:
        shares = []
        for _ in range(self.num_moves):
            moved, accepted, costs = cut_and_regrow(
                self.model, self.proposal, [populations[p] for p in positions], [1.0] * len(positions), num_steps=t
            )
            for p, population, cost in zip(positions, moved, costs, strict=True):
                populations[p] = population
                lanes[p].costs += cost
            shares.append([one.mean() for one in accepted])
        if shares:
            for p, share in zip(positions, np.mean(shares, axis=0), strict=True):
                lanes[p].acceptance[-1] = float(share)

    def _note(self, batch: _Batch, t: int, on_step: OnStep | None) -> None:
        record = batch.smc.history[-1]
        sizes = host.as_list(record.ess)
        for position, (group, size) in enumerate(zip(record.groups, sizes, strict=True)):
            lane = batch.lanes[group]
            lane.ess.append(size)
            lane.log_weights_by_step.append(record.log_weights[position].cpu().numpy())
            lane.log_evidences.append(float(record.log_evidence[position]))
            if t == 1:
                lane.resampled.append(False)
                lane.acceptance.append(math.nan)
                lane.ancestors.append(np.arange(self.num_particles))
        if on_step is not None:
            resampled = tuple(batch.lanes[group].resampled[-1] for group in record.groups)
            on_step(Progress(t, host.count(~batch.ended()), tuple(sizes), resampled))

    def _part(self, batch: _Batch) -> None:
        """Let groups that have ended leave the batch."""
        done = batch.ended().view(-1, self.num_particles).all(-1)
        for lane, is_done, log_weights, log_evidence in zip(
            batch.present(), host.as_list(done), batch.smc.log_weights, batch.smc.log_evidence, strict=True
        ):
            if is_done:
                lane.outcome = replace(batch.leave(lane), log_weights=log_weights.cpu().numpy())
                lane.log_evidence = float(log_evidence)
        if host.is_true(done.any()) and not host.is_true(done.all()):
            batch.smc.retire(done)

    def _lane_outcome(self, lane: _Lane, seed: int) -> Result | PPLScalingError:
        if isinstance(lane.outcome, PPLScalingError):
            return lane.outcome
        assert lane.outcome is not None
        log_weights = lane.outcome.log_weights
        genealogy = Genealogy(np.stack(lane.ancestors), np.array(lane.resampled), self.num_particles)
        trajectories = settled(lane.outcome.trajectories, log_weights, self.answer_format)
        return ResampleMoveResult(
            **summary(self, lane.problem, trajectories, genealogy, log_weights, lane.costs, seed),
            log_evidence=lane.log_evidence,
            ess=np.array(lane.ess),
            acceptance=np.array(lane.acceptance),
            log_weights_by_step=np.stack(lane.log_weights_by_step),
            log_evidence_by_step=np.array(lane.log_evidences),
        )


@dataclass(eq=False)
class _Lane:
    """What is known of one problem: its steps so far, and in the end its weighted trajectories or its failure."""

    problem: str
    place: int
    costs: Costs = field(default_factory=Costs)
    ess: list[float] = field(default_factory=list)
    ancestors: list[NDArray[np.int64]] = field(default_factory=list)
    resampled: list[bool] = field(default_factory=list)
    acceptance: list[float] = field(default_factory=list)
    log_weights_by_step: list[NDArray[np.float64]] = field(default_factory=list)
    log_evidences: list[float] = field(default_factory=list)
    log_evidence: float = math.nan
    outcome: Population | PPLScalingError | None = None


@dataclass(eq=False)
class _Batch:
    """A filter between two resamplings.

    ``offsets``, one row for each lane, is what its weights lack to those of whole trajectories; None if that is nothing.
    """

    smc: SMCFilter
    lanes: list[_Lane]
    given: dict[int, dict[int, Any]]
    offsets: Tensor | None = None

    def present(self) -> list[_Lane]:
        """Lanes of the groups in the batch, in their order."""
        return [self.lanes[group] for group in self.smc.groups]

    def ended(self) -> Tensor:
        """Say which particles have ended."""
        ended = self.smc.state.ended()
        if ended is None:
            raise TypeError("expected the model to keep 'finished' and 'truncated' in its state, got neither")
        return ended

    def leave(self, lane: _Lane) -> Population:
        """Read back what a group has written, and charge its lane for it."""
        group = self.lanes.index(lane)
        position = self.smc.groups.index(group)
        view, cost = read_group(self.smc, group, self.given.get(group))
        check_latents(view)
        lane.costs += cost
        log_weights = self.smc.log_weights[position]
        offsets = torch.zeros_like(log_weights) if self.offsets is None else self.offsets[group]
        whole = torch.where(log_weights == -math.inf, log_weights, log_weights + offsets)
        uniform = np.full(self.smc.group_size, 1 / self.smc.group_size)
        return Population(lane.problem, view.trajectories(uniform, NoAnswers()), whole.cpu().numpy())

    def note_failures(self) -> None:
        """Tell the lanes of groups that have died."""
        for group, error in self.smc.failures.items():
            lane = self.lanes[group]
            if lane.outcome is None:
                lane.outcome = AllWeightsZeroError(error.step, lane.place, error.site)
