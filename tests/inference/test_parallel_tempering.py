"""Parallel tempering against enumeration: swaps, the joint kernel, and what it is for."""

import copy
import math

import numpy as np
import pytest

from ppl_scaling.backends.finite import FiniteLanguageModel, FunctionRewardModel
from ppl_scaling.errors import AllWeightsZeroError
from ppl_scaling.inference import ParallelTempering, ParticleGibbs, SMCFilter, enumerate_posterior
from ppl_scaling.inference.parallel_tempering import _Ladder, count_round_trips, swap_log_probability
from ppl_scaling.models import LanguageModelStateSpace
from ppl_scaling.models.tempering import Tempered
from ppl_scaling.seeding import seeded
from tests.inference.chain_kernels import assert_law, blocks_of, exact_blocks, exact_draws, weighted_shares
from tests.inference.exactness import share_of
from tests.statistics import assert_above, assert_mean
from tests.worlds import LIKELIHOODS, WORLDS, LastLetter, early_ends, impossible_branches


def at_power(model, power):
    """The same model with its likelihood to a power."""
    tempered = copy.copy(model)
    tempered.likelihood = copy.copy(model.likelihood)
    tempered.likelihood.beta = model.likelihood.beta * power
    return tempered


def log_likelihood_of(model):
    """Log-likelihood of each trajectory that the language model can write, by its token blocks."""
    everything = enumerate_posterior(at_power(model, 0.0), "?").trajectories
    joint = {blocks_of(model, one): one for one in enumerate_posterior(model, "?").trajectories}
    found = {}
    for one in everything:
        blocks = blocks_of(model, one)
        found[blocks] = joint[blocks].log_joint - joint[blocks].log_prior if blocks in joint else -np.inf
    return found


@pytest.mark.parametrize("powers", [(1.0, 0.4), (0.7, 0.0)])
@pytest.mark.parametrize("likelihood", ["bernoulli, beta 0.5", "twist", "odds"])
@pytest.mark.parametrize("world", WORLDS)
def test_a_swap_has_the_probability_of_the_paper(world, likelihood, powers):
    """Equation 4 computed from the enumerated posteriors of the two levels."""
    model = WORLDS[world](LIKELIHOODS[likelihood])
    above, below = (exact_blocks(at_power(model, power)) for power in powers)
    log_likelihood = log_likelihood_of(model)
    rng = np.random.default_rng(0)
    for one, other in zip(
        *(rng.permutation(np.array(list(law), dtype=object))[:50] for law in (above, below)), strict=False
    ):
        ratio = above.get(other, 0.0) * below[one] / (above[one] * below[other])
        found = np.exp(swap_log_probability(*powers, log_likelihood[one], log_likelihood[other]))
        assert found == pytest.approx(min(1.0, ratio), abs=1e-6)


@pytest.mark.parametrize("powers", [(1.0, -0.5), (1.0, math.nan), (1.0,)])
def test_powers_of_groups_are_checked(powers):
    with pytest.raises(ValueError, match=r"expected powers to be finite|expected a power for each of the 2 groups, got 1"):
        SMCFilter(Tempered(impossible_branches(LIKELIHOODS["twist"]), powers), None, 4, num_groups=2).init(["?"] * 2)


@pytest.mark.parametrize("likelihood", ["bernoulli, beta 0.5", "twist", "odds, temperature 2"])
def test_each_group_has_its_own_power(likelihood):
    """A filter with a power for each group, against enumeration; power 0 leaves zero scores alone."""
    model = impossible_branches(LIKELIHOODS[likelihood])
    powers = (1.0, 0.3, 0.0)
    smc = SMCFilter(Tempered(model, powers * 200), None, 20, num_groups=600, ess_threshold=0.9)
    with seeded(0):
        smc.init(["?"] * 600)
        for t in range(1, model.max_steps + 1):
            smc.step(t)
    found = np.exp(smc.log_evidence.numpy())
    assert smc.groups == tuple(range(600))
    for level, power in enumerate(powers):
        other = at_power(model, 1.0)
        other.likelihood.beta = power
        assert_mean(found[level::3], np.exp(enumerate_posterior(other, "?").log_evidence))


