"""Particles whose steps are given: replayed exactly, weighed as if drawn, and free afterwards."""

import math

import pytest
import torch

from ppl_scaling.inference import ParticleFilter, SMCFilter, enumerate_posterior
from ppl_scaling.models import GivenSteps, LanguageModelStateSpace, SamplingProposal
from tests.statistics import assert_mean
from tests.worlds import LIKELIHOODS, LastLetter, early_ends, truncation


@pytest.mark.parametrize("world", [early_ends, truncation])
def test_a_trajectory_replayed_has_the_same_steps_scores_and_weight(world):
    model = world(LIKELIHOODS["bernoulli"])
    first = ParticleFilter(model, num_particles=8, ess_threshold=1e-9, answer_format=LastLetter()).run_batch(
        ["?", "!"], seed=0
    )
    trajectories = {
        group: {i: one.token_blocks for i, one in enumerate(run.trajectories[:5])} for group, run in enumerate(first)
    }
    replay = GivenSteps(model, trajectories)
    again = ParticleFilter(model, replay, num_particles=8, ess_threshold=1e-9, answer_format=LastLetter()).run_batch(
        ["?", "!"], seed=1
    )
    for before, after in zip(first, again, strict=True):
        for old, new in zip(before.trajectories[:5], after.trajectories[:5], strict=True):
            assert new.text == old.text and new.scores == old.scores and new.token_blocks == old.token_blocks
            assert new.log_weight == pytest.approx(old.log_weight, abs=1e-12)
    assert [one.text for one in again[0].trajectories[5:]] != [one.text for one in first[0].trajectories[5:]]


def test_a_given_step_weighs_as_if_it_had_been_drawn_from_the_proposal():
    model = early_ends(LIKELIHOODS["twist"])
    cooler = SamplingProposal(model, temperature=0.5)
    token = model.language_model.tokens.index("b")
    smc = SMCFilter(model, GivenSteps(model, {0: {1: [[token]]}}, cooler), 3, ess_threshold=1e-9)
    smc.init(["?"])
    smc.step(1)
    masses = {"a": 0.5**2, "b": 0.3**2, "$": 0.2**2}
    proposed = masses["b"] / sum(masses.values())
    expected = math.log(0.3 / proposed * 0.3)  # the score after "b" is .3
    assert float(smc.log_weights[0, 1]) == pytest.approx(expected, abs=1e-6)


def test_after_its_steps_a_particle_is_free():
    """All particles begin with 'a'; what follows has the law of the model given that."""
    model = early_ends(LIKELIHOODS["twist"])
    token = model.language_model.tokens.index("a")
    smc = ParticleFilter(
        model,
        GivenSteps(model, {group: {i: [[token]] for i in range(20)} for group in range(300)}),
        num_particles=20,
        answer_format=LastLetter(),
    )
    runs = smc.run_batch(["?"] * 300, seed=2)
    exact = enumerate_posterior(model, "?")
    begins = [one for one in exact.trajectories if one.text.startswith("a")]
    mass = sum(one.probability for one in begins)
    # Drawing 'a' with certainty where the model says one half leaves half of the evidence out.
    evidence = sum(math.exp(one.log_joint) for one in begins) / 0.5
    assert_mean([math.exp(run.log_evidence) for run in runs], evidence)
    share = sum(one.probability for one in begins if one.text == "ab") / mass
    shares = [sum(one.weight for one in run.trajectories if one.text == "ab") for run in runs]
    assert_mean([math.exp(run.log_evidence) * (found - share) for run, found in zip(runs, shares, strict=True)], 0.0)


def test_given_steps_on_a_transformer(tiny_lm, tiny_prm):
    model = LanguageModelStateSpace(tiny_lm, tiny_prm, max_steps=4, max_step_tokens=5)
    first = ParticleFilter(model, num_particles=4, ess_threshold=1e-9).run("abc", seed=0)
    replayed = {0: {0: first.trajectories[2].token_blocks, 3: first.trajectories[1].token_blocks[:2]}}
    again = ParticleFilter(model, GivenSteps(model, replayed), num_particles=4, ess_threshold=1e-9).run("abc", seed=5)
    old, new = first.trajectories[2], again.trajectories[0]
    assert new.token_blocks == old.token_blocks and new.text == old.text
    assert new.scores == pytest.approx(old.scores, abs=1e-5) and new.log_weight == pytest.approx(old.log_weight, abs=1e-4)
    assert again.trajectories[3].token_blocks[:2] == first.trajectories[1].token_blocks[:2]
    assert len(again.trajectories[3].token_blocks) == 4


def test_given_blocks_of_another_shape_are_refused():
    model = early_ends(LIKELIHOODS["twist"])
    smc = SMCFilter(model, None, 3)
    smc.init(["?"])
    with pytest.raises(ValueError, match=r"given blocks of shape \(3, L\), got \(2, 4\)"):
        model.transition(smc.state, 1).taking(torch.zeros(2, 4, dtype=torch.long))
