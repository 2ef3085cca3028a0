"""Cut-and-regrow moves: started at draws from the exact posterior, the law after a move is the posterior again."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest

from ppl_scaling.inference import enumerate_posterior
from ppl_scaling.inference.moves import Costs, Population, cut_and_regrow, write
from ppl_scaling.inference.results import Trajectory
from ppl_scaling.models import LanguageModelStateSpace, SamplingProposal
from ppl_scaling.seeding import seeded
from tests.inference.chain_kernels import blocks_of
from tests.statistics import assert_mean
from tests.worlds import LIKELIHOODS, WORLDS, early_ends, impossible_branches, truncation

NUM_DRAWS = 5_000


def whole(model, exact):
    """The exact trajectory with the tokens that write it."""
    ends = exact.finished, exact.truncated
    return Trajectory(exact.steps, exact.text, (), math.nan, 0.0, 0.0, None, *ends, 0, blocks_of(model, exact))


def draws(model, law, trajectories, log_weights, size=NUM_DRAWS):
    chosen = np.random.default_rng(0).choice(len(law), size=size, p=law)
    return Population("?", tuple(trajectories[i] for i in chosen), log_weights[chosen])


def tempered(model, power, proposal_law=None):
    """Trajectories, log W and the target's probabilities, by enumeration."""
    exact = enumerate_posterior(model, "?").trajectories
    log_w = np.array([one.log_joint - (one.log_prior if proposal_law is None else proposal_law[one.text]) for one in exact])
    log_q = np.array([one.log_prior if proposal_law is None else proposal_law[one.text] for one in exact])
    law = np.exp(log_q + power * log_w)
    return exact, [whole(model, one) for one in exact], log_w, law / law.sum()


def key(one):
    return one.text, one.finished


def assert_law(population, exact, law):
    seen = {}
    for one in population.trajectories:
        seen[key(one)] = seen.get(key(one), 0) + 1
    size = len(population.trajectories)
    assert set(seen) <= {key(one) for one in exact}
    checked = 0
    for one, probability in zip(exact, law, strict=True):
        if probability * size > 50:  # enough for a count to be close to normal
            count = seen.get(key(one), 0)
            assert_mean(np.repeat([1.0, 0.0], [count, size - count]), probability)
            checked += 1
    assert checked >= 4


@pytest.mark.parametrize(
    ("world", "likelihood", "power"),
    [*((world, *law) for law in (("bernoulli", 1.0), ("odds", 0.4)) for world in WORLDS), ("early ends", "odds", 0.0)],
)
def test_a_move_leaves_the_target_alone(world, likelihood, power):
    model = WORLDS[world](LIKELIHOODS[likelihood])
    exact, trajectories, log_w, law = tempered(model, power)
    start = draws(model, law, trajectories, log_w)
    assert_law(start, exact, law)
    with seeded(1):
        (moved,), (accepted,), _ = cut_and_regrow(model, None, [start], [power])
    assert_law(moved, exact, law)
    assert 0.2 < accepted.mean() < 1
    # The weights that go with the trajectories are theirs.
    known = {key(one): value for one, value in zip(exact, log_w, strict=True)}
    expected = [known[key(one)] for one in moved.trajectories[:200]]
    assert moved.log_weights[:200] == pytest.approx(expected, abs=1e-9)


def test_a_move_with_a_proposal_leaves_the_target_alone():
    """The target at power 1 is the posterior; the proposal is another temperature."""
    model = truncation(LIKELIHOODS["bernoulli"])
    hotter = truncation(LIKELIHOODS["bernoulli"])
    hotter.temperature = 1.8
    law_of_proposal = {one.text: one.log_prior for one in enumerate_posterior(hotter, "?").trajectories}
    exact, trajectories, log_w, law = tempered(model, 1.0, law_of_proposal)
    assert law == pytest.approx([one.probability for one in exact])
    with seeded(2):
        start = draws(model, law, trajectories, log_w)
        (moved,), _, _ = cut_and_regrow(model, SamplingProposal(model, temperature=1.8), [start], [1.0])
    assert_law(moved, exact, law)


def test_a_move_in_the_middle_of_a_run_leaves_the_present_target_alone():
    """Of the first two steps of answers of up to five."""
    model = early_ends(LIKELIHOODS["bernoulli"])
    short = early_ends(LIKELIHOODS["bernoulli"])
    short.max_steps = 2
    exact, trajectories, log_w, law = tempered(short, 1.0)
    with seeded(3):
        start = draws(model, law, trajectories, log_w)
        (moved,), _, _ = cut_and_regrow(model, None, [start], [1.0], num_steps=2)
    assert_law(moved, exact, law)
    assert any(not one.finished and not one.truncated for one in moved.trajectories)  # written anew, and to go on


def test_many_moves_forget_where_they_began():
    model = early_ends(LIKELIHOODS["twist"])
    exact, trajectories, log_w, law = tempered(model, 1.0)
    population = Population("?", (trajectories[-1],) * 1500, np.repeat(log_w[-1], 1500))
    with seeded(4):
        for _ in range(15):
            (population,), _, _ = cut_and_regrow(model, None, [population], [1.0])
    assert_law(population, exact, law)


def test_groups_move_in_one_batch_each_to_its_own_power():
    model = impossible_branches(LIKELIHOODS["bernoulli"])
    laws = [tempered(model, power) for power in (0.3, 1.0)]
    with seeded(5):
        start = [draws(model, law, trajectories, log_w) for _, trajectories, log_w, law in laws]
        moved, _, _ = cut_and_regrow(model, None, start, [0.3, 1.0])
    for population, (exact, _, _, law) in zip(moved, laws, strict=True):
        assert_law(population, exact, law)


def test_tokens_that_are_replayed_are_forwarded_but_not_drawn():
    model = early_ends(LIKELIHOODS["twist"])
    with seeded(6):
        (population,), (cost,) = write(model, None, ["?"], 50)
        (moved,), (accepted,), (again,) = cut_and_regrow(model, None, [population], [1.0])
    assert cost.generated_tokens == cost.lm_tokens_forwarded == sum(one.num_tokens for one in population.trajectories)
    assert cost.prm_calls == cost.prm_tokens_forwarded == population.lengths().sum()
    assert 0 < again.generated_tokens < again.lm_tokens_forwarded
    assert accepted.any() and len(moved.trajectories) == 50
    assert cost + again == Costs(*(a + b for a, b in zip(vars(cost).values(), vars(again).values(), strict=True)))


def test_proposals_that_are_all_impossible_are_refused():
    model = impossible_branches(LIKELIHOODS["bernoulli"])
    one = next(one for one in enumerate_posterior(model, "?").trajectories if one.text == "a")
    population = Population("?", (whole(model, one),), np.array([one.log_joint - one.log_prior]))
    outcomes = []
    for seed in range(60):
        with seeded(seed):
            (moved,), (accepted,), _ = cut_and_regrow(model, None, [population], [1.0])
        outcomes.append(bool(accepted[0]))
        if not accepted[0]:
            assert moved.trajectories == population.trajectories
    assert 0 < sum(outcomes) < 60


def test_other_latents_are_refused():
    class Diverse(LanguageModelStateSpace):
        def init(self, state, prompts):
            super().init(state, prompts)
            state["temperature"] = pyro.sample("temperature", dist.LogNormal(0.0, 0.2))

    plain = early_ends(LIKELIHOODS["twist"])
    with pytest.raises(TypeError, match="token blocks x_t, got temperature"):
        write(Diverse(plain.language_model, plain.reward_model), None, ["?"], 3)