@pytest.mark.parametrize("past", [False, True])
@pytest.mark.parametrize(("world", "likelihood"), [("early ends", "bernoulli"), ("truncation", "odds"),
                                                   ("impossible branches", "twist")])  # fmt: skip
def test_the_joint_kernel_leaves_all_levels_invariant(world, likelihood, past):
    model, powers, size = WORLDS[world](LIKELIHOODS[likelihood]), (1.0, 0.5, 0.0), 200
    tempering = ParallelTempering(
        model, powers=powers, num_particles=2, ess_threshold=1.0, ancestor_sampling=past, answer_format=LastLetter()
    )
    levels = [at_power(model, power) for power in powers]
    ladders = [_Ladder(3) for _ in range(size)]
    with seeded(1):
        starts = [exact_draws(level, size, seed) for seed, level in enumerate(levels)]
        for ladder, references in zip(ladders, zip(*starts, strict=True), strict=True):
            ladder.references = list(references)
        for iteration in range(4):
            outcomes = tempering.sweep_levels(["?"] * size, ladders)
            for ladder, sweeps in zip(ladders, outcomes, strict=True):
                ladder.references = [one.draw for one in sweeps]
                tempering.swap(ladder, iteration)
    for k, level in enumerate(levels):
        assert_law([{ladder.references[k].token_blocks: 1.0} for ladder in ladders], exact_blocks(level))
        assert_law([weighted_shares(sweeps[k]) for sweeps in outcomes], exact_blocks(level))


def two_valleys():
    """Answers that begin with 'b' are as good as those with 'a', but look bad until their last step."""
    language = FiniteLanguageModel({"": {"a": 0.7, "b": 0.3, "$": 0.0}, "a": {"a": 1.0}, "b": {"b": 1.0}})

    def score(prompt, text):
        if text.startswith("a"):
            return 0.5
        return {1: 0.02, 2: 0.1, 3: 0.5, 4: 0.999}[len(text)]

    return LanguageModelStateSpace(language, FunctionRewardModel(score), LIKELIHOODS["odds"], max_steps=4)


def test_swaps_help_where_few_particles_stay_with_what_they_found():
    model = two_valleys()
    exact = exact_blocks(model)
    settings = {"num_particles": 2, "num_iterations": 40, "burn_in": 10, "ess_threshold": 1.0, "answer_format": LastLetter()}
    alone = ParticleGibbs(model, **settings).run_batch(["?"] * 25, seed=0)
    together = ParallelTempering(model, powers=(1.0, 0.5, 0.0), **settings).run_batch(["?"] * 25, seed=0)

    probability = sum(p for blocks, p in exact.items() if blocks[0][0] == model.language_model.tokens.index("b"))

    def shares(results):
        return np.array([sum(one.weight for one in run.trajectories if one.text.startswith("b")) for run in results])

    errors = [(shares(results) - probability) ** 2 for results in (alone, together)]
    assert_above(*errors)
    assert np.mean(errors[1]) < np.mean(errors[0]) / 4
    assert_mean(shares(together), probability, bias=0.02)
    assert all(one.swap_rates.shape == (2,) and (one.swap_rates > 0).all() for one in together)


