"""Stopping rules against direct integration, and the methods that stop against the exact law of when and with what."""

import itertools
import json
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from scipy import integrate

from ppl_scaling.backends.finite import FiniteLanguageModel
from ppl_scaling.backends.prompts import render_prompt
from ppl_scaling.inference.baselines import (
    BASELINES,
    AdaptiveSelfConsistency,
    DifficultyAdaptiveSelfConsistency,
    EarlyStoppingSelfConsistency,
    MajorityVote,
    beta_confidence,
    dirichlet_confidence,
)
from ppl_scaling.inference.baselines.rounds import Pool
from ppl_scaling.models import LanguageModelStateSpace
from tests.inference.baselines import laws
from tests.statistics import assert_mean
from tests.worlds import LIKELIHOODS, early_ends, make

ADAPTIVE = [AdaptiveSelfConsistency, EarlyStoppingSelfConsistency, DifficultyAdaptiveSelfConsistency]


def direct_beta(leader, second):
    def density(p):
        return p**leader * (1 - p) ** second

    return integrate.quad(density, 0.5, 1)[0] / integrate.quad(density, 0, 1)[0]


@pytest.mark.parametrize("votes", [(1,), (4,), (2, 1), (7, 3), (3, 3), (40, 17), (5, 2, 2), (1, 6, 0)])
def test_beta_confidence_is_the_integral(votes):
    leader, second = [*sorted(votes, reverse=True), 0][:2]
    assert beta_confidence(votes) == pytest.approx(direct_beta(leader, second), abs=1e-8)


def test_four_that_agree_are_enough():
    """1 - 1 / 2^(n+1) after n votes for one answer: .9375 after three, .96875 after four."""
    assert [beta_confidence([n]) for n in (1, 2, 3, 4)] == pytest.approx([0.75, 0.875, 0.9375, 0.96875])


@pytest.mark.parametrize("votes", [(2, 1, 1), (5, 3, 2), (1, 4, 2), (9, 0, 0), (3, 3, 1)])
def test_dirichlet_confidence_is_the_integral_over_the_simplex(votes):
    first, second, third = sorted(votes, reverse=True)

    def density(q, p):
        return p**first * q**second * (1 - p - q) ** third

    # p is the largest: q < p and 1 - p - q < p; in two pieces, where the limits are smooth.
    inside = sum(
        integrate.dblquad(density, low, high, lambda p: max(0.0, 1 - 2 * p), lambda p: min(p, 1 - p))[0]
        for low, high in ((1 / 3, 1 / 2), (1 / 2, 1))
    )
    whole = integrate.dblquad(density, 0, 1, 0, lambda p: 1 - p)[0]
    assert dirichlet_confidence(votes) == pytest.approx(inside / whole, abs=1e-7)


def test_dirichlet_confidence_of_many_answers():
    votes = [12, 9, 8, 3, 1, 1]
    draws = np.random.default_rng(0).dirichlet(np.array(votes) + 1, 200_000)
    assert_mean(draws.argmax(1) == 0, dirichlet_confidence(votes))
    assert dirichlet_confidence([5] * 7) == pytest.approx(1 / 7, abs=1e-8)
    assert dirichlet_confidence([6, 2]) == beta_confidence([6, 2])
    assert dirichlet_confidence([400, 300, 1, 1]) == pytest.approx(beta_confidence([400, 300]), abs=1e-6)


def adaptive_law(model, decided, round_size, limit):
    """Law of (answer, number of completions, decided) by listing all sequences of answers."""
    answers = defaultdict(float)
    for (answer, _), probability in laws.outcomes(model).items():
        answers[answer] += probability
    law = defaultdict(float)

    def go_on(drawn, probability):
        done = bool(drawn) and decided(drawn)
        if done or len(drawn) == limit:
            law[laws.majority([(one, 0) for one in drawn]), len(drawn), done] += probability
            return
        for more in itertools.product(answers.items(), repeat=min(round_size, limit - len(drawn))):
            go_on(drawn + [one for one, _ in more], probability * math.prod(p for _, p in more))

    go_on([], 1.0)
    return law


def beta_rule(threshold):
    def decided(drawn):
        votes = sorted(Counter(one for one in drawn if one is not None).values(), reverse=True)
        return bool(votes) and direct_beta(*[*votes, 0][:2]) >= threshold

    return decided


def window_rule(size):
    def decided(drawn):
        window = set(drawn[-size:])
        return len(drawn) % size == 0 and len(window) == 1 and window != {None}

    return decided


CASES = {
    "one at a time": (AdaptiveSelfConsistency, {"threshold": 0.85, "max_completions": 7}, beta_rule(0.85), 1),
    "in batches": (AdaptiveSelfConsistency, {"threshold": 0.85, "max_completions": 8, "batch_size": 3}, beta_rule(0.85), 3),
    "windows": (EarlyStoppingSelfConsistency, {"window_size": 2, "max_completions": 7}, window_rule(2), 2),
}


