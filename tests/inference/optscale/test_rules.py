"""Stopping rules: what they ask for, when they stop and what they say, held against the posterior and against counts."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from ppl_scaling.inference.baselines import beta_confidence, dirichlet_confidence
from ppl_scaling.inference.optscale import (
    AllOf,
    AnswerRule,
    AnyOf,
    CoverageRule,
    Decision,
    Evidence,
    GuaranteeRule,
    PlugInRule,
    PriceRule,
    ask,
    infer_scores,
    replay,
    required_completions,
    stopping_rule,
)
from ppl_scaling.inference.optscale.answered import AnsweredPosterior
from ppl_scaling.inference.optscale.rules import readable
from ppl_scaling.models.scores import BetaScores, LogitNormalScores, TruncatedNormalScores
from ppl_scaling.models.scores.dirichlet import DirichletScores
from tests.statistics import assert_mean

SEEN = (0.55, 0.7, 0.62, 0.8, 0.45)
LAWS = {"beta": BetaScores(), "dirichlet": DirichletScores()}


def evidence(scores=SEEN, allowed=20, law="beta", **more):
    return Evidence(tuple(scores), allowed, LAWS.get(law, law), **more)


@pytest.mark.parametrize("law", LAWS)
def test_the_guarantee_asks_for_the_number_that_keeps_it(law):
    seen = evidence(allowed=10**6, law=law)
    decision = GuaranteeRule(0.9, 0.8).decide(seen)
    number = required_completions(seen.posterior, 0.9, 0.8).number
    assert not decision.stop and decision.further == decision.required == number > 1
    missed = np.exp(seen.posterior.log_power_mean(0.9, np.array([number - 1, number])))
    assert missed[0] > 0.2 >= missed[1]
    low, high = decision.required_interval
    assert 1 <= low < number < high


def test_the_interval_is_that_of_the_number_given_the_law():
    """Under a Dirichlet process F(x) is a Beta variable, and the number falls with it."""
    law = DirichletScores(2.0)
    low, high = GuaranteeRule(0.85, 0.9).decide(evidence(law=law)).required_interval
    cdf = stats.beta(2 * 0.85 + 5, 2 * 0.15)
    expected = np.ceil(np.log(0.1) / np.log(cdf.ppf([0.05, 0.95])))
    assert (low, high) == pytest.approx(expected, rel=0.02)


def test_a_reached_target_stops():
    decision = GuaranteeRule(0.8, 0.99).decide(evidence())
    assert decision.stop and decision.because == "target_reached" and decision.further == decision.required == 0
    assert decision.reason == "the best score 0.800 has reached the target 0.8"


def test_what_cannot_be_guaranteed_is_said_and_weighed():
    rule = GuaranteeRule(0.97, 0.9)
    seen = evidence(allowed=5)
    chance = 1 - math.exp(seen.posterior.log_power_mean(0.97, 5))
    gives_up = rule.decide(seen)
    assert chance < 0.1 and gives_up.stop and gives_up.because == "beyond_limit"
    assert gives_up.probability == pytest.approx(chance) and gives_up.required > 5
    assert gives_up.required > 10**6
    says = f"the target 0.97 is out of reach in practice: only {readable(gives_up.required)} more reach it"
    assert says in gives_up.reason
    assert f"5 are allowed, and reach it with probability {chance:.3g}, below 0.1" in gives_up.reason
    spends = replace(rule, give_up_below=0.0).decide(seen)
    assert not spends.stop and spends.further == gives_up.required  # not clipped
    at_once = replace(rule, give_up_below=0.9).decide(evidence(allowed=int(gives_up.required) - 1))
    assert at_once.stop and 0.5 < at_once.probability < 0.9
    assert not rule.decide(evidence(allowed=int(gives_up.required) - 1)).stop
    assert ask(replace(rule, give_up_below=0.0), evidence(allowed=0)).because == "max_completions"


def test_a_target_out_of_reach_is_infinitely_far():
    bootstrap = DirichletScores(0.0)  # every further score repeats a seen one
    decision = GuaranteeRule(0.9, 0.5).decide(evidence(law=bootstrap))
    assert decision.stop and decision.because == "unreachable" and decision.required == math.inf
    assert decision.probability == 0 and "no number of completions reaches the target 0.9" in decision.reason
    spends = GuaranteeRule(0.9, 0.5, give_up_below=0.0).decide(evidence(law=bootstrap))
    assert not spends.stop and spends.further == 20


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("scores", [(0.4,), (0.5,) * 6, (0.0, 0.0), (0.0, 0.3, 0.0)])
def test_edges(law, scores):
    seen = evidence(scores, law=law)
    assert GuaranteeRule(0.0, 1.0).decide(seen).because == "target_reached"
    for target, confidence in [(0.7, 0.9), (0.7, 1.0), (1.0, 0.9), (1.0, 1.0), (0.99, 0.01)]:
        decision = GuaranteeRule(target, confidence).decide(seen)
        assert decision.stop == (decision.further == 0) and 0 <= decision.probability <= 1 and decision.required >= 1
        if confidence == 1:
            assert decision.required == math.inf and decision.further == 20  # nothing is sure, so all is spent
    assert PriceRule(0.01).decide(seen).further >= 0


def test_one_is_reached_and_a_price_stops_there():
    for law in LAWS.values():
        seen = evidence((1.0,), law=law)
        assert GuaranteeRule(1.0, 1.0).decide(seen).because == "target_reached"
        assert PriceRule(1e-6).decide(seen).stop


@pytest.mark.parametrize(("number", "confidence"), [(3, 0.5), (10, 0.6)])
def test_the_promise_of_a_kept_plan(number, confidence):
    """Problems from the prior; each one's chance to reach the target by the end of its plan, given its law.

    The mean may exceed the confidence, because numbers are whole, and falls below it by 5 standard errors with probability
    3e-7.
    """
    law, rule = BetaScores(), GuaranteeRule(0.9, confidence, give_up_below=0.0, peek=number)
    generator = torch.Generator().manual_seed(7)
    values = law.prior.sample((30,), generator)
    scores = law.sample(values, (number,), generator=generator).T.numpy()
    log_cdf = law.log_cdf(0.9, values).numpy()
    kept = []
    for row, below in zip(scores, log_cdf, strict=True):
        decision = rule.decide(evidence(row, 10**12))
        kept.append(1.0 if decision.because == "target_reached" else -math.expm1(below * decision.required))
    kept = np.array(kept)
    assert kept.mean() > confidence - 5 * kept.std(ddof=1) / math.sqrt(len(kept))


def test_a_kept_plan_is_spent_and_no_more():
    rule = GuaranteeRule(0.75, 0.6, peek=3)
    assert rule.decide(evidence(SEEN[:2])).further == 1
    planned = rule.decide(evidence(SEEN[:3], 500)).further
    assert rule.decide(evidence((*SEEN[:3], 0.1), 499)).further == planned - 1
    spent = rule.decide(evidence((*SEEN[:3], *[0.1] * planned), 500 - planned))
    assert (
        planned > 1
        and spent.because == "plan_spent"
        and f"the {planned} completions planned after 3 are spent" in spent.reason
    )
    pool = evidence((*SEEN[:3], *[0.1] * 500))
    assert replay(rule, pool, round_size=None)[-1].num_seen == 3 + planned


def test_the_price_stops_where_no_number_pays():
    seen = evidence()
    gains = [seen.posterior.expected_gain(m) for m in range(1, 21)]
    critical = max(gain / m for m, gain in enumerate(gains, 1))
    assert PriceRule(critical * 1.02).decide(seen).because == "not_worthwhile"
    goes_on = PriceRule(critical * 0.5).decide(seen)
    best = 1 + int(np.argmax([gain - critical * 0.5 * m for m, gain in enumerate(gains, 1)]))
    assert goes_on.because == "worthwhile" and goes_on.further == best
    by_token = PriceRule(critical * 0.5 / 30, per="token")
    assert by_token.decide(evidence(tokens=(20, 40, 10, 50, 30))).further == best
    with pytest.raises(ValueError, match="evidence with tokens"):
        by_token.decide(seen)


def test_an_answer_is_settled_by_the_posterior_of_all_answers():
    rule = AnswerRule(0.95)
    assert rule.decide(Evidence((), 9)).further == 4  # 1 - 1 / 2^5 is the first above 0.95
    for votes in itertools.product(range(1, 6, 2), range(3), range(2)):
        answers = tuple(number for number, count in enumerate(votes) for _ in range(count))
        decision = rule.decide(Evidence((0.5,) * len(answers), 50, answers=answers))
        probability = dirichlet_confidence([*(count for count in votes if count), 0])
        assert decision.probability == probability and decision.stop == (probability >= 0.95)
        if not decision.stop:  # all that is asked for is needed, even if all agree
            leader, *others = sorted(votes, reverse=True)
            enough = [
                dirichlet_confidence([leader + more, *(v for v in others if v), 0]) for more in range(decision.further + 1)
            ]
            assert enough[-1] >= 0.95 > enough[-2]
    assert AnswerRule(0.95, "top two").probability([9, 3, 3, 3]) == beta_confidence([9, 3]) > rule.probability([9, 3, 3, 3])
    nobody = rule.decide(Evidence((None, None), 3, answers=(None, None)))
    assert nobody.probability == 0 and nobody.further == 4


@pytest.mark.parametrize(("most", "peek"), [(8, 3), (16, 5), (32, 10), (64, 20)])
def test_the_plug_in_rule_peeks_as_the_paper_does(most, peek):
    rule = PlugInRule("optscale_0", 0.9, 0.9)
    generator = np.random.default_rng(1)
    pool = evidence(generator.beta(6, 2, most), law=TruncatedNormalScores())
    first, *later = replay(rule, pool, round_size=None)
    assert first.num_seen == 1 and first.further == peek - 1
    number = rule.number(pool.first(peek))
    assert later[-1].num_seen == min(max(number, peek), most)
    assert rule.decide(evidence([0.95] * peek, most - peek, TruncatedNormalScores())).further >= 0


def test_the_sequential_plug_in_rule_stops_when_it_has_what_it_asks_for():
    pool = evidence(np.random.default_rng(3).beta(4, 3, 9), law=TruncatedNormalScores())
    for method in ("optscale_0", "optscale_t"):
        rule = PlugInRule(method, 0.7, 0.8, sequential=True)
        decisions = replay(rule, pool, round_size=1)
        last = decisions[-1].num_seen
        asked = [rule.number(pool.first(size)) for size in range(2, last + 1)]
        assert all(number > size for size, number in enumerate(asked[:-1], 2)) and asked[-1] <= last


def test_a_plug_in_number_beyond_the_limit_is_cut_and_said():
    decision = PlugInRule("optscale_0", 0.999, 0.99, peek=5).decide(evidence(law=TruncatedNormalScores(), allowed=2))
    assert decision.further == 2 and "cut to the 7 that are allowed" in decision.reason and decision.required > 2


def test_a_plan_is_made_once_there_is_a_score_to_fit():
    """Of completions without an answer no law can be fitted: the plan waits for the first one that has one."""
    rule = PlugInRule("optscale_0", 0.7, 0.8, peek=2)
    pool = evidence((None, None, None, 0.6), 12, TruncatedNormalScores())
    assert rule.decide(pool.first(3)).further == 1
    decision = rule.decide(pool)
    assert not decision.stop and "the fit to 4 completions" in decision.reason


def test_the_prior_of_another_law_is_not_taken_for_that_of_a_truncated_normal():
    """The logit-normal law's parameters have the same names."""
    with pytest.raises(ValueError, match="score model of optscale_t to be a truncated normal, got LogitNormalScores"):
        PlugInRule("optscale_t", 0.9, 0.9, peek=2).decide(evidence(law=LogitNormalScores()))


