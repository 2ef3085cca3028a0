"""Curves against each other: exact on hand-made records, and the fast bootstrap against a slow one."""

import json
import math

import numpy as np
import pytest
from scipy.optimize import isotonic_regression

from ppl_scaling.inference.curve_bootstrap import interpolated, isotonic
from ppl_scaling.inference.curve_comparison import CensoredRatio, budget_ratios, compare_at_tokens
from tests.inference.evaluations import record


def cell(accuracy, tokens, problems=10):
    """The first problems are right; tokens differ by problem."""
    return [
        record(index, index < round(accuracy * problems), generated_tokens=tokens + 2 * index - problems + 1)
        for index in range(problems)
    ]


def curve(name, accuracies, budgets, tokens=100, problems=10):
    return {(name, b): cell(a, tokens * b, problems) for a, b in zip(accuracies, budgets, strict=True)}


def noisy_sweep(problems=40, seeds=2):
    rng, cells = np.random.default_rng(8), {}
    difficulty = rng.uniform(size=problems)
    for name, skill, cost in (("ours", 0.5, 11), ("theirs", 0.3, 10), ("greedy", 0.35, 9)):
        for budget in (1, 2, 4, 8, 16) if name != "greedy" else (1,):
            cells[name, budget] = [
                record(
                    index,
                    rng.uniform() < (skill + 0.1 * math.log2(budget)) * (1.4 - difficulty[index]),
                    seed,
                    generated_tokens=int(cost * budget * rng.uniform(5, 15)),
                )
                for index in range(problems)
                for seed in range(seeds)
            ]
    return cells


def test_a_curve_that_is_shifted_has_the_ratio_of_the_shift():
    accuracies = [0.2, 0.3, 0.5, 0.6, 0.9]
    cells = curve("ours", accuracies, (1, 2, 4, 8, 16), problems=200, tokens=1000)
    cells |= curve("theirs", accuracies, (4, 8, 16, 32, 64), problems=200, tokens=500)
    found = budget_ratios(cells, reference="ours", num_resamples=300)
    assert [(one.method, one.budget, one.target_accuracy) for one in found] == [
        ("theirs", budget, accuracy) for budget, accuracy in zip((1, 2, 4, 8, 16), accuracies, strict=True)
    ]
    for one in found:
        assert one.budget_ratio == CensoredRatio(4.0, 4.0, 4.0, None, None, None)
        assert one.token_ratio.value == pytest.approx(2.0) and one.token_ratio.censored is None
        assert 1.9 < one.token_ratio.low <= one.token_ratio.high < 2.1
    # The other way round: a quarter, and at the ends of the curve a bound.
    back = {one.budget: one.budget_ratio for one in budget_ratios(cells, reference="theirs", budgets=[4, 64])}
    assert back[4].value == back[64].value == 0.25 and back[4].censored is None
    row = json.loads(json.dumps(found[0].to_dict()))
    assert row["budget_ratio"] == row["budget_ratio_high"] == 4.0 and row["token_ratio_low_censored"] is None


def test_a_curve_that_is_better_at_once_costs_a_share_of_the_tokens():
    cells = curve("ours", [0.4, 0.5], (4, 8)) | curve("theirs", [0.5, 0.6, 0.7], (4, 8, 16))
    (four, eight) = budget_ratios(cells, reference="ours", num_resamples=200)
    assert (four.budget_ratio.value, four.budget_ratio.censored) == (1.0, "below")
    assert (eight.budget_ratio.value, eight.budget_ratio.censored) == (0.5, None)
    assert four.token_ratio.censored == "below" and four.token_ratio.value == pytest.approx(1.0)


def test_between_budgets_the_curve_is_linear_in_the_logarithm():
    cells = curve("ours", [0.4, 0.5], (4, 8)) | curve("theirs", [0.2, 0.6], (4, 16))
    four, eight = budget_ratios(cells, reference="ours", num_resamples=100)
    assert four.budget_ratio.value == pytest.approx(2.0) and four.token_ratio.value == pytest.approx(2.0)
    assert eight.budget_ratio.value == pytest.approx(2 ** (2 + 2 * 0.75) / 8)


