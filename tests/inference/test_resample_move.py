"""The particle filter with moves of the past: exact like the filter, and with more different pasts."""

import json
import math

import numpy as np
import pytest

from ppl_scaling.errors import AllWeightsZeroError
from ppl_scaling.inference import ParticleFilter, ResampleMoveFilter, enumerate_posterior, multinomial
from ppl_scaling.models import LanguageModelStateSpace, OddsLikelihood, SamplingProposal
from tests.inference.exactness import assert_matches
from tests.statistics import assert_above
from tests.worlds import LIKELIHOODS, WORLDS, LastLetter, early_ends, impossible_branches, truncation


@pytest.mark.parametrize(("likelihood", "ess_threshold"), [("bernoulli", 1.0), ("odds", 0.8)])
@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_posterior_and_evidence(world, likelihood, ess_threshold):
    model = world(LIKELIHOODS[likelihood])
    smc = ResampleMoveFilter(
        model, num_particles=20, ess_threshold=ess_threshold, answer_format=LastLetter(), resampling=multinomial
    )
    results = smc.run_batch(["?"] * 120, seed=1)
    assert_matches(results, enumerate_posterior(model, "?"))
    assert any(np.isfinite(one.acceptance).any() for one in results)
    assert any(one.resampled.any() for one in results)


def test_posterior_and_evidence_with_a_proposal():
    model = truncation(LIKELIHOODS["bernoulli"])
    proposal = SamplingProposal(model, temperature=1.6)
    smc = ResampleMoveFilter(model, proposal, num_particles=20, ess_threshold=0.9, answer_format=LastLetter())
    assert_matches(smc.run_batch(["?"] * 120, seed=2), enumerate_posterior(model, "?"))


def test_moves_bring_back_pasts_that_resampling_has_lost():
    model = truncation(OddsLikelihood())
    settings = {"num_particles": 20, "ess_threshold": 1.0, "answer_format": LastLetter()}

    def num_texts(method):
        return [len({one.text for one in run.trajectories}) for run in method.run_batch(["?"] * 100, seed=3)]

    assert_above(num_texts(ResampleMoveFilter(model, num_moves=2, **settings)), num_texts(ParticleFilter(model, **settings)))


def test_without_moves_it_is_the_filter():
    """Other random numbers, but the same law; and never resampling, the same trajectories."""
    model = early_ends(LIKELIHOODS["twist"])
    settings = {"num_particles": 10, "ess_threshold": 1e-9, "answer_format": LastLetter()}
    moved = ResampleMoveFilter(model, **settings).run_batch(["?", "!"], seed=4)
    plain = ParticleFilter(model, **settings).run_batch(["?", "!"], seed=4)
    for one, other in zip(moved, plain, strict=True):
        assert [t.text for t in one.trajectories] == [t.text for t in other.trajectories]
        assert one.log_evidence == pytest.approx(other.log_evidence) and one.generated_tokens == other.generated_tokens
        assert one.lm_tokens_forwarded == other.lm_tokens_forwarded and one.prm_calls == other.prm_calls
        assert one.ess == pytest.approx(other.ess)


def test_what_a_result_tells():
    model = early_ends(LIKELIHOODS["odds"])
    steps = []
    smc = ResampleMoveFilter(model, num_particles=12, num_moves=2, answer_format=LastLetter())
    result, again = smc.run("?", seed=5, on_step=steps.append), smc.run("?", seed=5)
    assert result.answers == again.answers and result.method == "resample-move particle filter"
    assert len(steps) == result.num_steps == len(result.ess) == len(result.acceptance) == len(result.ancestors)
    assert (np.isfinite(result.acceptance) == result.resampled).all() and result.resampled.any()
    assert result.lm_tokens_forwarded > result.generated_tokens > sum(one.num_tokens for one in result.trajectories)
    written = json.loads(json.dumps(result.to_dict()))
    assert written["acceptance"][0] is None and written["configuration"]["num_moves"] == 2


def test_a_group_without_a_possible_particle_fails_alone():
    model = impossible_branches(LIKELIHOODS["bernoulli"])
    outcomes = ResampleMoveFilter(model, num_particles=2, answer_format=LastLetter()).run_batch(["?"] * 40, seed=6)
    failed = [one for one in outcomes if isinstance(one, AllWeightsZeroError)]
    assert 0 < len(failed) < 40 and all(outcomes[one.group] is one for one in failed)
    lonely = ResampleMoveFilter(model, num_particles=1, answer_format=LastLetter())
    seed = next(seed for seed in range(50) if isinstance(lonely.run_batch(["?"], seed=seed)[0], AllWeightsZeroError))
    with pytest.raises(AllWeightsZeroError):
        lonely.run("?", seed=seed)


def test_moves_on_a_transformer(tiny_lm, tiny_prm):
    model = LanguageModelStateSpace(tiny_lm, tiny_prm, max_steps=3, max_step_tokens=4)
    result = ResampleMoveFilter(model, num_particles=4, ess_threshold=1.0).run("abc", seed=0)
    assert result.resampled[1:].all() and math.isfinite(result.log_evidence)
    again = [one for one in result.trajectories if len(one.token_blocks) == 3]
    assert again and all(len(one.scores) == len(one.token_blocks) for one in result.trajectories)


def test_bad_settings():
    with pytest.raises(ValueError, match="num_moves to be an integer of at least 0, got -1"):
        ResampleMoveFilter(early_ends(LIKELIHOODS["twist"]), num_moves=-1)