@pytest.mark.parametrize(("kind", "settings", "decided", "round_size"), CASES.values(), ids=CASES)
def test_the_law_of_when_it_stops_and_with_what(kind, settings, decided, round_size):
    model = early_ends(LIKELIHOODS["odds"])
    law = adaptive_law(model, decided, round_size, settings["max_completions"])
    results = make(kind, model, **settings).run_batch(["?"] * 500, seed=1)
    for outcome, probability in law.items():
        if probability * len(results) > 10:
            assert_mean([(one.answer, one.num_completions, one.decided) == outcome for one in results], probability)
    assert_mean([one.num_completions for one in results], sum(n * p for (_, n, _), p in law.items()))
    for one in results:
        assert one.num_rounds == math.ceil(one.num_completions / round_size)
        assert all(math.isnan(entry.standard_error) for entry in one.answers)
        assert sum(entry.probability for entry in one.answers) + one.no_answer_probability == pytest.approx(1)


def two_kinds():
    """A problem that ends in 's' is sure to be answered 'a'; any other has eight answers that are equally likely."""
    letters = "abcdefgh"
    table = {"": dict.fromkeys(letters, 1 / 8), "s": {"a": 1.0}} | {letter: {"$": 1.0} for letter in letters}
    table["q"] = dict.fromkeys(letters, 1 / 8)
    return LanguageModelStateSpace(FiniteLanguageModel(table), None, max_steps=3)


@pytest.mark.parametrize("rule", ["beta", "dirichlet"])
def test_undecided_problems_go_on_alone(rule):
    method = make(AdaptiveSelfConsistency, two_kinds(), max_completions=9, rule=rule)
    sure, open_one, again = method.run_batch(["s", "q", "as"], seed=0)
    assert sure.num_completions == again.num_completions == 4 and sure.decided and sure.answer == "a"
    assert open_one.num_completions > 4 and sure.num_rounds == 4 and open_one.num_rounds == open_one.num_completions


def test_windows_stop_early_only_if_they_agree():
    method = make(EarlyStoppingSelfConsistency, two_kinds(), max_completions=8, window_size=3)
    sure, open_one = method.run_batch(["s", "q"], seed=0)
    assert (sure.num_completions, sure.num_rounds, sure.decided) == (3, 1, True)
    assert (open_one.num_completions, open_one.num_rounds, open_one.decided) == (8, 3, False)


def test_a_batch_of_problems_of_all_difficulties():
    """Twelve hard problems and eight sure ones, ranked by their length; blocks of four."""
    hard, easy = ["x " * n + "q" for n in range(30, 42)], ["x " * n + "s" for n in range(8)]
    problems = [*itertools.chain.from_iterable(itertools.zip_longest(easy, hard))]
    problems = [one for one in problems if one is not None]
    method = make(
        DifficultyAdaptiveSelfConsistency, two_kinds(), max_completions=20, num_presamples=3, judge_window=4, threshold=0.999
    )
    results = dict(zip(problems, method.run_batch(problems, seed=0), strict=True))
    # Three blocks of hard problems never agree, a block of sure ones does, and all that is easier has one completion.
    assert [results[one].num_completions for one in easy[:4]] == [1] * 4
    assert all(results[one].num_completions >= 9 and results[one].decided for one in easy[4:])
    assert all(results[one].num_completions == 20 and not results[one].decided for one in hard)
    # The first block comes to its 20 in rounds of four, the next ones are given what it has needed at once.
    assert [results[one].num_rounds for one in hard[-4:]] == [6] * 4
    assert [results[one].num_rounds for one in hard[:8]] == [2] * 8
    assert [one.problem for one in results.values()] == problems
    assert all(results[one].answer == "a" for one in easy)


def test_a_block_is_given_what_the_block_before_has_needed():
    class NeedsSeven(DifficultyAdaptiveSelfConsistency):
        def decided(self, pool):
            return len(pool.completions) >= 7

    settings = {"num_presamples": 3, "judge_window": 2, "batch_size": 2, "max_completions": 30}
    results = make(NeedsSeven, two_kinds(), **settings).run_batch(["x x x q", "x x q", "x q", "q"], seed=0)
    assert [one.num_completions for one in results] == [7] * 4
    assert [one.num_rounds for one in results] == [3, 3, 2, 2]  # 3 + 2 + 2, and then 3 + 4


def test_what_a_block_has_needed_is_rounded_up():
    class FourOrSeven(DifficultyAdaptiveSelfConsistency):
        def decided(self, pool):
            return len(pool.completions) >= (4 if len(set(pool.answers)) == 1 else 7)

    settings = {"num_presamples": 3, "judge_window": 2, "batch_size": 1, "max_completions": 30}
    results = make(FourOrSeven, two_kinds(), **settings).run_batch(["x x x q", "x x s", "x q", "q"], seed=0)
    assert [one.num_completions for one in results] == [7, 4, 7, 7]
    assert [one.num_rounds for one in results] == [5, 2, 3, 3]  # of 5.5 there are 6 at once, and then 1