def test_a_rule_that_asks_for_nothing_is_refused():
    class Undecided:
        def decide(self, seen):
            return Decision(False, 0, "more_needed", "")

    with pytest.raises(ValueError, match="stops or asks for at least one more, got 0"):
        replay(Undecided(), evidence())


def test_an_answer_that_rounding_never_settles_still_has_a_number():
    decision = AnswerRule(1 - 1e-16).decide(Evidence((0.5,) * 3, 9, answers=(0, 1, 2)))
    assert not decision.stop and decision.further >= 50


def test_combinations():
    reached, price, answer = GuaranteeRule(0.75, 0.9), PriceRule(1e-7), AnswerRule(0.9)
    seen = evidence(answers=(0, 1, 0, 1, 0))
    asked = [rule.decide(seen).further for rule in (price, answer)]
    assert AnyOf((price, reached)).decide(seen).because == "target_reached"
    assert AnyOf((price, answer)).decide(seen).further == min(asked)
    assert AllOf((price, answer, reached)).decide(seen).further == max(asked)
    both = AllOf((reached, AnswerRule(0.6))).decide(evidence(answers=(0,) * 5))
    assert both.stop and "reached the target" in both.reason and "5 of 5 votes" in both.reason
    other_way = AllOf((AnswerRule(0.6), reached)).decide(evidence(answers=(0,) * 5))
    assert other_way.required == 0  # which the first rule does not know
    with pytest.raises(ValueError, match="at least one rule"):
        AnyOf(())


