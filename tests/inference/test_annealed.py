"""Annealed sequential Monte Carlo against enumeration: fixed and adaptive ladders, moves, failures, accounting."""

import json
import math

import numpy as np
import pytest

from ppl_scaling.errors import AllWeightsZeroError
from ppl_scaling.inference import AnnealedSMC, enumerate_posterior, multinomial
from ppl_scaling.inference.annealed import next_power
from ppl_scaling.models import LanguageModelStateSpace, SamplingProposal
from tests.inference.exactness import assert_matches, share_of
from tests.statistics import assert_above, assert_mean
from tests.worlds import LIKELIHOODS, WORLDS, LastLetter, early_ends, impossible_branches, truncation


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_a_fixed_ladder_has_the_exact_evidence_and_posterior(world):
    model = world(LIKELIHOODS["odds"])
    smc = AnnealedSMC(
        model, num_particles=20, powers=(0.3, 1.0), ess_target=0.95, answer_format=LastLetter(), resampling=multinomial
    )
    results = smc.run_batch(["?"] * 200, seed=1)
    assert_matches(results, enumerate_posterior(model, "?"))
    assert any(one.resampled.any() for one in results)


def test_a_fixed_ladder_with_a_proposal():
    model = truncation(LIKELIHOODS["bernoulli"])
    smc = AnnealedSMC(
        model,
        SamplingProposal(model, temperature=1.6),
        num_particles=20,
        powers=(0.5, 1.0),
        ess_target=0.9,
        answer_format=LastLetter(),
    )
    assert_matches(smc.run_batch(["?"] * 200, seed=2), enumerate_posterior(model, "?"))


def test_an_adaptive_ladder_is_right_up_to_a_bias_of_order_one_over_n():
    """Bound of the bias: 2/N relative to the evidence, of the size of the variance of a self-normalised estimate."""
    model = impossible_branches(LIKELIHOODS["odds"])
    exact = enumerate_posterior(model, "?")
    smc = AnnealedSMC(model, num_particles=50, ess_target=0.7, num_moves=1, answer_format=LastLetter())
    results = smc.run_batch(["?"] * 120, seed=3)
    assert_mean(np.exp([one.log_evidence - exact.log_evidence for one in results]), 1.0, bias=2 / 50)
    for answer, probability in exact.answers(LastLetter()).items():
        if answer is not None:
            assert_mean([share_of(one, answer) for one in results], probability, bias=2 / 50)
    rungs = [rung for one in results for rung in zip(one.powers, one.ess, one.resampled, strict=True)]
    assert any(power < 1 for power, _, _ in rungs)
    assert all(resampled for power, _, resampled in rungs if power < 1)
    assert all(size <= 0.71 * 50 for power, size, _ in rungs if power < 1)


def test_the_next_rung_is_where_the_effective_sample_size_is_the_target():
    full = np.array([0.0, -3.0, -9.0, -40.0, -math.inf])
    power = next_power(np.zeros(5), full, 0.0, 0.5)
    weights = np.exp(power * full)
    assert weights.sum() ** 2 / (weights**2).sum() == pytest.approx(0.5 * 4, abs=1e-6)
    assert next_power(np.zeros(3), np.array([0.0, -0.1, 0.1]), 0.0, 0.5) == 1.0
    assert next_power(np.zeros(3), np.array([0.0, -0.1, 0.1]), 0.75, 0.5) == 1.0
    # At least a little, or a ladder would have no end: here the target is reached at 1e-11.
    assert next_power(np.zeros(2), np.array([0.0, -1e11]), 0.0, 0.9) == 1e-9


def test_moves_mend_what_resampling_has_made_poor():
    """With four particles at a peaked target, more different texts are alive after moves, and the result is better."""
    model = truncation(LIKELIHOODS["odds"])
    exact = enumerate_posterior(model, "?").answers(LastLetter())
    texts, errors = [], []
    for num_moves in (0, 4):
        smc = AnnealedSMC(model, num_particles=4, ess_target=0.9, num_moves=num_moves, answer_format=LastLetter())
        results = smc.run_batch(["?"] * 100, seed=4)
        texts.append([len({one.text for one in run.trajectories}) for run in results])
        errors.append([sum((share_of(run, answer) - p) ** 2 for answer, p in exact.items()) for run in results])
    assert_above(texts[1], texts[0])
    assert_above(errors[0], errors[1])


def test_what_a_result_tells():
    model = early_ends(LIKELIHOODS["odds"])
    result = AnnealedSMC(model, num_particles=30, ess_target=0.9, num_moves=2, answer_format=LastLetter()).run("?", seed=5)
    again = AnnealedSMC(model, num_particles=30, ess_target=0.9, num_moves=2, answer_format=LastLetter()).run("?", seed=5)
    assert result.log_evidence == again.log_evidence and result.answers == again.answers
    rungs = len(result.powers)
    assert rungs > 1 and result.powers[-1] == 1 and (np.diff(result.powers) > 0).all()
    assert result.ess.shape == result.acceptance.shape == result.resampled.shape == (rungs,)
    assert result.ancestors.shape == (rungs, 30) and result.num_steps == rungs
    assert (result.acceptance > 0).all() and (result.acceptance <= 1).all()
    halves = result.acceptance * 2 * 30
    assert halves == pytest.approx(halves.round()) and (halves.round() % 2).any(), "of both moves"
    assert result.method == "annealed SMC" and result.seconds > 0
    assert sum(one.weight for one in result.trajectories) == pytest.approx(1)
    assert result.lm_tokens_forwarded > result.generated_tokens > sum(one.num_tokens for one in result.trajectories)
    written = json.loads(json.dumps(result.to_dict()))
    assert written["powers"] == result.powers.tolist() and written["configuration"]["num_moves"] == 2
    still = AnnealedSMC(model, num_particles=3, num_moves=0, answer_format=LastLetter()).run("?", seed=0)
    assert np.isnan(still.acceptance).all() and set(json.loads(json.dumps(still.to_dict()))["acceptance"]) == {None}


def test_a_group_without_a_possible_answer_fails_alone():
    model = impossible_branches(LIKELIHOODS["bernoulli"])
    outcomes = AnnealedSMC(model, num_particles=2, answer_format=LastLetter()).run_batch(["?"] * 40, seed=6)
    failed = [isinstance(one, AllWeightsZeroError) for one in outcomes]
    assert any(failed) and not all(failed)


def test_annealing_a_transformer(tiny_lm, tiny_prm):
    model = LanguageModelStateSpace(tiny_lm, tiny_prm, LIKELIHOODS["odds"], max_steps=3, max_step_tokens=4)
    result = AnnealedSMC(model, num_particles=4, powers=(0.5, 1), num_moves=1).run("abc", seed=0)
    assert len(result.trajectories) == 4 and result.powers.tolist() == [0.5, 1]
    # Three runs: the prompt is prefilled in each, and moves draw less than they forward.
    assert result.generated_tokens < result.lm_tokens_forwarded
    assert 3 * 4 < result.prm_calls <= 3 * 4 * 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ess_target": 1.0}, r"ess_target to be in \(0, 1\), got 1.0"),
        ({"num_moves": -1}, "num_moves to be an integer of at least 0, got -1"),
        ({"powers": (0.5, 0.5, 1)}, r"increase from above 0 to 1, got \(0.5, 0.5, 1.0\)"),
        ({"powers": (0.5,)}, "increase from above 0 to 1"),
        ({"powers": ()}, "increase from above 0 to 1"),
        ({"num_particles": 0}, "num_particles to be an integer of at least 1, got 0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        AnnealedSMC(early_ends(LIKELIHOODS["twist"]), **settings)
