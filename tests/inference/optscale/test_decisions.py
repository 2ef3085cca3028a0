"""How many completions: against closed forms, at the number and one below, and at the edges."""

import math

import numpy as np
import pytest
import torch

from ppl_scaling.inference.optscale.decisions import needed_if_known, required_completions, worthwhile_completions
from ppl_scaling.inference.optscale.posterior import NodePosterior
from ppl_scaling.inference.optscale.quadrature import infer_scores
from ppl_scaling.models.scores import BetaScores, DirichletScores, InflatedBetaScores, TruncatedNormalScores
from tests.statistics import assert_mean

SCORES = [0.55, 0.7, 0.62, 0.81, 0.74]
MODELS = [TruncatedNormalScores(), BetaScores(), DirichletScores(2.0)]


def named(model):
    return type(model).__name__


def known_law(model, **values):
    """A posterior that is sure of one law."""
    return NodePosterior(model, {name: [value] for name, value in values.items()}, [0.0], [])


@pytest.mark.parametrize("model", MODELS, ids=named)
@pytest.mark.parametrize(("target", "confidence"), [(0.85, 0.5), (0.9, 0.9), (0.95, 0.8), (0.82, 0.99)])
def test_number_is_the_smallest_that_keeps_the_promise(model, target, confidence):
    found = required_completions(infer_scores(model, SCORES), target, confidence)
    assert found.reachable and isinstance(found.number, int)
    assert found.probability_after(found.number) >= confidence
    assert found.probability_after(found.number - 1) < confidence
    assert found.probability == found.probability_after(found.number)


@pytest.mark.parametrize("model", MODELS, ids=named)
def test_number_rises_with_confidence_and_target_and_probability_with_number(model):
    posterior = infer_scores(model, SCORES)
    by_confidence = [required_completions(posterior, 0.9, c).number for c in (0.1, 0.3, 0.5, 0.8, 0.9, 0.95)]
    by_target = [required_completions(posterior, t, 0.8).number for t in (0.5, 0.81, 0.82, 0.85, 0.9, 0.95)]
    assert by_confidence == sorted(by_confidence) and by_target == sorted(by_target)
    assert by_target[:2] == [0, 0]
    after = [required_completions(posterior, 0.9, 0.5).probability_after(m) for m in (0, 1, 2, 5, 100, 10**9)]
    assert after == sorted(after) and after[0] == 0


def test_a_known_law_gives_the_closed_form_at_any_size():
    values = {"location": 0.5, "log_scale": math.log(0.1)}
    for target in (0.6, 0.8, 0.95, 0.99):
        posterior = known_law(TruncatedNormalScores(), **values)
        log_cdf = posterior.log_power_mean(target, 1)
        for confidence in (0.5, 0.9, 0.999):
            expected = int(needed_if_known(log_cdf, confidence))
            assert required_completions(posterior, target, confidence).number == expected


def test_numbers_are_exact_at_a_trillion():
    posterior = known_law(TruncatedNormalScores(), location=0.1, log_scale=math.log(0.1))
    target = 0.8  # seven standard deviations away
    found = required_completions(posterior, target, 0.9)
    values = {name: torch.from_numpy(value) for name, value in posterior.values.items()}
    exact = math.log1p(-0.9) / math.log1p(-math.exp(TruncatedNormalScores().log_survival(target, values).item()))
    assert found.number > 10**12
    assert abs(found.number - exact) <= 1 + 1e-14 * exact


def test_never_less_than_the_plug_in_of_the_mean_law():
    for model in MODELS:
        for scores in ([], [0.5], SCORES):
            posterior = infer_scores(model, scores)
            for target, confidence in [(0.9, 0.6), (0.97, 0.9)]:
                mean = needed_if_known(posterior.log_power_mean(target, 1), confidence)
                assert required_completions(posterior, target, confidence).number >= mean


def test_targets_that_are_out_of_reach_are_said_to_be():
    for model in MODELS:
        found = required_completions(infer_scores(model, SCORES), 1.0, 0.1)
        assert found.number == math.inf and not found.reachable and found.probability < 0.1
        assert found.median == math.inf
    bootstrap = required_completions(infer_scores(DirichletScores(0.0), SCORES), 0.82, 0.5)
    assert bootstrap.number == math.inf and bootstrap.probability == 0
    # With an atom at 1 a score of exactly 1 has a chance.
    assert required_completions(infer_scores(InflatedBetaScores(), SCORES), 1.0, 0.5).reachable


