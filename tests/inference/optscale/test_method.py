"""OptScale against the exact law of when it stops and with what, on worlds whose law of scores is known by listing."""

import json
import math
from collections import defaultdict

import pytest
import torch

from ppl_scaling.backends.finite import FiniteLanguageModel, FunctionRewardModel
from ppl_scaling.inference import ParticleFilter
from ppl_scaling.inference.optscale import (
    AnswerRule,
    Evidence,
    GuaranteeRule,
    OptScale,
    OptScaleReplicates,
    PlugInRule,
    replay,
)
from ppl_scaling.models import BernoulliLikelihood, LanguageModelStateSpace
from ppl_scaling.models.scores import BetaScores, Prior, TruncatedNormalScores
from ppl_scaling.models.scores.dirichlet import DirichletScores
from tests.inference.optscale.ends import LAW, RULES, five_ends, law_of_the_end
from tests.statistics import assert_mean
from tests.worlds import LIKELIHOODS, LastLetter, early_ends


def make(model=None, rule=None, **settings):
    model = early_ends(LIKELIHOODS["bernoulli"]) if model is None else model
    return OptScale(model, rule, answer_format=LastLetter(), **{"score_model": LAW, **settings})


@pytest.mark.parametrize(
    ("rule", "limit", "round_size"), [("guarantee", 4, 1), ("kept plan", 4, 3), ("price", 4, 2), ("answer", 4, 4)]
)
def test_the_law_of_when_it_stops_and_with_what(rule, limit, round_size):
    model = five_ends(LIKELIHOODS["bernoulli"])
    law = law_of_the_end(model, RULES[rule], limit, round_size)
    assert math.isclose(sum(law.values()), 1) and len({number for _, number, _ in law}) > 1
    method = make(model, RULES[rule], max_completions=limit, round_size=round_size, choice="best_score")
    results = method.run_batch(["?"] * 150, seed=3)
    for outcome, probability in law.items():
        if probability * len(results) > 10:
            assert_mean([(one.answer, one.num_completions, one.stopped_because) == outcome for one in results], probability)
    assert_mean([one.num_completions for one in results], sum(n * p for (_, n, _), p in law.items()))


def test_the_decisions_are_those_of_the_rule_and_the_costs_add_up():
    method = make(rule=GuaranteeRule(0.95, 0.8), max_completions=9, min_completions=2, round_size=3)
    for one in method.run_batch(["?"] * 20, seed=1):
        scores = tuple(None if each.answer is None else each.score for each in one.trajectories)
        pool = Evidence(scores, 0, LAW)
        settings = {"min_completions": 2, "max_completions": 9, "round_size": 3}
        if one.num_completions == 9:
            assert list(one.decisions) == replay(method.rule, pool, **settings)
        assert one.decisions[-1].stop and one.num_rounds == len(one.decisions)
        assert one.num_completions == len(one.costs) == one.decisions[-1].num_seen <= 9
        assert one.generated_tokens == sum(each.num_tokens for each in one.trajectories)
        assert one.generated_tokens == sum(each.generated_tokens for each in one.costs)
        assert one.prm_tokens_forwarded == sum(each.prm_tokens_forwarded for each in one.costs) > 0
        assert one.posterior.num_scores == len(scores)  # without an answer a score of 0
        assert one.decided == (one.stopped_because == "target_reached")


def sure_worlds():
    """Each problem has one answer, whose score is its number in tenths; problems are letters a to j."""
    table = {"": {"x": 1.0}, "x": {"$": 1.0}}
    reward = FunctionRewardModel(lambda prompt, text: ("abcdefghij".index(prompt) + 1) / 11)
    return LanguageModelStateSpace(FiniteLanguageModel(table), reward, BernoulliLikelihood(), max_steps=3)


def test_problems_of_a_batch_are_decided_apart():
    """Nothing is random here, so a batch is equal to runs of its problems alone."""
    method = make(sure_worlds(), GuaranteeRule(0.8, 0.7), max_completions=12, round_size=2)
    problems = list("ajeia")
    batch = method.run_batch(problems, seed=0)
    for problem, one in zip(problems, batch, strict=True):
        alone = method.run(problem, seed=5)
        assert (one.num_completions, one.decisions, one.answers) == (alone.num_completions, alone.decisions, alone.answers)
        assert one.generated_tokens == alone.generated_tokens and one.lm_tokens_forwarded == alone.lm_tokens_forwarded
    assert batch[1].num_completions == 1 and batch[1].decided
    assert batch[0].num_completions > 1 and not batch[0].decided


