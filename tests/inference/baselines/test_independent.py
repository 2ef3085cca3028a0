"""Votes and best-of-N against the exact laws of what they find, and pools that are weighed again."""

import json
import math

import numpy as np
import pyro
import pytest
import torch

from ppl_scaling.backends.finite import FiniteLanguageModel
from ppl_scaling.backends.prompts import render_prompt
from ppl_scaling.errors import AllWeightsZeroError
from ppl_scaling.inference import ParticleFilter, enumerate_posterior
from ppl_scaling.inference.baselines import (
    AdaptiveSelfConsistency,
    BestOfN,
    CompletionsResult,
    Greedy,
    MajorityVote,
    SingleSample,
    WeightedBestOfN,
    nested_budgets,
)
from ppl_scaling.models import GivenSteps, LanguageModelStateSpace, TwistLikelihood
from tests.inference.baselines import laws
from tests.inference.exactness import share_of
from tests.statistics import assert_mean
from tests.worlds import LIKELIHOODS, WORLDS, LastLetter, early_ends, make, truncation

RULES = {MajorityVote: laws.majority, BestOfN: laws.best, WeightedBestOfN: laws.weighted}


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("kind", RULES, ids=lambda kind: kind.method)
@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_the_law_of_the_answer(world, kind, size):
    model = world(LIKELIHOODS["odds"])  # whatever the likelihood is
    results = make(kind, model, num_completions=size).run_batch(["?"] * 600, seed=1)
    laws.assert_answers(results, laws.winners(model, RULES[kind], size))


@pytest.mark.parametrize("kind", RULES, ids=lambda kind: kind.method)
def test_the_first_completions_of_a_pool_have_the_law_of_a_run_with_so_many(kind):
    model = early_ends(LIKELIHOODS["bernoulli"])
    pools = make(BestOfN, model, num_completions=5).run_batch(["?"] * 600, seed=2)
    method = make(kind, model)
    for size in (1, 2, 3):
        results = [method.select(pool, size) for pool in pools]
        laws.assert_answers(results, laws.winners(model, RULES[kind], size))
        assert all(one.method == kind.method and one.configuration["num_completions"] == size for one in results)


def test_shares_of_the_vote_are_the_language_models_answer_probabilities():
    model = truncation(LIKELIHOODS["twist"])
    results = make(MajorityVote, model, num_completions=12).run_batch(["?"] * 500, seed=3)
    model.reward_model = None
    for answer, probability in enumerate_posterior(model, "?").answers(LastLetter()).items():
        assert_mean([share_of(one, answer) for one in results], probability)
        if answer is not None:  # the squared standard error is unbiased for the variance of the share
            errors = [{entry.answer: entry.standard_error for entry in one.answers}.get(answer, 0.0) for one in results]
            assert_mean(np.square(errors), probability * (1 - probability) / 12)


def test_scores_weigh_the_vote_like_the_posterior_of_the_last_score():
    """The weighted share times the mean score is unbiased for probability times evidence."""
    model = early_ends(LIKELIHOODS["bernoulli"])
    results = make(WeightedBestOfN, model, num_completions=8).run_batch(["?"] * 500, seed=4)
    exact = enumerate_posterior(early_ends(TwistLikelihood()), "?")
    means = np.array([np.mean([one.score for one in run.trajectories]) for run in results])
    assert_mean(means, math.exp(exact.log_evidence))
    for answer, probability in exact.answers(LastLetter()).items():
        shares = [share_of(run, answer) for run in results]
        assert_mean(means * shares, probability * math.exp(exact.log_evidence))


def test_the_score_of_the_best_is_an_order_statistic():
    model = truncation(LIKELIHOODS["twist"])
    results = make(BestOfN, model, num_completions=6).run_batch(["?"] * 600, seed=5)
    law = laws.outcomes(model)
    for threshold in sorted({score for _, score in law}):
        below = sum(p for (answer, score), p in law.items() if answer is None or score <= threshold)
        best = [one.best_trajectory.score if one.answer is not None else -1.0 for one in results]
        assert_mean([score <= threshold + 1e-9 for score in best], below**6)


def test_ties_go_to_what_was_found_first_and_none_never_wins():
    model = truncation(LIKELIHOODS["twist"])
    pools = make(BestOfN, model, num_completions=10).run_batch(["?"] * 100, seed=6)
    tied = 0
    for pool in pools:
        for kind, rule in RULES.items():
            result = make(kind, model).select(pool)
            assert result.answer == rule([(one.answer, one.score) for one in pool.trajectories])
            assert sum(one.probability for one in result.answers) + result.no_answer_probability == pytest.approx(1)
        votes = make(MajorityVote, model).select(pool)
        tied += len({one.probability for one in votes.answers[:2]}) == 1 < len(votes.answers)
    assert tied > 5


