"""Particle Gibbs against enumeration: it leaves the posterior invariant, and finds it from a bad start.

The chains of a case are groups of one batch. They start in the exact posterior; a kernel that is wrong moves them away from
it, more with every sweep.
"""

from types import SimpleNamespace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest

from ppl_scaling.errors import AllWeightsZeroError, ScoreError
from ppl_scaling.inference import ParticleFilter, ParticleGibbs, Reference, enumerate_posterior
from ppl_scaling.inference.autocorrelation import standard_error_of_mean
from ppl_scaling.inference.chain_results import average_answers
from ppl_scaling.models import LanguageModelStateSpace, SamplingProposal
from ppl_scaling.seeding import seeded
from tests.inference.chain_kernels import assert_invariant, assert_law, exact_blocks, weighted_shares
from tests.inference.programs import exact_warm_and_brief, warm_and_brief
from tests.statistics import assert_mean
from tests.worlds import LIKELIHOODS, WORLDS, AnyCase, LastLetter, answering, early_ends, impossible_branches, truncation

# Every world with every likelihood and both sizes, with and without ancestor sampling; thresholds take turns.
CASES = [
    (world, likelihood, size, (0.5, 1.0)[(place + size) % 2], past)
    for place, (world, likelihood) in enumerate((w, one) for w in WORLDS for one in ("bernoulli", "twist", "odds"))
    for size in (2, 5)
    for past in (False, True)
]


@pytest.mark.parametrize(("world", "likelihood", "size", "threshold", "past"), CASES)
def test_the_kernel_leaves_the_posterior_invariant(world, likelihood, size, threshold, past):
    model = WORLDS[world](LIKELIHOODS[likelihood])
    gibbs = ParticleGibbs(
        model, num_particles=size, ess_threshold=threshold, ancestor_sampling=past, answer_format=LastLetter()
    )
    assert_invariant(gibbs, 250, 2, seed=1, can_die=world == "impossible branches")


@pytest.mark.parametrize("past", [False, True])
def test_so_it_does_with_a_proposal(past):
    model = early_ends(LIKELIHOODS["bernoulli, beta 0.5"])
    gibbs = ParticleGibbs(
        model,
        SamplingProposal(model, temperature=1.7),
        num_particles=3,
        ess_threshold=1.0,
        ancestor_sampling=past,
        answer_format=LastLetter(),
    )
    assert_invariant(gibbs, 400, 2, seed=2)


@pytest.mark.parametrize("past", [False, True])
def test_from_a_bad_start_the_average_approaches_the_posterior(past):
    """All chains start at one improbable trajectory and are averaged after a burn-in."""
    model = truncation(LIKELIHOODS["bernoulli"])
    exact = exact_blocks(model)
    worst = min(exact, key=exact.get)
    gibbs = ParticleGibbs(model, num_particles=4, ess_threshold=1.0, ancestor_sampling=past, answer_format=LastLetter())
    references, shares = [Reference(worst)] * 250, []
    with seeded(3):
        for iteration in range(10):
            sweeps = gibbs.sweep(["?"] * 250, references)
            references = [one.draw for one in sweeps]
            if iteration >= 8:
                shares.append([weighted_shares(one) for one in sweeps])
    averages = [
        {key: np.mean([one.get(key, 0.0) for one in of_chain]) for key in exact} for of_chain in zip(*shares, strict=True)
    ]
    assert_law(averages, exact)


def test_sites_of_one_name_in_several_steps_are_several_latents():
    """A result keeps all of them along the lineages, and a chain each in its own step."""

    class Moody(LanguageModelStateSpace):
        def step(self, state, t):
            super().step(state, t)
            state["mood"] = pyro.deterministic("seen", pyro.sample("mood", dist.Normal(float(t), 0.1)))

    base = early_ends(LIKELIHOODS["twist"])
    model = Moody(base.language_model, base.reward_model, base.likelihood, max_steps=4)
    result = ParticleFilter(model, num_particles=20, answer_format=LastLetter()).run("?", seed=0)
    names = [f"mood_{t}" for t in range(1, result.num_steps + 1)]
    assert result.num_steps > 1 and set(names) <= set(result.latents)
    for t, name in enumerate(names, start=1):
        assert np.abs(result.latents[name] - t).max() < 1.0
    with seeded(0):
        gibbs = ParticleGibbs(model, num_particles=3, answer_format=LastLetter())
        reference = gibbs.sweep(["?"])[0].draw
        smc = gibbs._filter(1, [reference], None)
        smc.init(["?"])
        for t in (1, 2):
            smc.step(t)
    for t, record in enumerate(smc.history[1:], start=1):
        assert record.sites["mood"][0] == float(reference.latents[f"mood_{t}"])


def test_latents_of_the_reference_are_kept():
    """A temperature for each particle and a factor of its own: the chain knows them too."""
    model = warm_and_brief()
    gibbs = ParticleGibbs(model, num_particles=3, ess_threshold=1.0, answer_format=LastLetter())
    with seeded(4):
        references = None
        for _ in range(12):
            sweeps = gibbs.sweep(["?"] * 400, references)
            references = [one.draw for one in sweeps]
    for choice, probability in enumerate(exact_warm_and_brief()[2]):
        assert_mean([float(one.latents["choice"] == choice) for one in references], probability)
    with pytest.raises(TypeError, match="method 'step' of LanguageModelStateSpace"):
        ParticleGibbs(model, ancestor_sampling=True)