def test_a_seed_gives_the_same_and_leaves_the_generator_alone():
    method = make(max_completions=6, target_score=0.9)
    torch.manual_seed(4)
    before = torch.get_rng_state()
    first, second = (method.run_batch(["?", "!"], seed=11) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert [one.trajectories for one in first] == [one.trajectories for one in second]
    assert [one.decisions for one in first] == [one.decisions for one in second]


def test_all_that_is_asked_for_at_once():
    method = make(rule=GuaranteeRule(0.99, 0.5, give_up_below=0), max_completions=50, round_size=None)
    one = method.run("?", seed=0)
    assert one.decisions[1].num_seen == 1 + min(one.decisions[0].further, 49)


def test_choices():
    by_score, vote, plain = (
        make(rule=RULES["price"], min_completions=8, **settings)
        for settings in ({}, {"choice": "mode"}, {"choice": "mode", "weigh_by_score": False})
    )
    for seed in range(10):
        one = by_score.run("?", seed=seed)
        answering = [each for each in one.trajectories if each.answer is not None]
        assert one.answer == max(answering, key=lambda each: each.score).answer == one.choose("best_score")
        assert one.best_score == max(each.score for each in answering)
        assert vote.run("?", seed=seed).answer == one.answers[0].answer
        shares = defaultdict(float)
        for each in one.trajectories:
            shares[each.answer] += each.score / sum(other.score for other in one.trajectories)
        assert {each.answer: each.probability for each in one.answers} == pytest.approx(
            {answer: share for answer, share in shares.items() if answer is not None}
        )
        counts = plain.run("?", seed=seed)
        assert all(each.weight == pytest.approx(1 / counts.num_completions) for each in counts.trajectories)
    for rule in ("answer", AnswerRule(0.9)):
        assert make(rule=rule).choice == "mode" and not make(rule=rule).weigh_by_score


def test_a_prior_for_each_problem():
    asked = []

    def spy(problem):
        asked.append(problem)
        return BetaScores.default_prior

    make(score_model="beta", prior=spy, max_completions=2).run_batch(["?", "!"], seed=0)
    assert asked == ["?", "!"]
    assert make(score_model="beta", prior=spy).configuration["prior_function"] == "spy"
    fixed = Prior({name: 0.5 for name in BetaScores.parameters}, {name: 0.1 for name in BetaScores.parameters})
    method = make(score_model=BetaScores(), prior=fixed, max_completions=2)
    assert method.run("?", seed=0).evidence.score_model.prior == fixed
    assert BetaScores().prior != fixed


def test_results_are_json():
    never = make(rule=GuaranteeRule(0.99, 1.0, give_up_below=1.0), max_completions=3)
    found = json.loads(json.dumps(never.run("?", seed=1).to_dict()))
    assert found["stopped_because"] == "unreachable" and found["decisions"][-1]["required"] == "infinite"
    assert found["num_completions"] == 1 and found["configuration"]["max_completions"] == 3
    assert found["configuration"]["rule"] == "GuaranteeRule(target_score=0.99, confidence=1.0, give_up_below=1.0, peek=None)"
    assert "stopped" not in make().method and "unreachable" in repr(never.run("?", seed=1))


def test_plug_in_rules_are_methods_too():
    model = early_ends(LIKELIHOODS["bernoulli"])
    for name in ("optscale_0", "optscale_t", "sequential_optscale_0", "sequential_optscale_t"):
        one = make(model, name, score_model=TruncatedNormalScores(), target_score=0.8, max_completions=8).run("?", seed=2)
        assert 1 <= one.num_completions <= 8 and isinstance(make(model, name, peek=2).rule, PlugInRule)
    for rule in ("optscale_t", "price or optscale_t"):  # whose prior is that of the score model
        settings = {"price": 0.01} if "price" in rule else {}
        assert isinstance(make(model, rule, score_model=None, **settings).laws.score_model, TruncatedNormalScores)


def test_nothing_has_an_answer():
    """Every completion is cut, so nothing is ever scored, and the guarantee gives up by what it has learned of answers."""
    model = LanguageModelStateSpace(
        FiniteLanguageModel({"": {"a": 1.0, "$": 0.0}}),
        FunctionRewardModel(lambda prompt, text: 0.9),
        BernoulliLikelihood(),
        max_steps=2,
    )
    one = make(model, GuaranteeRule(0.8, 0.9), max_completions=40).run("?", seed=0)
    assert one.answer is None and one.answers == () and math.isnan(one.best_score)
    assert one.stopped_because in ("beyond_limit", "unreachable", "max_completions") and not one.decided
    assert one.no_answer_probability == pytest.approx(1) and one.to_dict()["best_score"] is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_completions": 0}, "min_completions to be an integer of at least 1, got 0"),
        ({"min_completions": 9, "max_completions": 8}, "min_completions to be at most 8, got 9"),
        ({"round_size": 0}, "round_size to be an integer of at least 1, got 0"),
        ({"score_model": "gauss"}, "a score model among truncated-normal, beta, .*, got 'gauss'"),
        ({"choice": "luck"}, "a final choice among"),
        ({"target_score": 2.0}, "target_score to be in"),
        ({"score_model": DirichletScores(0.0)}, "a concentration above 0"),
        ({"prior": BetaScores.default_prior}, "a score model with parameters for a prior"),
        ({"score_model": "truncated-normal", "prior": Prior({"x": 0.0}, {"x": 1.0})}, "expected a prior of"),
    ],
)
def test_mistakes_are_said(settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


def test_a_reward_model_is_needed():
    model = LanguageModelStateSpace(FiniteLanguageModel({"": {"$": 1.0}}), None, max_steps=2)
    with pytest.raises(ValueError, match="a model with a reward model"):
        make(model)
    with pytest.raises(ValueError, match="a method with a reward model"):
        OptScaleReplicates(ParticleFilter(model))
    with pytest.raises(TypeError, match="a score model or the name of one, got int"):
        make(score_model=3)