def test_without_any_answer_there_is_none():
    language = FiniteLanguageModel({"": {"a": 1.0, "$": 0.0}})
    model = LanguageModelStateSpace(language, early_ends(None).reward_model, max_steps=2)
    for kind in (Greedy, SingleSample, MajorityVote, BestOfN, WeightedBestOfN):
        result = make(kind, model).run("?", seed=0)
        assert result.answer is None and result.answers == () and result.no_answer_probability == pytest.approx(1)
        assert all(one.truncated for one in result.trajectories)


def test_greedy_takes_the_most_probable_token():
    model = early_ends(LIKELIHOODS["bernoulli"])
    result = make(Greedy, model).run("?", seed=0)
    assert [one.text for one in result.trajectories] == ["a"]  # 'a' at .5, then the end at .4
    assert result.configuration["top_k"] == 1 and model.top_k is None


def test_greedy_is_what_the_transformer_generates_greedily(tiny_lm):
    model = LanguageModelStateSpace(tiny_lm, None, max_steps=3, max_step_tokens=5)
    result = Greedy(model).run("abc", seed=0)
    prompt = torch.tensor([render_prompt(tiny_lm.tokenizer, "abc")])
    limits = {"max_new_tokens": 15, "do_sample": False, "pad_token_id": 256}
    generated = tiny_lm.model.generate(prompt, attention_mask=torch.ones_like(prompt), **limits)[0, prompt.shape[1] :]
    written = [token for block in result.trajectories[0].token_blocks for token in block]
    assert written == generated.tolist()[: len(written)] and len(written) >= 5


@pytest.mark.parametrize("kind", [MajorityVote, BestOfN], ids=lambda kind: kind.method)
def test_tokens_of_a_smaller_budget_are_those_of_a_run_with_so_many(tiny_lm, tiny_prm, kind):
    """The first completions are replayed as all the particles of a filter: every count agrees, for every budget."""
    model = LanguageModelStateSpace(tiny_lm, tiny_prm, max_steps=4, max_step_tokens=5)
    method = kind(model, num_completions=6)
    for problem, pool in zip(["abc", "hello"], method.run_batch(["abc", "hello"], seed=0), strict=True):
        assert set(nested_budgets(method, pool)) == {1, 2, 4, 6}
        for size, smaller in nested_budgets(method, pool).items():
            watched = LanguageModelStateSpace(tiny_lm, tiny_prm if method.scored else None, max_steps=4, max_step_tokens=5)
            blocks = {i: one.token_blocks for i, one in enumerate(smaller.trajectories)}
            again = ParticleFilter(watched, GivenSteps(watched, {0: blocks}), num_particles=size, ess_threshold=1e-9).run(
                problem, seed=1
            )
            for count in ("generated_tokens", "lm_tokens_forwarded", "prm_tokens_forwarded", "prm_calls"):
                assert getattr(smaller, count) == getattr(again, count), count
            assert [one.text for one in smaller.trajectories] == [one.text for one in again.trajectories]
            for one, other in zip(smaller.trajectories, again.trajectories, strict=True):
                assert one.scores == pytest.approx(other.scores, abs=1e-5)
        assert pool.generated_tokens == sum(one.num_tokens for one in pool.trajectories)
        assert (pool.prm_calls > 0) == method.scored


def test_votes_do_not_call_the_reward_model():
    class Untouchable:
        scores_prefixes = False

        def start(self, prompts, num_particles):
            raise AssertionError("called")

    model = early_ends(LIKELIHOODS["bernoulli"])
    model.reward_model = Untouchable()
    for kind in (Greedy, SingleSample, MajorityVote):
        result = make(kind, model).run("?", seed=0)
        assert result.prm_calls == result.prm_tokens_forwarded == 0 and result.configuration["reward_model"] is None
        assert all(one.scores == () and math.isnan(one.score) for one in result.trajectories)
    with pytest.raises(AssertionError, match="called"):
        make(BestOfN, model).run("?", seed=0)