def test_numbers_beyond_a_million_are_called_out_of_reach_in_practice():
    posterior = known_law(TruncatedNormalScores(), location=0.1, log_scale=math.log(0.1))
    far = required_completions(posterior, 0.8, 0.9)
    assert far.reachable and not far.practical
    assert str(far) == (
        f"the target 0.8 is out of reach in practice: {float(far.number):.2g} would be needed to reach it with probability "
        f"0.9; a million reach it with probability {far.probability_after(10**6):.2g}"
    )
    near = required_completions(posterior, 0.3, 0.9)
    assert near.practical and str(near) == f"{near.number} more completions reach the target 0.3 with probability 0.9"
    never = required_completions(posterior, 1.0, 0.9)
    assert not never.reachable and not never.practical and "no number is enough" in str(never)
    reached = required_completions(infer_scores(BetaScores(), [0.9]), 0.8, 0.9)
    assert reached.practical and str(reached) == "the target 0.8 has been reached"


def test_edges():
    for model in MODELS:
        posterior = infer_scores(model, SCORES)
        assert required_completions(posterior, 0.0, 0.9).number == 0
        assert required_completions(posterior, max(SCORES), 1.0).number == 0
        assert required_completions(posterior, 0.9, 1.0).number == math.inf
        nothing = infer_scores(model, [])
        assert required_completions(nothing, 0.0, 1.0).number == 1
        done = required_completions(posterior, 0.8, 0.9)
        assert done.number == 0 and done.probability == 1 and done.median == 0 and done.mean == 0
    assert required_completions(infer_scores(BetaScores(), [1.0]), 1.0, 1.0).number == 0
    for target, confidence in [(1.1, 0.5), (-0.1, 0.5), (math.nan, 0.5), (0.5, 0.0), (0.5, 1.1), (0.5, math.nan)]:
        with pytest.raises(ValueError, match="expected"):
            required_completions(posterior, target, confidence)
    with pytest.raises(ValueError, match="probabilities"):
        done.quantiles([1.5])


def test_posterior_of_the_number_is_that_of_the_law_transformed():
    posterior = infer_scores(DirichletScores(5.0), SCORES)
    found = required_completions(posterior, 0.9, 0.9)
    cdf = posterior.cdf_quantile(0.9, [0.1, 0.5, 0.9])
    np.testing.assert_array_equal(found.quantiles([0.1, 0.5, 0.9]), np.ceil(np.log1p(-0.9) / np.log(cdf)))
    assert found.median == found.quantiles(0.5)
    assert found.mean == math.inf  # Beta(5.4.., 0.5): the density of F does not vanish at 1
    heavy = required_completions(infer_scores(DirichletScores(40.0), SCORES), 0.9, 0.9)
    a, b = 40 * 0.9 + 5, 40 * 0.1
    draws = np.random.default_rng(0).beta(a, b, 100_000)
    assert_mean(np.ceil(math.log1p(-0.9) / np.log(draws)), heavy.mean, bias=0.01)


@pytest.mark.parametrize("model", MODELS, ids=named)
def test_the_number_that_is_worth_most(model):
    posterior = infer_scores(model, SCORES)
    numbers = np.arange(1, 65)
    gains = np.array([posterior.expected_gain(int(m)) for m in numbers])
    np.testing.assert_allclose(posterior.expected_gains(numbers), gains, rtol=1e-5)
    assert (np.diff(gains) > 0).all() and (np.diff(gains, 2) < 1e-7).all()
    for price in (0.0, 1e-4, 1e-3, 5e-3, 0.02):
        found = worthwhile_completions(posterior, price, 64)
        net = gains - price * numbers
        assert found.number == (numbers[net.argmax()] if net.max() > 0 else 0)
        assert found.net_gain == pytest.approx(max(net.max(), 0.0), abs=1e-6)
    assert worthwhile_completions(posterior, 1.0, 64).number == 0
    assert worthwhile_completions(posterior, 0.0, 1000).number == 1000
    assert worthwhile_completions(posterior, 1e-4, 0).number == 0
    for price, most in [(-1.0, 5), (math.nan, 5), (0.1, -1), (0.1, 1.5), (0.1, math.inf), (0.1, math.nan)]:
        with pytest.raises(ValueError, match="expected"):
            worthwhile_completions(posterior, price, most)
