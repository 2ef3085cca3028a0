"""Stopping rules: what they ask for, when they stop and what they say, held against the posterior and against counts."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from ppl_scaling.inference.baselines import beta_confidence, dirichlet_confidence
from ppl_scaling.inference.optscale import (
    AnswerRule,
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
from ppl_scaling.inference.optscale.rules import readable
from ppl_scaling.models.scores import BetaScores
from ppl_scaling.models.scores.dirichlet import DirichletScores
from tests.inference.optscale.seen import LAWS, SEEN, evidence


@pytest.mark.parametrize("law", LAWS)
def test_the_guarantee_asks_for_the_number_of_the_posterior(law):
    seen = evidence(allowed=10**6, law=law)
    decision = GuaranteeRule(0.9, 0.8).decide(seen)
    number = required_completions(seen.posterior, 0.9, 0.8).number
    assert not decision.stop and decision.further == decision.required == number > 1
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


def test_a_kept_plan_is_spent_and_no_more():
    rule = GuaranteeRule(0.75, 0.6, peek=3)
    assert rule.decide(evidence(SEEN[:2])).further == 1
    planned = rule.decide(evidence(SEEN[:3], 500)).further
    assert planned == required_completions(evidence(SEEN[:3]).posterior, 0.75, 0.6).number > 1
    assert rule.decide(evidence((*SEEN[:3], 0.1), 499)).further == planned - 1
    spent = rule.decide(evidence((*SEEN[:3], *[0.1] * planned), 500 - planned))
    assert spent.stop and spent.further == 0
    assert spent.because == "plan_spent" and f"the {planned} completions planned after 3 are spent" in spent.reason
    pool = evidence((*SEEN[:3], *[0.1] * 500))
    assert replay(rule, pool, round_size=None)[-1].num_seen == 3 + planned


def test_the_price_stops_where_no_number_pays():
    seen = evidence()
    gains = [seen.posterior.expected_gain(m) for m in range(1, 21)]
    critical = max(gain / m for m, gain in enumerate(gains, 1))
    assert PriceRule(critical * 1.02).decide(seen).because == "not_worthwhile"
    assert PriceRule(1e-9).decide(evidence(allowed=0)).further == 1  # what `ask` then cuts
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


def test_an_answer_that_rounding_never_settles_still_has_a_number():
    decision = AnswerRule(1 - 1e-16).decide(Evidence((0.5,) * 3, 9, answers=(0, 1, 2)))
    assert not decision.stop and decision.further >= 50


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


def test_nothing_is_given_up_where_nothing_is_left():
    decision = ask(GuaranteeRule(0.97, 0.9), evidence(allowed=0))
    assert decision.because == "max_completions" and "0 are allowed" not in decision.reason
    far = GuaranteeRule(0.99, 0.9).decide(evidence(law="dirichlet"))
    assert far.because == "beyond_limit" and len(far.reason) < 170 and "e+" in far.reason
