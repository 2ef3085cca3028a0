"""Totals of evaluations, bootstrap intervals and curves."""

import numpy as np
import pytest

from ppl_scaling.inference.evaluation_summary import (
    accuracy_by_problem,
    bootstrap_interval,
    peak_memory,
    scaling_curve,
    summarize,
)
from tests.inference.evaluations import record


def test_totals():
    records = [
        record(0, True),
        record(1, False, answer=None),
        record(0, True, seed=1),
        record(1, False, seed=1, answer=None, error="ValueError: too long"),
        record(2, False, grading_timed_out=True),
        record(2, True, seed=1),
    ]
    found = summarize(records, peak_memory_bytes=7)
    assert (found.num_problems, found.num_seeds, found.num_records) == (3, 2, 6)
    assert found.accuracy == 0.5 and found.num_failed == 1 and found.num_no_answer == 1
    assert found.num_grading_timeouts == 1 and found.num_trajectories == 24 and found.num_truncated == 6
    assert (found.generated_tokens, found.lm_tokens_forwarded) == (60, 120)
    assert (found.prm_tokens_forwarded, found.prm_calls, found.seconds) == (180, 30, 3.0)
    assert found.draft_tokens_forwarded == 12
    assert found.to_dict()["peak_memory_bytes"] == 7 and found.accuracy_low < 0.5 < found.accuracy_high
    assert accuracy_by_problem(records) == {0: 1.0, 1: 0.0, 2: 0.5}
    with pytest.raises(ValueError, match="at least one record"):
        summarize([])


def test_the_interval_is_that_of_the_mean_over_problems():
    values = np.random.default_rng(3).normal(size=400)
    low, high = bootstrap_interval(values)
    error = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - error, abs=0.1 * error)
    assert high == pytest.approx(values.mean() + error, abs=0.1 * error)
    assert bootstrap_interval(np.ones(5)) == (1.0, 1.0)
    assert bootstrap_interval(values) == (low, high)
    # More seeds of the same problems are no more problems.
    once = [record(index, index % 2) for index in range(100)]
    summary = summarize([*once, *(record(index, index % 2, seed=1) for index in range(100))])
    assert summary.accuracy_low == summarize(once).accuracy_low < 0.43


def test_differences_are_paired():
    hard = [index % 2 for index in range(100)]
    cells = {
        ("ours", 1): [record(index, right) for index, right in enumerate(hard)],
        ("ours", 4): [record(index, right or index < 20) for index, right in enumerate(hard)],
        ("base", 4): [record(index, right, generated_tokens=3) for index, right in enumerate(hard)],
    }
    first, ours, base = scaling_curve(cells, reference="base")
    assert [(one.method, one.budget) for one in (first, ours, base)] == list(cells)
    assert first.difference is None and base.difference is None and base.tokens_per_problem == 3
    assert ours.difference == pytest.approx(0.1)
    # The interval of the difference is far narrower than those of the two accuracies, which share their problems.
    assert 0.03 < ours.difference_low < 0.06 and 0.14 < ours.difference_high < 0.18
    assert ours.summary.accuracy_high - ours.summary.accuracy_low > 0.18
    row = ours.to_dict()
    assert row["accuracy"] == 0.6 and row["budget"] == 4 and "summary" not in row
    with pytest.raises(ValueError, match="expected a reference among ours, base, got 'none'"):
        scaling_curve(cells, reference="none")
    cells["base", 4] = [record(100, True)]
    with pytest.raises(ValueError, match="ours and base at 4 to have problems in common, got none"):
        scaling_curve(cells, reference="base")


def test_peak_memory_is_that_of_a_process_with_torch():
    pytest.importorskip("resource")
    assert 50 * 2**20 < peak_memory() < 2**40