def test_problems_that_agree_one_after_the_other_may_stand_in_two_blocks():
    settings = {"num_presamples": 3, "judge_window": 2, "max_completions": 8}
    problems = ["x x x x x q", "x x x x s", "x x x s", "x x q", "x q", "q"]
    results = make(DifficultyAdaptiveSelfConsistency, two_kinds(), **settings).run_batch(problems, seed=0)
    assert all(one.num_completions >= 3 for one in results[:4])
    assert [one.num_completions for one in results[4:]] == [1, 1]


def test_a_window_is_one_of_those_that_were_drawn():
    method = make(EarlyStoppingSelfConsistency, two_kinds(), window_size=2)
    for answers, decided in [([0, 0], True), ([0, 1, 1], False), ([0, 1, 1, 1], True), ([0, 0, None, None], False)]:
        assert method.decided(Pool([], 0, answers)) is decided


def test_a_problem_alone_has_presamples_and_then_rounds():
    method = make(DifficultyAdaptiveSelfConsistency, two_kinds(), max_completions=11, num_presamples=5, batch_size=3)
    sure, open_one = method.run("s", seed=0), method.run("q", seed=0)
    assert (sure.num_completions, sure.num_rounds, sure.decided) == (5, 1, True)
    assert open_one.num_completions in (8, 11) and open_one.num_rounds == open_one.num_completions // 3
    hardest_last = make(DifficultyAdaptiveSelfConsistency, two_kinds(), difficulty=lambda problem: -len(problem))
    assert [one.num_completions for one in hardest_last.run_batch(["s", "xs"], seed=0)] == [4, 4]
    assert hardest_last.configuration["difficulty"] == "<lambda>"


def test_every_round_reads_its_problem_again(tiny_lm):
    model = LanguageModelStateSpace(tiny_lm, None, max_steps=4, max_step_tokens=5)
    method = AdaptiveSelfConsistency(model, max_completions=6, batch_size=2)
    for problem, result in zip(["abc", "hello"], method.run_batch(["abc", "hello"], seed=0), strict=True):
        prompt = len(render_prompt(tiny_lm.tokenizer, problem))
        assert (result.num_completions, result.num_rounds, result.answer) == (6, 3, None)
        assert result.lm_tokens_forwarded == 3 * prompt + result.generated_tokens - 6
        assert result.generated_tokens == sum(one.num_tokens for one in result.trajectories)
        assert result.prm_calls == result.prm_tokens_forwarded == 0


@pytest.mark.parametrize("method", BASELINES)
def test_every_baseline_by_its_name(method):
    kind = BASELINES[method]
    budget = {} if kind.budget is None else {kind.budget: 4}
    seen = []
    made = make(kind, early_ends(None), **budget)
    results = made.run_batch(["?", "!"], seed=3, on_step=seen.append)
    assert kind.method == method and seen and len(results) == 2
    for result in results:
        assert result.method == method and result.seed == 3 and result.seconds > 0 and method in repr(result)
        assert budget.items() <= result.configuration.items() and result.configuration["likelihood"] is None
        assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["method"] == method
        assert result.generated_tokens >= max(one.num_tokens for one in result.trajectories)
    again = make(kind, early_ends(None), **budget).run_batch(["?", "!"], seed=3)
    assert [one.to_dict()["trajectories"] for one in again] == [one.to_dict()["trajectories"] for one in results]
    assert made.run_batch([]) == []


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (AdaptiveSelfConsistency, {"rule": "entropy"}, "stopping rule among beta, dirichlet, got 'entropy'"),
        (AdaptiveSelfConsistency, {"threshold": 0.5}, r"threshold to be in \(0.5, 1\), got 0.5"),
        (AdaptiveSelfConsistency, {"threshold": 1.0}, r"threshold to be in \(0.5, 1\), got 1.0"),
        (AdaptiveSelfConsistency, {"batch_size": 0}, "batch_size to be an integer of at least 1, got 0"),
        (AdaptiveSelfConsistency, {"max_completions": -1}, "max_completions to be an integer of at least 1, got -1"),
        (EarlyStoppingSelfConsistency, {"window_size": 0}, "window_size to be an integer of at least 1, got 0"),
        (DifficultyAdaptiveSelfConsistency, {"judge_window": 0}, "judge_window to be an integer of at least 1, got 0"),
        (DifficultyAdaptiveSelfConsistency, {"num_presamples": 41}, "num_presamples to be at most 40, got 41"),
    ],
)
def test_bad_settings(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(early_ends(None), **settings)


def test_difficulty_is_a_function():
    with pytest.raises(TypeError, match="difficulty to be a function of a problem, got 3"):
        DifficultyAdaptiveSelfConsistency(early_ends(None), difficulty=3)
    assert {kind.budget for kind in BASELINES.values()} == {None, "num_completions", "num_particles", "max_completions"}
    assert MajorityVote.budget == "num_completions" and all(kind.budget == "max_completions" for kind in ADAPTIVE)