def test_a_replay_looks_at_nothing_that_comes_later():
    generator = np.random.default_rng(5)
    pool = evidence(generator.beta(3, 3, 40), tokens=tuple(range(10, 50)), answers=tuple(generator.integers(0, 4, 40)))
    rule = AnyOf((GuaranteeRule(0.9, 0.7), PriceRule(0.00005, "token")))
    decisions = replay(rule, pool, min_completions=2, max_completions=30, round_size=3)
    used = decisions[-1].num_seen
    changed = replace(pool, scores=(*pool.scores[:used], *[1.0] * (40 - used)))
    assert replay(rule, changed, min_completions=2, max_completions=30, round_size=3) == decisions
    assert [one.num_seen for one in decisions] == [2 + 3 * i for i in range(len(decisions))] or used == 30
    assert all(not one.stop for one in decisions[:-1]) and decisions[-1].stop


def test_completions_without_an_answer_are_learned_about():
    seen = evidence((*SEEN, None, None))
    posterior = seen.posterior
    assert isinstance(posterior, AnsweredPosterior) and posterior.best == 0.8
    answered = infer_scores(LAWS["beta"], SEEN)
    grid = (np.arange(4000) + 0.5) / 4000
    shares = stats.beta(6, 2).ppf(grid)[:, None]
    cdf = answered.cdf_quantile(0.85, grid[::20] + 0.5 / 4000 * 19)
    for number in (1, 7, 600):
        exact = np.mean((1 - shares * (1 - cdf)) ** number)
        assert np.exp(posterior.log_power_mean(0.85, number)) == pytest.approx(exact, rel=0.02)
    around = posterior.log_power_mean(0.85, np.array([512, 513]))
    assert around[1] < around[0] < 0 and around[1] == pytest.approx(around[0], abs=0.01)
    assert posterior.cdf_quantile(0.85, [0.1, 0.9]) == pytest.approx(
        np.quantile(1 - shares * (1 - cdf), [0.1, 0.9]), abs=0.01
    )
    drawn = posterior.sample_scores((4000, 3), seed=2)
    assert_mean((drawn < 0.85).all(1), float(np.exp(posterior.log_power_mean(0.85, 3))))
    rule = GuaranteeRule(0.9, 0.8, give_up_below=0)
    assert rule.decide(seen).further > rule.decide(evidence()).further
    without_shape = evidence((*SEEN, None, None), law="dirichlet").posterior
    assert without_shape.log_power_mean(0.85, 7) == infer_scores(LAWS["dirichlet"], (*SEEN, 0, 0)).log_power_mean(0.85, 7)


