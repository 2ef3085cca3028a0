"""Several rules at once, rules by name, and rules played through a pool of completions."""

from dataclasses import replace

import numpy as np
import pytest

from ppl_scaling.inference.optscale import (
    AllOf,
    AnswerRule,
    AnyOf,
    CoverageRule,
    Decision,
    GuaranteeRule,
    PlugInRule,
    PriceRule,
    replay,
    stopping_rule,
)
from tests.inference.optscale.seen import evidence


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


def test_a_combination_tells_how_far_the_target_is():
    """Where the price decides, the decision still holds what the guarantee knows."""
    guarantee, price = GuaranteeRule(0.95, 0.9, give_up_below=0.0), PriceRule(1e-7)
    seen = evidence()
    both, alone = AnyOf((guarantee, price)).decide(seen), guarantee.decide(seen)
    assert both.because == "worthwhile" and both.further < alone.further
    assert (both.required, both.required_interval) == (alone.required, alone.required_interval)


def test_rules_by_name():
    assert stopping_rule(None, confidence=0.8).confidence == 0.8
    assert isinstance(stopping_rule(None), CoverageRule) and stopping_rule(None) == stopping_rule("coverage")
    assert stopping_rule("coverage", price=0.2, confidence=0.7) == CoverageRule(0.7, 0.2)
    assert stopping_rule(None, give_up_below=0.0) == GuaranteeRule(0.95, 0.9, give_up_below=0.0)
    assert stopping_rule(None, price=0.1) == PriceRule(0.1)
    assert stopping_rule(None, target_score=0.8, price=0.1) == AnyOf((GuaranteeRule(0.8, 0.9), PriceRule(0.1)))
    assert stopping_rule("guarantee and answer", confidence=0.8) == AllOf((GuaranteeRule(0.95, 0.8), AnswerRule(0.8)))
    assert stopping_rule("sequential_optscale_t", peek=4) == PlugInRule("optscale_t", 0.95, 0.9, 4, sequential=True)


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


def test_a_rule_that_asks_for_nothing_is_refused():
    class Undecided:
        def decide(self, seen):
            return Decision(False, 0, "more_needed", "")

    with pytest.raises(ValueError, match="stops or asks for at least one more, got 0"):
        replay(Undecided(), evidence())
