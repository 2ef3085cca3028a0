"""What a Markov chain over trajectories returns: its draws, and averages over its weighted particles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppl_scaling.inference.answers import Answer, group_answers
from ppl_scaling.inference.autocorrelation import standard_error_of_mean
from ppl_scaling.inference.results import Result, Trajectory, finite
from ppl_scaling.inference.sweeps import Sweep
from ppl_scaling.interfaces import AnswerFormat

__all__ = ["ParallelTemperingResult", "ParticleGibbsResult", "average_answers", "pooled", "update_rate"]


@dataclass(frozen=True, eq=False, repr=False)
class ParticleGibbsResult(Result):
    """A chain of I iterations for one problem; replicates of a problem are chains of the same length.

    ``answers`` averages over the weighted particles of all iterations after the burn-in, which is less noisy than counting
    draws; standard errors come from the autocorrelation between iterations, and are NaN if there are too few of them.
    ``trajectories`` holds these particles, their ``weight`` divided by the number of iterations.

    Attributes
    ----------
    draws : tuple of Trajectory, length I
        Where the chain stood after each iteration.
    log_likelihoods : float array, shape (I,)
        Of the draws.
    answer_weights : float array, shape (I, A)
        Weight of each of the ``answers``, in their order, in each iteration.
    log_evidence : float
        Estimate of the first iteration, a plain particle filter: unbiased.
    log_evidences : float array, shape (I,)
        Of every iteration. From the second on, once the chain is stationary, the mean of ``exp(-log_evidence)`` is the
        reciprocal of the evidence times the probability that not all particles of a plain filter die.
    update_rate : float array, shape (T,)
        How often step ``t`` of the draw differs from that of the draw before: near 0 for early steps if all lineages meet in
        the reference. NaN if there is one iteration only.
    num_particles, num_iterations, burn_in : int
    """

    draws: tuple[Trajectory, ...]
    log_likelihoods: NDArray[np.float64]
    answer_weights: NDArray[np.float64]
    log_evidence: float
    log_evidences: NDArray[np.float64]
    update_rate: NDArray[np.float64]
    num_particles: int
    num_iterations: int
    burn_in: int

    @property
    def log_evidence_of_chain(self) -> float:
        """Estimate from all iterations after the first and the burn-in; NaN if there are none.

        Minus the logarithm of the mean reciprocal. It is meant for models in which some particle always survives: otherwise
        it tends to the evidence divided by the probability of that.
        """
        later = self.log_evidences[max(self.burn_in, 1) :]
        return float(np.log(len(later)) - np.logaddexp.reduce(-later)) if len(later) else float("nan")

    def _facts(self) -> dict[str, str]:
        return {
            "log_evidence": f"{self.log_evidence:.3f}",
            "num_particles": f"{self.num_particles}",
            "num_iterations": f"{self.num_iterations}",
            "burn_in": f"{self.burn_in}",
        }

    def _details(self) -> dict[str, Any]:
        return {
            "log_evidence": finite(self.log_evidence),
            "log_evidences": _finite(self.log_evidences),
            "log_likelihoods": _finite(self.log_likelihoods),
            "draws": [one.answer for one in self.draws],
            "update_rate": _finite(self.update_rate),
            "num_particles": self.num_particles,
            "num_iterations": self.num_iterations,
            "burn_in": self.burn_in,
        }


@dataclass(frozen=True, eq=False, repr=False)
class ParallelTemperingResult(ParticleGibbsResult):
    """The chain of the first level, the target; tokens are those of all levels.

    Attributes
    ----------
    powers : tuple of float, length K
        Relative to the likelihood's own.
    swap_rates : float array, shape (K - 1,)
        Share of the proposed swaps between levels k and k + 1 that were accepted; NaN where none was proposed.
    swap_probabilities : float array, shape (K - 1,)
        Mean acceptance probability of these, which is less noisy.
    replicas : int array, shape (I, K)
        Which of the K walkers stands on each level after each iteration. Walkers begin on the level of their number.
    round_trips : int
        How often walkers went from the first level to the last and back.
    """

    powers: tuple[float, ...]
    swap_rates: NDArray[np.float64]
    swap_probabilities: NDArray[np.float64]
    replicas: NDArray[np.int64]
    round_trips: int

    @property
    def occupancy(self) -> NDArray[np.float64]:
        """Share of the iterations that each walker (row) spent on each level (column), shape (K, K)."""
        levels = range(len(self.powers))
        return np.array([[np.mean(self.replicas[:, level] == walker) for level in levels] for walker in levels])

    def _facts(self) -> dict[str, str]:
        powers = ", ".join(f"{power:g}" for power in self.powers)
        return {**super()._facts(), "powers": f"({powers})", "round_trips": f"{self.round_trips}"}

    def _details(self) -> dict[str, Any]:
        return {
            **super()._details(),
            "powers": list(self.powers),
            "swap_rates": _finite(self.swap_rates),
            "round_trips": self.round_trips,
        }


def average_answers(
    sweeps: Sequence[Sweep], burn_in: int, answer_format: AnswerFormat
) -> tuple[tuple[Answer, ...], NDArray[np.float64]]:
    """Average the answers' weights over sweeps.

    Returns
    -------
    answers : tuple of Answer
        Most probable first.
    weights : float array, shape (I, A)
        Of each of them in each sweep, the burn-in included.
    """
    found = [one.answer for sweep in sweeps for one in sweep.trajectories]
    numbers = group_answers(found, answer_format)
    size = 1 + max((number for number in numbers if number is not None), default=-1)
    table = np.zeros((len(sweeps), size))
    spokesmen: list[tuple[float, str]] = [(-1.0, "")] * size
    place = 0
    for row, sweep in enumerate(sweeps):
        for one in sweep.trajectories:
            number = numbers[place]
            place += 1
            if number is not None and one.answer is not None:
                table[row, number] += one.weight
                spokesmen[number] = max(spokesmen[number], (one.weight, one.answer), key=lambda entry: entry[0])
    means = table[burn_in:].mean(0)
    order = [number for number in np.argsort(-means, kind="stable") if means[number] > 0]
    answers = tuple(
        Answer(spokesmen[number][1], float(means[number]), standard_error_of_mean(table[burn_in:, number]))
        for number in order
    )
    return answers, table[:, order]


def pooled(sweeps: Sequence[Sweep]) -> tuple[Trajectory, ...]:
    """Particles of all sweeps, with weights that sum to one together."""
    return tuple(replace(one, weight=one.weight / len(sweeps)) for sweep in sweeps for one in sweep.trajectories)


def update_rate(draws: Sequence[Trajectory]) -> NDArray[np.float64]:
    """How often each step differs from that of the draw before, shape (T,)."""
    longest = max(len(one.token_blocks) for one in draws)
    if len(draws) < 2:
        return np.full(longest, np.nan)
    steps = [[*one.token_blocks, *[()] * (longest - len(one.token_blocks))] for one in draws]
    changes = [[new != old for new, old in zip(after, before, strict=True)] for before, after in pairwise(steps)]
    return np.mean(changes, axis=0)


def _finite(numbers: NDArray[np.float64]) -> list[float | None]:
    return [finite(number) for number in numbers.tolist()]
