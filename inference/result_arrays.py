"""Results as named arrays, and with them to ArviZ: groups, dimensions, padding, and what becomes of the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppl_scaling.arviz_export import Variables, build
from ppl_scaling.inference.chain_results import ParticleGibbsResult
from ppl_scaling.inference.pooling import IslandsResult
from ppl_scaling.inference.result_groups import markov_groups, particle_groups
from ppl_scaling.inference.results import Result
from ppl_scaling.interfaces import AnswerFormat
from ppl_scaling.tasks.grading import shared_grader

__all__ = ["arrays", "to_arviz"]

_WEIGHTS = ("resample", "keep")


def to_arviz(
    results: Sequence[Result],
    *,
    weights: str = "resample",
    seed: int | None = None,
    answer_format: AnswerFormat | None = None,
) -> Any:
    r"""Give results of one problem to ArviZ, each as a chain.

    Dimensions: ``chain`` is the replicate (one for each result, or for each replicate of pooled islands), ``draw`` a
    weighted trajectory, or an iteration of a Markov chain after its burn-in, ``step`` a reasoning step, from 1,
    ``particle`` a slot of the filter, ``rung`` one of annealed SMC, ``answer_code`` an answer, the most probable first.

    ======================= ====================================================================================
    ``posterior``           ``answer``, its code, -1 for none; ``answer_indicator``, 1 for the answer that the draw has: its
                            mean is the posterior probability, and R-hat and ESS are to be asked of it, not of the code;
                            ``num_steps``, ``num_tokens``, ``score``, ``finished``, ``truncated``, ``step_score``, and the
                            latent sites. Of Markov chains also ``total_log_likelihood`` and ``answer_weights``, which is
                            what the iteration's particles together give each answer.
    ``log_likelihood``      ``y``, of each step, before any power
    ``sample_stats``        ``particle_of_draw``, which particle a draw is, and ``log_weights``, of draws; by particle or
                            step ``ess``, ``ancestors``, ``resampled``, ``log_evidence_increments``,
                            ``log_weights_by_step``, ``particle_log_weights``; by chain ``log_evidence`` with its standard
                            error, of Markov chains that of each iteration; rates of exchange and acceptance
    ``observed_data``       ``y``, 1 for every step
    ``constant_data``       ``problem``, ``method``, ``configuration`` as JSON, ``answer_text`` by code, ``text`` by particle
    ======================= ====================================================================================

    Weights. ArviZ gives all draws the same weight: its means, intervals and pictures are wrong for draws that have others.
    So by default trajectories are resampled, systematically and in random order, as many as there are: copies are the
    price, ``particle_of_draw`` tells them, and ``log_weights`` are all equal then. With ``"keep"`` the trajectories are
    exported as they are, with their normalised ``log_weights``, which every use must take into account. Chains are weighed
    alone: pooling them takes weights in proportion to ``exp(log_evidence)``. Either way particles share ancestors, so ESS
    and standard errors that ArviZ computes *within* a chain of particles are too good; those of ``Result.answers`` are
    right, and so is what is compared between chains. The draws of particle Gibbs and parallel tempering have equal weights,
    and there R-hat, ESS and Monte-Carlo standard errors mean what they say.

    Padding. Answers end after different numbers of steps, and runs too: floats are padded with NaN, whole numbers with -1,
    flags with False.

    LOO and WAIC. ``y`` in ``log_likelihood`` is the verdict of the reward model on each step given those before. Leaving one
    out asks whether the posterior without it would have predicted it, which makes sense if all draws have the same number of
    steps, the likelihood is :class:`~ppl_scaling.models.likelihoods.BernoulliLikelihood` with ``beta=1`` (others are no
    probabilities of an observation, and a power changes the importance weights), and the weights are equal. Where answers
    differ in length the padding makes ArviZ return NaN rather than a number without meaning.

    Parameters
    ----------
    results : sequence of Result
        Of one problem and of one kind.
    weights : {"resample", "keep"}
        For Markov chains there is nothing to choose.
    seed : int, optional
        For ``"resample"``; default: that of each result.
    answer_format : AnswerFormat, optional
        Says which answers mean the same; default: math-verify.

    Returns
    -------
    arviz.InferenceData or xarray.DataTree
        The first before ArviZ 1.0, the other from then on.

    Raises
    ------
    ValueError
        If there are no results, they are of several problems or differ in length where they must not, or ``weights`` is
        something else.
    TypeError
        If the results are not all of one kind.
    """
    return build(*arrays(results, weights=weights, seed=seed, answer_format=answer_format))


def arrays(
    results: Sequence[Result],
    *,
    weights: str = "resample",
    seed: int | None = None,
    answer_format: AnswerFormat | None = None,
) -> tuple[Mapping[str, Variables], dict[str, Any], dict[str, Any]]:
    """Give the groups, coordinates and attributes of :func:`to_arviz` as plain arrays."""
    if weights not in _WEIGHTS:
        raise ValueError(f"expected weights to be one of {', '.join(_WEIGHTS)}, got {weights!r}")
    if isinstance(results, Result):
        raise TypeError("expected a sequence of results, got one; use its method to_arviz, or put it in a list")
    chains = [one for result in results for one in _replicates(result)]
    if not chains:
        raise ValueError("expected at least one result, got none")
    if len(problems := {one.problem for one in chains}) > 1:
        raise ValueError(f"expected results of one problem, got {len(problems)} problems; export each on its own")
    if len(kinds := {type(one).__name__ for one in chains}) > 1:
        raise TypeError(f"expected results of one kind, got {', '.join(sorted(kinds))}")
    answer_format = shared_grader() if answer_format is None else answer_format
    markov = [one for one in chains if isinstance(one, ParticleGibbsResult)]
    if markov:
        if len(spans := {(one.num_iterations, one.burn_in) for one in markov}) > 1:
            raise ValueError(f"expected chains of one length and burn-in, got {sorted(spans)}")
        groups = markov_groups(markov, answer_format)
        labels = np.arange(markov[0].burn_in, markov[0].num_iterations)
    else:
        sizes = [len(one.trajectories) for one in chains]
        if weights == "keep" and len(set(sizes)) > 1:
            raise ValueError(f"expected as many trajectories in every result, got {sizes}; use weights='resample'")
        labels = np.arange(max(sizes))
        chosen = None
        if weights == "resample":
            seeds = [one.seed if seed is None else seed for one in chains]
            chosen = [
                _resample(np.array([one.weight for one in chain.trajectories]), len(labels), own, place)
                for place, (chain, own) in enumerate(zip(chains, seeds, strict=True))
            ]
        groups = particle_groups(chains, chosen, answer_format)
    num_steps = len(groups["observed_data"]["y"][1])
    coords = {"chain": np.arange(len(chains)), "draw": labels, "step": np.arange(1, num_steps + 1)}
    attrs = {
        "inference_library": "ppl-scaling",
        "weights": "equal" if markov or weights == "resample" else "sample_stats.log_weights",
    }
    return groups, coords, attrs


def _replicates(result: Result) -> list[Result]:
    """Results that are chains: the replicates of pooled islands that have not failed, or the result itself."""
    if isinstance(result, IslandsResult):
        return [one for one in result.replicates if isinstance(one, Result)]
    return [result]


def _resample(weights: NDArray[np.float64], number: int, seed: int, chain: int) -> NDArray[np.int64]:
    """Draw places systematically, and shuffle them, so that the order of the particles is not taken for one in time."""
    rng = np.random.default_rng([seed % 2**64, chain])
    total = np.cumsum(weights)
    drawn = np.searchsorted(total, (rng.random() + np.arange(number)) / number * total[-1], side="right")
    return rng.permutation(np.minimum(drawn, np.flatnonzero(weights)[-1]))  # rounding may lead past the last
