"""Posteriors against the truth over problems, from records as an evaluation writes them."""

import math
from dataclasses import replace

import pytest

from ppl_scaling.diagnostics import answer_calibration, credible_coverage, diagnose, score_calibration
from tests.diagnostics.records import Numbers, record, world


def test_events_of_chosen_answers():
    records = [
        record(0, {"1": 0.75, "2": 0.25}, "1"),
        record(0, {"1": 0.5}, "1", seed=1),
        record(1, {"2": 1.0}, "1"),
        record(2, {}, "1"),
        record(3, {}, "1", error="all weights are zero"),
    ]
    found = answer_calibration(records)
    assert (found.num_events, found.num_groups) == (3, 2)
    assert found.excess.value == pytest.approx((0.75 + 0.5 + 1.0 - 2) / 3)
    assert found.log_score.value == pytest.approx(-(math.log(0.75) + math.log(0.5) + math.log(1 / 16)) / 3)
    with pytest.raises(ValueError, match="an answer and its probability, got 2"):
        answer_calibration(records[3:])


def test_an_answer_in_another_spelling_is_found_by_its_meaning():
    records = [replace(record(0, {"2": 0.6, "1": 0.4}, "1"), answer="1.0", correct=True)]
    assert answer_calibration(records, answer_format=Numbers()).bin_probability.tolist() == [0.4]
    with pytest.raises(ValueError, match="without"):
        answer_calibration(records)


def test_sets_of_answers_by_hand():
    records = [
        record(0, {"1": 0.6, "2": 0.3, "3": 0.1}, "2"),  # two answers have 0.9; the second is right
        record(1, {"1": 0.95, "2": 0.05}, "2"),  # one answer has it; wrong
        record(2, {"1": 0.3}, "1"),  # as many as there are
        record(3, {"1": 0.5, "2": 0.5}, "2.0"),  # in another spelling
    ]
    cover = credible_coverage(records, 0.9)
    assert cover.coverage.value == 0.5 and cover.mean_size == pytest.approx(6 / 4) and cover.num_problems == 4
    assert credible_coverage(records, 0.9, answer_format=Numbers()).coverage.value == 0.75
    with pytest.raises(ValueError, match=r"\(0, 1\)"):
        credible_coverage(records, 1.0)
    with pytest.raises(ValueError, match="without an error"):
        credible_coverage([record(0, {}, "1", error="x")])


def test_scores_of_trajectories():
    kept = [{"score": 0.9, "answer": "1"}, {"score": 0.4, "answer": "2"}, {"score": 0.7, "answer": None}]
    records = [record(0, {"1": 1.0}, "1", trajectories=kept), record(1, {"1": 1.0}, "2", trajectories=kept[:2])]
    found = score_calibration(records)
    assert (found.num_events, found.num_groups, found.auc.value) == (4, 2, 0.5)
    with pytest.raises(ValueError, match="keep-trajectories"):
        score_calibration([record(0, {"1": 1.0}, "1")])


def test_a_right_posterior_passes_and_one_that_is_too_sure_does_not():
    """One in 20 right posteriors would be warned of by its calibration error; seed and size are fixed."""
    right, sure = diagnose(world(300)), diagnose(world(300, sharpness=4.0))
    assert right["answer_calibration"].status == "ok" and right["credible_coverage"].status == "ok"
    assert right["answer_order"].value > 0.6 and right.status == "ok"
    assert sure["answer_calibration"].status in ("warn", "bad") and "too large" in sure["answer_calibration"].found
    assert sure["credible_coverage"].status == "bad" and "lower beta" in sure["answer_calibration"].advice
    timid = diagnose(world(300, sharpness=0.2))
    assert timid["answer_calibration"].status != "ok" and "too small" in timid["answer_calibration"].found
    assert timid["credible_coverage"].status == "ok"  # sets that are too large do cover


def test_few_problems_tell_nothing_and_failures_are_counted():
    records = [record(0, {"1": 1.0}, "1"), record(1, {}, "1", error="x"), record(2, {}, "1")]
    report = diagnose(records)
    assert report["answer_calibration"].status == "unknown" == report["credible_coverage"].status
    assert report["failed"].status == "bad" and report["no_answer"].value == pytest.approx(1 / 3)
    assert [one.name for one in diagnose(records[1:]).checks] == ["failed", "no_answer"]