def test_a_vote_on_a_scored_pool_is_what_the_vote_would_have_been():
    model = early_ends(LIKELIHOODS["bernoulli"])
    pool = make(BestOfN, model, num_completions=9).run("?", seed=1)
    voted = make(MajorityVote, model).select(pool)
    assert pool.prm_calls == pool.generated_tokens and voted.prm_calls == voted.prm_tokens_forwarded == 0
    assert voted.generated_tokens == pool.generated_tokens and voted.lm_tokens_forwarded == pool.lm_tokens_forwarded
    assert voted.configuration["reward_model"] is None and voted.seed == pool.seed and voted.seconds == pool.seconds
    assert all(math.isnan(one.score) for one in voted.trajectories)
    assert isinstance(voted, CompletionsResult) and json.dumps(voted.to_dict(), allow_nan=False)


def test_a_run_is_reproducible_and_the_likelihood_is_nothing_to_it():
    runs = [make(BestOfN, early_ends(one), num_completions=7).run("?", seed=5) for one in LIKELIHOODS.values()]
    assert len({tuple(one.text for one in run.trajectories) for run in runs}) == 1
    assert {run.configuration["likelihood"] for run in runs} == {None}
    other = make(BestOfN, early_ends(None), num_completions=7).run("?", seed=6)
    assert [one.text for one in other.trajectories] != [one.text for one in runs[0].trajectories]


class Picky(LanguageModelStateSpace):
    """Gives probability zero to whatever follows a question mark, and to nothing else."""

    def step(self, state, t):
        super().step(state, t)
        size = len(state["slot"])
        dead = torch.tensor([self.forbidden[group] for group in state.groups]).repeat_interleave(size // len(state.groups))
        pyro.factor(f"pick_{t}", torch.where(dead, -math.inf, 0.0).double())


def test_a_problem_whose_completions_are_all_impossible_fails_alone():
    plain = early_ends(None)
    model = Picky(plain.language_model, plain.reward_model, max_steps=5)
    model.forbidden = [False] * 3 + [True] * 3 + [False, True, False]
    outcomes = make(MajorityVote, model, num_completions=3).run_batch(["!", "?", "!"], seed=0)
    assert isinstance(outcomes[1], AllWeightsZeroError)
    assert outcomes[0].num_completions == outcomes[2].num_completions == 3
    lost = outcomes[2].trajectories[1]
    assert lost.truncated and not lost.finished and lost.answer is None
    model.forbidden = [True] * 9
    with pytest.raises(AllWeightsZeroError):
        make(MajorityVote, model, num_completions=3).run("?", seed=0)


def test_a_completion_that_is_impossible_from_the_beginning_has_no_score_and_no_weight():
    class AtOnce(LanguageModelStateSpace):
        def init(self, state, prompts):
            super().init(state, prompts)
            pyro.factor("pick", torch.tensor([0.0, -math.inf, 0.0]))

    plain = early_ends(None)
    model = AtOnce(plain.language_model, plain.reward_model, max_steps=5)
    one, lost, other = make(WeightedBestOfN, model, num_completions=3).run("?", seed=0).trajectories
    assert lost.text == "" and math.isnan(lost.score) and lost.weight == 0
    assert one.weight == pytest.approx(one.score / (one.score + other.score))


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda: MajorityVote(early_ends(None), num_completions=0),
            ValueError,
            "num_completions to be .* at least 1, got 0",
        ),
        (lambda: BestOfN(early_ends(None), num_completions=2.0), ValueError, "integer of at least 1, got 2.0"),
        (lambda: MajorityVote(object()), TypeError, "expected a LanguageModelStateSpace, got object"),
        (lambda: BestOfN(LanguageModelStateSpace(None, None)), ValueError, "which best of n selects by, got one without"),
        (lambda: pool(MajorityVote, 4, select=BestOfN), ValueError, "completions with scores, .* got some of majority vote"),
        (lambda: pool(BestOfN, 4, select=MajorityVote, size=5), ValueError, "at most the 4 completions of the pool, got 5"),
        (lambda: pool(BestOfN, 4, select=MajorityVote, size=0), ValueError, "num_completions to be .* got 0"),
        (lambda: pool(BestOfN, 4, select=Greedy), ValueError, "drawn as greedy draws them, got some of best of n"),
        (lambda: pool(AdaptiveSelfConsistency, None, select=MajorityVote), TypeError, "independent .*, got AdaptiveResult"),
    ],
)
def test_bad_settings(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def pool(kind, num_completions, *, select, size=None):
    model = early_ends(None)
    settings = {} if num_completions is None else {"num_completions": num_completions}
    return make(select, model).select(make(kind, model, **settings).run("?", seed=0), size)
