"""What each kind of result gives to ArviZ, group by group; :mod:`ppl_scaling.inference.result_arrays` says what it means."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ppl_scaling.inference.annealed import AnnealedResult
from ppl_scaling.inference.answers import group_answers
from ppl_scaling.inference.chain_results import ParallelTemperingResult, ParticleGibbsResult
from ppl_scaling.inference.results import ParticleFilterResult, Result, Trajectory
from ppl_scaling.interfaces import AnswerFormat

__all__ = ["Groups", "markov_groups", "particle_groups"]

Groups = dict[str, dict[str, tuple[tuple[str, ...], Any]]]

_DRAW = ("chain", "draw")


def particle_groups(
    chains: Sequence[Result], chosen: Sequence[NDArray[np.int64]] | None, answer_format: AnswerFormat
) -> Groups:
    """Weighted trajectories: those that were ``chosen`` with equal weights, or all of them with their own."""
    weights = [np.array([one.weight for one in chain.trajectories]) for chain in chains]
    places = [np.arange(len(one)) for one in weights] if chosen is None else list(chosen)
    drawn = [[chain.trajectories[place] for place in own] for chain, own in zip(chains, places, strict=True)]
    groups, _ = _written(chains, drawn, answer_format)
    size = max(len(one) for one in weights)
    with np.errstate(divide="ignore"):
        log_weights = _stack([np.log(one / one.sum()) for one in weights], (size,), np.nan)
    equal = np.full((len(chains), len(places[0])), -np.log(len(places[0])))
    groups["sample_stats"] |= {
        "particle_of_draw": (_DRAW, np.stack(places)),
        "log_weights": (_DRAW, log_weights if chosen is None else equal),
        "particle_log_weights": (("chain", "particle"), log_weights),
    }
    texts = [[one.text for one in chain.trajectories] for chain in chains]
    groups["constant_data"]["text"] = ("chain", "particle"), np.array([own + [""] * (size - len(own)) for own in texts])
    for name in ("log_evidence", "log_evidence_standard_error"):
        if all(hasattr(chain, name) for chain in chains):
            groups["sample_stats"][name] = ("chain",), np.array([getattr(chain, name) for chain in chains])
    filters = [chain for chain in chains if isinstance(chain, ParticleFilterResult)]
    if filters:
        groups["posterior"] |= _latents(filters, places)
        groups["sample_stats"] |= _series(filters, len(groups["observed_data"]["y"][1]))
    return groups


def markov_groups(chains: Sequence[ParticleGibbsResult], answer_format: AnswerFormat) -> Groups:
    """Draws of Markov chains after the burn-in."""
    groups, codes = _written(chains, [chain.draws[chain.burn_in :] for chain in chains], answer_format)
    number = len(groups["constant_data"]["answer_text"][1]) if "answer_text" in groups["constant_data"] else 0
    answer_weights = [np.zeros((chain.num_iterations - chain.burn_in, number)) for chain in chains]
    for table, chain, own in zip(answer_weights, chains, codes, strict=True):
        for column, code in enumerate(own):
            table[:, code] += chain.answer_weights[chain.burn_in :, column]
    groups["posterior"]["total_log_likelihood"] = (
        _DRAW,
        np.stack([chain.log_likelihoods[chain.burn_in :] for chain in chains]),
    )
    if number:
        groups["posterior"]["answer_weights"] = (*_DRAW, "answer_code"), np.stack(answer_weights)
    groups["sample_stats"]["log_evidence"] = _DRAW, np.stack([chain.log_evidences[chain.burn_in :] for chain in chains])
    length = len(groups["observed_data"]["y"][1])
    groups["sample_stats"]["update_rate"] = (
        ("chain", "step"),
        _stack([chain.update_rate for chain in chains], (length,), np.nan),
    )
    ladders = [chain for chain in chains if isinstance(chain, ParallelTemperingResult)]
    if ladders:
        if len({one.powers for one in ladders}) > 1:
            raise ValueError(f"expected one ladder of powers, got {sorted({one.powers for one in ladders})}")
        groups["sample_stats"] |= {
            "swap_rate": (("chain", "pair"), np.stack([one.swap_rates for one in ladders])),
            "swap_probability": (("chain", "pair"), np.stack([one.swap_probabilities for one in ladders])),
            "replica": ((*_DRAW, "level"), np.stack([one.replicas[one.burn_in :] for one in ladders])),
            "round_trips": (("chain",), np.array([one.round_trips for one in ladders])),
        }
        groups["constant_data"]["power"] = ("level",), np.array(ladders[0].powers)
    return groups


def _written(
    chains: Sequence[Result], drawn: Sequence[Sequence[Trajectory]], answer_format: AnswerFormat
) -> tuple[Groups, list[list[int]]]:
    """Say what the draws have written, and give the codes of the answers of each chain in their order."""
    every = [one for own in drawn for one in own]
    shape = (len(drawn), len(drawn[0]))
    codes, of_chains, texts = _codes(every, chains, answer_format)
    answer = codes.reshape(shape)
    filters = [one for one in chains if isinstance(one, ParticleFilterResult) and not isinstance(one, AnnealedResult)]
    length = max([len(one.token_blocks) for one in every] + [one.num_steps for one in filters])

    def each(values: Sequence[Any]) -> tuple[tuple[str, ...], Any]:
        return _DRAW, np.array(values).reshape(shape)

    def by_step(rows: Sequence[Sequence[float]]) -> tuple[tuple[str, ...], Any]:
        return (*_DRAW, "step"), _stack([np.array(row, dtype=float) for row in rows], (length,), np.nan).reshape(
            *shape, length
        )

    posterior = {
        "answer": (_DRAW, answer),
        "num_steps": each([len(one.token_blocks) for one in every]),
        "num_tokens": each([one.num_tokens for one in every]),
        "score": each([one.score for one in every]),
        "finished": each([one.finished for one in every]),
        "truncated": each([one.truncated for one in every]),
        "step_score": by_step([one.scores for one in every]),
    }
    constant: dict[str, tuple[tuple[str, ...], Any]] = {
        "problem": ((), chains[0].problem),
        "method": (("chain",), np.array([chain.method for chain in chains])),
        "configuration": (("chain",), np.array([json.dumps(dict(one.configuration), default=repr) for one in chains])),
        "seed": (("chain",), np.array([chain.seed for chain in chains])),
    }
    if texts:
        indicator = answer[..., None] == np.arange(len(texts))
        posterior["answer_indicator"] = (*_DRAW, "answer_code"), indicator.astype(np.int64)
        constant["answer_text"] = ("answer_code",), np.array(texts)
    groups: Groups = {
        "posterior": posterior,
        "sample_stats": {},
        "observed_data": {"y": (("step",), np.ones(length, dtype=np.int64))},
        "constant_data": constant,
    }
    if any(one.log_likelihoods for one in every):
        groups["log_likelihood"] = {"y": by_step([one.log_likelihoods for one in every])}
    return groups, of_chains


def _codes(
    every: Sequence[Trajectory], chains: Sequence[Result], answer_format: AnswerFormat
) -> tuple[NDArray[np.int64], list[list[int]], list[str]]:
    """Give numbers to the answers of all chains together.

    Returns the numbers of the draws' answers (-1 for none), those of each chain's answers, and the text of each number. The
    first is the most probable on the average over chains, and its text is that of the chain that is surest of it.
    """
    reported = [one for chain in chains for one in chain.answers]
    found = group_answers([one.answer for one in reported] + [one.answer for one in every], answer_format)
    size = 1 + max((number for number in found if number is not None), default=-1)
    totals, best = np.zeros(size), np.full(size, -1.0)
    texts = [""] * size
    given: list[tuple[int | None, str | None, float]] = [
        (number, one.answer, one.probability) for number, one in zip(found, reported, strict=False)
    ]
    given += [(number, one.answer, 0.0) for number, one in zip(found[len(reported) :], every, strict=True)]
    for number, text, probability in given:
        if number is not None and text is not None:
            totals[number] += probability
            if probability > best[number]:
                best[number], texts[number] = probability, text
    order = np.argsort(-totals, kind="stable")
    code_of = {int(number): code for code, number in enumerate(order)}
    codes = [-1 if number is None else code_of[number] for number in found]
    rest, of_chains = codes, []
    for chain in chains:
        of_chains.append(rest[: len(chain.answers)])
        rest = rest[len(chain.answers) :]
    return np.array(rest, dtype=np.int64), of_chains, [texts[number] for number in order]


def _latents(
    chains: Sequence[ParticleFilterResult], places: Sequence[NDArray[np.int64]]
) -> dict[str, tuple[tuple[str, ...], Any]]:
    """Latent sites of the draws; NaN in chains that were shorter and do not have one."""
    variables = {}
    for name in dict.fromkeys(name for chain in chains for name in chain.latents):
        shape = next(chain.latents[name].shape[1:] for chain in chains if name in chain.latents)
        rows = [
            chain.latents[name][own] if name in chain.latents else np.full((len(own), *shape), np.nan)
            for chain, own in zip(chains, places, strict=True)
        ]
        dims = tuple(f"{name}_dim_{place}" for place in range(len(shape)))
        # A latent of the user's may have the name of a variable that every export has.
        variables[name if name not in _NAMES else f"latent_{name}"] = (*_DRAW, *dims), np.stack(rows)
    return variables


_NAMES = {"answer", "answer_indicator", "finished", "num_steps", "num_tokens", "score", "step_score", "truncated"}


def _series(chains: Sequence[ParticleFilterResult], num_steps: int) -> dict[str, tuple[tuple[str, ...], Any]]:
    """Return what a filter knows of every step, or annealed SMC of every rung."""
    annealed = isinstance(chains[0], AnnealedResult)
    along = "rung" if annealed else "step"
    length = max(one.num_steps for one in chains) if annealed else num_steps
    size = max(one.num_particles for one in chains)
    increments = [np.diff(one.log_evidence_by_step, prepend=0.0) for one in chains]

    def stacked(rows: Sequence[ArrayLike], padding: Any, *, of_particles: bool = False) -> tuple[tuple[str, ...], Any]:
        dims = ("chain", along, "particle") if of_particles else ("chain", along)
        return dims, _stack([np.asarray(row) for row in rows], (length, size) if of_particles else (length,), padding)

    variables = {
        "ess": stacked([one.ess for one in chains], np.nan),
        "resampled": stacked([one.resampled for one in chains], False),
        "log_evidence_increments": stacked(increments, np.nan),
        "ancestors": stacked([one.ancestors for one in chains], -1, of_particles=True),
        "log_weights_by_step": stacked([one.log_weights_by_step for one in chains], np.nan, of_particles=True),
    }
    for name in ("acceptance", "temperatures", "powers"):  # of some kinds
        if all(hasattr(one, name) for one in chains):
            variables[name] = stacked([getattr(one, name) for one in chains], np.nan)
    return variables


def _stack(rows: Sequence[NDArray[Any]], shape: tuple[int, ...], padding: Any) -> NDArray[Any]:
    """Stack arrays of different sizes, padded at their ends."""
    return np.stack(
        [
            np.pad(row, [(0, to - by) for to, by in zip(shape, row.shape, strict=True)], constant_values=padding)
            for row in rows
        ]
    )
