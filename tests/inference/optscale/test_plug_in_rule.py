"""The stopping rules of the paper: when they look, what they ask for, and what they do where no law can be fitted."""

import numpy as np
import pytest

from ppl_scaling.inference.optscale import PlugInRule, replay
from ppl_scaling.models.scores import LogitNormalScores, TruncatedNormalScores
from tests.inference.optscale.seen import evidence


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