def test_result_of_a_chain():
    model = early_ends(LIKELIHOODS["bernoulli"])
    gibbs = ParticleGibbs(
        model,
        num_particles=5,
        num_iterations=40,
        burn_in=4,
        ancestor_sampling=True,
        ess_threshold=1.0,
        answer_format=LastLetter(),
    )
    results = gibbs.run_batch(["?"] * 20, seed=5)
    exact = enumerate_posterior(model, "?")
    one = results[0]
    assert [two.answer for two in gibbs.run_batch(["?"] * 20, seed=5)[0].draws] == [draw.answer for draw in one.draws]
    assert one.method == "particle Gibbs" and one.configuration["ancestor_sampling"] is True
    assert len(one.draws) == len(one.log_likelihoods) == len(one.log_evidences) == len(one.answer_weights) == 40
    assert sum(entry.weight for entry in one.trajectories) == pytest.approx(1.0)
    assert sum(entry.probability for entry in one.answers) + one.no_answer_probability == pytest.approx(1.0)
    np.testing.assert_allclose(one.answer_weights[4:].mean(0), [entry.probability for entry in one.answers])
    for draw, log_likelihood in zip(one.draws, one.log_likelihoods, strict=True):
        assert log_likelihood == pytest.approx(float(np.log(draw.scores).sum()), abs=1e-5)
    given = sum(draw.num_tokens for draw in one.draws[:-1])
    assert one.lm_tokens_forwarded - given > one.generated_tokens > 36 * 4
    assert one.prm_calls == one.prm_tokens_forwarded > one.generated_tokens + given
    assert_mean([np.exp(run.log_evidence - exact.log_evidence) for run in results], 1.0)
    probability = exact.answers(LastLetter())["a"]
    found = [next(entry for entry in run.answers if entry.answer == "a") for run in results]
    assert_mean([entry.probability for entry in found], probability)
    spread = np.std([entry.probability for entry in found], ddof=1)
    # The standard deviation over 20 chains is itself known to 16 percent.
    assert np.mean([entry.standard_error for entry in found]) == pytest.approx(spread, rel=0.5)
    assert one.log_evidence_of_chain == pytest.approx(exact.log_evidence, abs=0.3)
    assert "num_iterations=40" in repr(one) and one.to_dict()["draws"][0] == one.draws[0].answer
    short = ParticleGibbs(model, num_iterations=1, answer_format=LastLetter()).run("?", seed=0)
    assert np.isnan(short.update_rate).all() and np.isnan(short.log_evidence_of_chain)
    assert all(np.isnan(entry.standard_error) for entry in short.answers)


def test_answers_of_a_chain_come_in_order_as_their_weightiest_particles_write_them():
    rows = [
        [("c", 0.9), ("d", 0.1)],  # the burn-in, of which nothing is averaged
        *([("a", 0.2), ("b", 0.5), (None, 0.3)], [("A", 0.3), ("b", 0.6), ("a", 0.1)]) * 5,
    ]
    sweeps = [SimpleNamespace(trajectories=[answering(*one) for one in row]) for row in rows]
    answers, weights = average_answers(sweeps, 1, AnyCase())
    assert [(one.answer, pytest.approx(one.probability)) for one in answers] == [("b", 0.55), ("A", 0.3)]
    np.testing.assert_allclose(weights, [[0, 0], *([0.5, 0.2], [0.6, 0.4]) * 5])
    for column, one in enumerate(answers):
        assert one.standard_error == standard_error_of_mean(weights[1:, column])


def test_a_chain_that_dies_fails_alone():
    model = impossible_branches(LIKELIHOODS["bernoulli"])
    results = ParticleGibbs(model, num_particles=2, num_iterations=3, answer_format=LastLetter()).run_batch(
        ["?"] * 40, seed=0
    )
    failed = [isinstance(one, AllWeightsZeroError) for one in results]
    assert 0 < sum(failed) < 40
    assert all(len(one.draws) == 3 for one, failure in zip(results, failed, strict=True) if not failure)


def test_an_impossible_reference_is_an_error():
    model = impossible_branches(LIKELIHOODS["bernoulli"])
    number = model.language_model.tokens.index
    gibbs = ParticleGibbs(model, num_particles=2, answer_format=LastLetter())
    good, bad = Reference([(number("a"),), (number("$"),)]), Reference([(number("b"),), (number("$"),)])
    with seeded(0):
        outcomes = gibbs.sweep(["?"] * 20, [bad, good] * 10)
    assert all(not isinstance(one, AllWeightsZeroError) for one in outcomes[1::2])
    truncated, cut_off = SamplingProposal(model, top_k=1), Reference([(number("c"),), (number("a"),), (number("$"),)])
    with pytest.raises(ScoreError), seeded(0):
        ParticleGibbs(model, truncated, num_particles=2, answer_format=LastLetter()).sweep(["?"], [cut_off])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_particles": 1}, "num_particles to be an integer of at least 2, got 1"),
        ({"num_iterations": 0}, "num_iterations to be an integer of at least 1, got 0"),
        ({"burn_in": 4}, "burn_in to be from 0 to num_iterations - 1 = 3"),
        ({"lookahead": 2}, "lookahead only together with ancestor_sampling"),
        ({"lookahead": 0, "ancestor_sampling": True}, "lookahead to be an integer of at least 1, got 0"),
        ({"ess_threshold": 0.0}, r"ess_threshold to be in \(0, 1\]"),
        ({"choice": "best"}, "a final choice among"),
    ],
)
def test_bad_settings_are_refused_at_once(settings, message):
    with pytest.raises(ValueError, match=message):
        ParticleGibbs(early_ends(LIKELIHOODS["twist"]), **settings)