def test_result_of_a_ladder():
    model = early_ends(LIKELIHOODS["bernoulli, beta 0.5"])
    tempering = ParallelTempering(
        model, powers=(1.0, 0.4, 0.0), num_particles=3, num_iterations=20, burn_in=2, answer_format=LastLetter()
    )
    results = tempering.run_batch(["?"] * 30, seed=2)
    one = results[0]
    assert one.method == "parallel tempering" and one.configuration["powers"] == [1.0, 0.4, 0.0]
    assert one.replicas.shape == (20, 3) and all(sorted(row) == [0, 1, 2] for row in one.replicas.tolist())
    spent = [[(one.replicas[:, level] == walker).mean() for level in range(3)] for walker in range(3)]
    assert one.occupancy.tolist() == spent and one.occupancy.tolist() != one.occupancy.T.tolist()
    assert len(one.draws) == len(one.log_likelihoods) == 20 and one.round_trips >= 0
    assert sum(entry.weight for entry in one.trajectories) == pytest.approx(1.0)
    exact = enumerate_posterior(model, "?")
    assert_mean([np.exp(run.log_evidence - exact.log_evidence) for run in results], 1.0)
    for answer, probability in exact.answers(LastLetter()).items():
        assert_mean([share_of(run, answer) for run in results], probability, bias=0.01)
    # Rates agree with the mean probabilities of acceptance.
    difference = [run.swap_rates - run.swap_probabilities for run in results]
    for pair in range(2):
        assert_mean([row[pair] for row in difference], 0.0)
    alone = ParticleGibbs(model, num_particles=3, num_iterations=20, answer_format=LastLetter()).run("?", seed=2)
    assert 2 < one.generated_tokens / alone.generated_tokens < 4, "three levels"
    assert one.lm_tokens_forwarded > one.generated_tokens and one.prm_calls == one.prm_tokens_forwarded
    assert one.to_dict()["swap_rates"] == one.swap_rates.tolist()
    again = tempering.run_batch(["?"] * 30, seed=2)[0]
    assert (again.replicas == one.replicas).all() and again.log_evidence == one.log_evidence


def test_log_likelihoods_of_draws_are_those_of_their_texts():
    model = impossible_branches(LIKELIHOODS["bernoulli, beta 0.5"])
    tempering = ParallelTempering(model, powers=(1.0, 0.0), num_particles=4, answer_format=LastLetter())
    expected = log_likelihood_of(model)
    with seeded(0):
        outcomes = tempering.sweep_levels(["?"] * 30, [_Ladder(2) for _ in range(30)])
    draws = [one.draw for levels in outcomes if not isinstance(levels, AllWeightsZeroError) for one in levels]
    assert any(one.log_likelihood == -np.inf for one in draws), "power 0 keeps what has likelihood 0"
    for one in draws:
        assert one.log_likelihood == pytest.approx(expected[one.token_blocks], abs=1e-5)


def test_a_ladder_that_dies_fails_alone():
    model = impossible_branches(LIKELIHOODS["bernoulli"])
    results = ParallelTempering(
        model, powers=(1.0, 0.0), num_particles=2, num_iterations=2, answer_format=LastLetter()
    ).run_batch(["?"] * 40, seed=0)
    failed = [isinstance(one, AllWeightsZeroError) for one in results]
    assert 0 < sum(failed) < 40


def test_round_trips():
    """Walkers 0 and 1 go down and back once; walker 0 then goes down only, and walker 2 up only."""
    replicas = np.array([[0, 1, 2], [1, 0, 2], [1, 2, 0], [1, 0, 2], [0, 1, 2], [0, 2, 1], [2, 0, 1], [1, 2, 0]])
    assert count_round_trips(replicas) == 2
    assert count_round_trips(np.tile([0, 1], (5, 1))) == 0
    assert count_round_trips(np.array([[1, 0], [0, 1], [1, 0], [0, 1]])) == 3


def test_the_probability_is_one_where_the_target_would_rather_have_the_other():
    assert swap_log_probability(1.0, 0.5, -3.0, -1.0) == 0.0
    assert swap_log_probability(1.0, 0.5, -1.0, -3.0) == pytest.approx(-1.0)
    assert swap_log_probability(1.0, 0.0, -1.0, -np.inf) == -np.inf


@pytest.mark.parametrize("powers", [(1.0,), (0.5, 1.0), (1.0, 1.0), (1.0, -0.1), (float("inf"), 1.0)])
def test_a_ladder_goes_down(powers):
    with pytest.raises(ValueError, match="strictly decreasing"):
        ParallelTempering(early_ends(LIKELIHOODS["twist"]), powers=powers)


def test_a_model_without_a_likelihood_is_refused():
    class Program:
        max_steps = 3

    with pytest.raises(TypeError, match="a model with a Likelihood"):
        ParallelTempering(Program())
