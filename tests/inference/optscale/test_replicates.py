"""OptScale over replicates of another method: when it stops, and how the replicates are pooled."""

import json

import numpy as np
import pytest

from ppl_scaling.errors import PPLScalingError
from ppl_scaling.inference import Islands, ParticleFilter
from ppl_scaling.inference.optscale import GuaranteeRule, OptScaleReplicates
from tests.inference.optscale.ends import LAW, RULES, five_ends, law_of_the_end
from tests.statistics import assert_mean
from tests.worlds import LIKELIHOODS, LastLetter, early_ends, impossible_branches


def replicates(model=None, rule=None, num_particles=3, **settings):
    model = early_ends(LIKELIHOODS["bernoulli"]) if model is None else model
    inner = ParticleFilter(model, num_particles=num_particles, answer_format=LastLetter())
    return OptScaleReplicates(inner, rule, **{"score_model": LAW, **settings})


def test_replicates_stop_by_their_best_scores_and_are_pooled_as_islands_are():
    method = replicates(rule=GuaranteeRule(0.75, 0.8), max_replicates=5, round_size=2)
    islands = Islands(method.replicated)
    for one in method.run_batch(["?"] * 12, seed=2):
        scores = tuple(
            max((each.score for each in inner.trajectories if each.answer is not None), default=None)
            for inner in one.replicates
        )
        assert one.evidence.scores == scores and len(scores) == one.num_replicates <= 5
        assert one.stopped_by == one.decisions[-1].because
        assert (one.stopped_by == "target_reached") == (one.best_score >= 0.75)
        pooled = islands._pooled("?", list(one.replicates), 2)
        assert [(each.answer, each.probability) for each in pooled.answers] == [
            (each.answer, each.probability) for each in one.answers
        ]
        assert pooled.log_evidence == one.log_evidence
        assert one.generated_tokens == sum(inner.generated_tokens for inner in one.replicates)
        json.dumps(one.to_dict())


def test_the_law_of_the_number_of_replicates():
    """With one particle a replicate is a completion, so the number of replicates has the law of that of completions."""
    model, rule = five_ends(LIKELIHOODS["bernoulli"]), RULES["guarantee"]
    law = law_of_the_end(model, rule, 3, 1)
    results = replicates(model, rule, num_particles=1, max_replicates=3).run_batch(["?"] * 200, seed=5)
    for number in range(1, 4):
        probability = sum(p for (_, n, _), p in law.items() if n == number)
        assert_mean([one.num_replicates == number for one in results], probability)


def test_replicates_that_fail_count_without_a_score():
    method = replicates(
        impossible_branches(LIKELIHOODS["bernoulli"]),
        GuaranteeRule(0.99, 0.9, give_up_below=0),
        num_particles=1,
        max_replicates=4,
    )
    results = method.run_batch(["?"] * 15, seed=0)
    possible = [one for one in results if not isinstance(one, PPLScalingError)]
    assert any(np.any(one.replicate_weights == 0) for one in possible)
    for one in possible:
        assert [score is None for score in one.evidence.scores] == [
            isinstance(inner, PPLScalingError) or inner.answer is None for inner in one.replicates
        ]


def test_mistakes_of_replicates_are_said():
    for settings, message in [
        ({"max_replicates": 0}, "max_replicates to be an integer of at least 1, got 0"),
        ({"min_replicates": 4, "max_replicates": 3}, "min_replicates to be at most 3, got 4"),
        ({"round_size": 0}, "round_size"),
    ]:
        with pytest.raises(ValueError, match=message):
            replicates(**settings)