def test_a_curve_that_falls_is_made_monotone():
    cells = curve("ours", [0.5], (4,)) | curve("theirs", [0.2, 0.6, 0.4, 0.8], (1, 2, 4, 8))
    (found,) = budget_ratios(cells, reference="ours", num_resamples=100)
    assert found.budget_ratio.value == pytest.approx(0.5)  # 0.6 and 0.4 are pooled to 0.5
    # So is that of the reference: at 2 and at 4 it has 0.5, for which the other needs 8 each time.
    cells = curve("ours", [0.2, 0.6, 0.4], (1, 2, 4)) | curve("theirs", [0.2, 0.5, 0.9], (4, 8, 16))
    found = budget_ratios(cells, reference="ours", budgets=(2, 4), num_resamples=100)
    assert [one.budget_ratio.value for one in found] == pytest.approx([4.0, 2.0])
    assert [one.target_accuracy for one in found] == [0.5, 0.5]


def test_an_accuracy_that_is_never_reached_is_a_bound():
    cells = curve("ours", [0.4, 0.9], (1, 4)) | curve("theirs", [0.2, 0.3, 0.8], (1, 4, 64), tokens=200)
    one, four = budget_ratios(cells, reference="ours", num_resamples=400)
    assert one.budget_ratio.censored is None and 4 < one.budget_ratio.value < 64
    assert (four.budget_ratio.value, four.budget_ratio.censored) == (16.0, "above")
    assert four.token_ratio.value == pytest.approx(32.0) and four.token_ratio.censored == "above"
    # One problem makes the difference. Without it (e^-1 of the resamples) the two are equal at 4 and 64: exactly 16 times.
    assert (four.budget_ratio.low, four.budget_ratio.low_censored) == (16.0, None)
    assert (four.budget_ratio.high, four.budget_ratio.high_censored) == (16.0, "above")


def test_an_interval_may_be_bounded_where_the_value_is_not():
    ours = [record(index, index < 60) for index in range(100)]
    worse = [record(index, index % 2) for index in range(100)]
    equal = [record(index, index >= 38) for index in range(100)]
    cells = {("ours", 4): ours, ("theirs", 4): worse, ("theirs", 16): equal}
    (found,) = budget_ratios(cells, reference="ours", num_resamples=2000)
    ratio = found.budget_ratio
    assert ratio.censored is None and 3 < ratio.value < 4
    assert (ratio.high, ratio.high_censored) == (4.0, "above") and (ratio.low, ratio.low_censored) == (1.0, "below")


def test_accuracy_at_the_tokens_of_the_reference():
    cells = (
        curve("ours", [0.4, 0.6, 0.8], (1, 2, 4), tokens=200)
        | curve("theirs", [0.2, 0.3, 0.4, 0.5], (1, 2, 4, 8))
        | curve("greedy", [0.5], (1,), tokens=400 / math.sqrt(2))
        | curve("cheap", [0.3], (1,))
    )
    found = compare_at_tokens(cells, reference="ours", num_resamples=500)
    assert [(one.method, one.budget) for one in found] == [
        *(("theirs", budget) for budget in (1, 2, 4)),
        ("greedy", None),
        ("cheap", None),
    ]
    assert [one.tokens for one in found[:3]] == pytest.approx([200, 400, 800])
    assert [one.accuracy for one in found[:3]] == pytest.approx([0.3, 0.4, 0.5])
    assert [one.difference for one in found[:3]] == pytest.approx([-0.1, -0.2, -0.3])
    assert all(one.difference_low < one.difference < one.difference_high for one in found[:3])
    greedy, cheap = found[3:]
    assert greedy.reference_accuracy == pytest.approx(0.5) and greedy.difference == pytest.approx(0.0, abs=1e-9)
    # Nothing is said of tokens that the reference was never given.
    assert cheap.accuracy == 0.3 and cheap.reference_accuracy is cheap.difference is cheap.difference_low is None
    (down, *_, up) = compare_at_tokens(cells, reference="theirs", num_resamples=200)[:4]
    assert down.accuracy is None and down.reference_accuracy == 0.2 and down.difference is None
    assert up.method == "ours" and up.budget == 8 and up.difference == pytest.approx(0.3)