def test_before_anything_is_seen_the_prior_decides():
    decision = GuaranteeRule(0.7, 0.6).decide(evidence(()))
    assert (
        decision.best is None and decision.further == required_completions(infer_scores(BetaScores(), []), 0.7, 0.6).number
    )
    assert PriceRule(0.01).decide(evidence((None,))).further == 1
    assert PlugInRule("optscale_0", 0.9, 0.9).decide(evidence((None,) * 20, 12)).further == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GuaranteeRule(1.1, 0.9), r"target_score to be in \[0, 1\], got 1.1"),
        (lambda: GuaranteeRule(math.nan, 0.9), "target_score"),
        (lambda: GuaranteeRule(0.9, 0.0), r"confidence to be in \(0, 1\], got 0.0"),
        (lambda: GuaranteeRule(0.9, 0.9, give_up_below=-1), "give_up_below"),
        (lambda: GuaranteeRule(0.9, 0.9, peek=0), "peek to be an integer of at least 1, got 0"),
        (lambda: PriceRule(0), "price to be finite and above 0, got 0"),
        (lambda: PriceRule(1, per="word"), "per 'word'"),
        (lambda: AnswerRule(0.5), r"in \(0.5, 1\), got 0.5"),
        (lambda: AnswerRule(0.9, "three"), "'all' or 'top two', got 'three'"),
        (lambda: PlugInRule("mle", 0.9, 0.9), "among optscale_0, optscale_t, got 'mle'"),
        (lambda: evidence((0.2, math.nan)), "between 0 and 1, got nan"),
        (lambda: evidence((0.2, 1.2)), "between 0 and 1, got 1.2"),
        (lambda: evidence(allowed=-1), "allowed to be at least 0, got -1"),
        (lambda: evidence(tokens=(1, 2)), "expected 5 tokens, one for each completion, got 2"),
        (lambda: GuaranteeRule(0.9, 0.9).decide(Evidence((0.5,), 3)), "evidence with a score model"),
        (lambda: AnswerRule(0.9).decide(Evidence((0.5,), 3)), "evidence with answers"),
        (lambda: replay(PriceRule(1), evidence(), min_completions=6), "1 <= min_completions <= max_completions <= 5, got 6"),
        (lambda: replay(PriceRule(1), evidence(), round_size=0), "round_size to be at least 1, got 0"),
        (lambda: stopping_rule("luck"), "a stopping rule among guarantee, price, coverage, answer, .*, got 'luck'"),
        (lambda: stopping_rule("price"), "a price for the rule 'price'"),
        (lambda: stopping_rule("answer", price=1.0), "no price, of which the rule 'answer' makes no use"),
        (lambda: stopping_rule(PriceRule(1), confidence=0.9), "a rule or the settings of one, got both: confidence"),
    ],
)
def test_mistakes_are_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_rules_by_name():
    assert stopping_rule(None, confidence=0.8).confidence == 0.8
    assert isinstance(stopping_rule(None), CoverageRule) and stopping_rule(None) == stopping_rule("coverage")
    assert stopping_rule("coverage", price=0.2, confidence=0.7) == CoverageRule(0.7, 0.2)
    assert stopping_rule(None, give_up_below=0.0) == GuaranteeRule(0.95, 0.9, give_up_below=0.0)
    assert stopping_rule(None, price=0.1) == PriceRule(0.1)
    assert stopping_rule(None, target_score=0.8, price=0.1) == AnyOf((GuaranteeRule(0.8, 0.9), PriceRule(0.1)))
    assert stopping_rule("guarantee and answer", confidence=0.8) == AllOf((GuaranteeRule(0.95, 0.8), AnswerRule(0.8)))
    assert stopping_rule("sequential_optscale_t", peek=4) == PlugInRule("optscale_t", 0.95, 0.9, 4, sequential=True)


def test_a_combination_tells_how_far_the_target_is():
    """Where the price decides, the decision still holds what the guarantee knows."""
    guarantee, price = GuaranteeRule(0.95, 0.9, give_up_below=0.0), PriceRule(1e-7)
    seen = evidence()
    both, alone = AnyOf((guarantee, price)).decide(seen), guarantee.decide(seen)
    assert both.because == "worthwhile" and both.further < alone.further
    assert (both.required, both.required_interval) == (alone.required, alone.required_interval)


def test_nothing_is_given_up_where_nothing_is_left():
    decision = ask(GuaranteeRule(0.97, 0.9), evidence(allowed=0))
    assert decision.because == "max_completions" and "0 are allowed" not in decision.reason
    far = GuaranteeRule(0.99, 0.9).decide(evidence(law="dirichlet"))
    assert far.because == "beyond_limit" and len(far.reason) < 170 and "e+" in far.reason