def test_an_interval_of_few_resamples_is_none():
    cells = curve("ours", [0.4, 0.6], (1, 2)) | curve("theirs", [0.2, 0.3], (1, 2))
    cells["theirs", 2] = [record(index, index < 3, generated_tokens=200 + 40 * (index - 4)) for index in range(10)]
    cells["ours", 2] = [record(index, index < 6, generated_tokens=215) for index in range(10)]
    end = compare_at_tokens(cells, reference="ours", num_resamples=500)[-1]
    assert end.difference == pytest.approx(-0.3, abs=0.02) and end.difference_low is None


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_fast_bootstrap_is_the_slow_one(seeds):
    cells, size, resamples = noisy_sweep(seeds=seeds), 40, 200
    drawn = np.random.default_rng(5).integers(size, size=(resamples, size))
    gains, ratios = [], []
    for chosen in [np.arange(size), *drawn]:
        accuracy, tokens = {}, {}
        for key, records in cells.items():
            kept = [one for index in chosen for one in records if one.index == index]
            accuracy[key] = np.mean([one.correct for one in kept])
            tokens[key] = np.mean([one.generated_tokens for one in kept])
        budgets = [1, 2, 4, 8, 16]
        ours, theirs = ([accuracy[name, budget] for budget in budgets] for name in ("ours", "theirs"))
        axis = [math.log(tokens["theirs", budget]) for budget in budgets]
        gains.append(np.interp(math.log(tokens["ours", 4]), axis, theirs) - accuracy["ours", 4])
        level = isotonic_regression(ours).x.round(9)[1]
        rising = isotonic_regression(theirs).x.round(9)
        if level > rising[-1]:
            ratios.append(math.inf)
        elif level < rising[0]:
            ratios.append(-math.inf)
        elif level == rising[0]:
            ratios.append(0.5)
        else:
            to = next(i for i, value in enumerate(rising) if value >= level)
            share = (level - rising[to - 1]) / (rising[to] - rising[to - 1])
            ratios.append(2 ** (to - 1 + share) / 2)
    found = next(
        one
        for one in compare_at_tokens(cells, reference="ours", num_resamples=resamples, seed=5)
        if (one.method, one.budget) == ("theirs", 4)
    )
    expected = [gains[0], *np.quantile(gains[1:], [0.025, 0.975])]
    assert [found.difference, found.difference_low, found.difference_high] == pytest.approx(expected, abs=1e-9)
    (two,) = budget_ratios(cells, reference="ours", budgets=[2], num_resamples=resamples, seed=5)
    low, high = sorted(ratios[1:])[4], sorted(ratios[1:])[195]
    for value, got, censored in (
        (ratios[0], two.budget_ratio.value, two.budget_ratio.censored),
        (low, two.budget_ratio.low, two.budget_ratio.low_censored),
        (high, two.budget_ratio.high, two.budget_ratio.high_censored),
    ):
        assert censored == {math.inf: "above", -math.inf: "below"}.get(value)
        assert got == pytest.approx({math.inf: 8.0, -math.inf: 0.5}.get(value, value), rel=1e-6)
    assert "greedy" not in {one.method for one in budget_ratios(cells, reference="ours", num_resamples=10)}


def test_the_end_of_a_curve_is_on_it_whatever_the_rounding():
    places, values = np.array([[0.0, 2.0]] * 4), np.array([[0.1, 0.5]] * 4)
    found = interpolated(places, values, np.array([-1e-12, 2 + 1e-12, -1e-6, 2 + 1e-6]))
    assert found[:2] == pytest.approx([0.1, 0.5]) and np.isnan(found[2:]).all()


def test_a_method_that_wrote_nothing_is_left_of_all_others():
    cells = curve("ours", [0.4, 0.6], (1, 2)) | {("theirs", 1): [record(n, False, generated_tokens=0) for n in range(10)]}
    (found,) = compare_at_tokens(cells, reference="ours", num_resamples=10)
    assert found.tokens == 1.0 and found.accuracy == 0.0 and found.reference_accuracy is None


def test_isotonic_regression():
    values = np.random.default_rng(2).normal(size=(200, 7)).round(1)
    expected = [isotonic_regression(row).x for row in values]
    np.testing.assert_allclose(isotonic(values), expected, atol=1e-11)
    assert isotonic(values[:, :1]).tolist() == values[:, :1].tolist()


def test_mistakes():
    cells = curve("ours", [0.4, 0.6], (1, 2)) | curve("theirs", [0.2, 0.3], (1, 2))
    with pytest.raises(ValueError, match="a reference among ours, theirs, got 'none'"):
        compare_at_tokens(cells, reference="none")
    with pytest.raises(ValueError, match=r"budgets of ours among \[1, 2\], got \[4\]"):
        budget_ratios(cells, reference="ours", budgets=[4])
    with pytest.raises(ValueError, match="num_resamples to be an integer of at least 1, got 0"):
        budget_ratios(cells, reference="ours", num_resamples=0)
    with pytest.raises(ValueError, match=r"level to be between 0 and 1, got 95"):
        compare_at_tokens(cells, reference="ours", level=95)
    with pytest.raises(ValueError, match="problems in common, got none"):
        compare_at_tokens(cells | {("theirs", 2): [record(77, True)]}, reference="ours")
