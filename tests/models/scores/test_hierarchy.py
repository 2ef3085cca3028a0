"""Hierarchies over problems: sites, padding, regression, and the prior of a new problem."""

import math

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import Predictive
from pyro.infer.mcmc.util import initialize_model

from ppl_scaling.models.scores import (
    SCORE_MODELS,
    HierarchicalScores,
    LinearPriorFunction,
    LogitNormalScores,
    Prior,
    PriorFunction,
    ScoreAndCorrectness,
    TwoComponentScores,
)

FAMILIES = list(SCORE_MODELS.values())


@pytest.fixture(params=FAMILIES, ids=lambda family: family.name)
def model(request):
    return request.param()


def ragged(seed=0):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand((4, 5), dtype=torch.float64, generator=generator)
    scores[1, 1] = 1.0
    mask = torch.arange(5) < torch.tensor([5, 2, 3, 0])[:, None]
    return scores, mask


def test_the_sites_are_those_of_population_and_problems(model):
    scores, mask = ragged()
    trace = poutine.trace(HierarchicalScores(model, num_features=2)).get_trace(scores, mask, torch.ones(4, 2))
    for name in model.parameters:
        assert trace.nodes[f"{name}_mean"]["value"].shape == ()
        assert trace.nodes[f"{name}_spread"]["value"] > 0
        assert trace.nodes[f"{name}_weights"]["value"].shape == (2,)
        assert trace.nodes[f"{name}_latent"]["value"].shape == trace.nodes[name]["value"].shape == (4,)
        assert [frame.name for frame in trace.nodes[f"{name}_latent"]["cond_indep_stack"]] == ["problem"]
    assert trace.nodes["score"]["is_observed"]
    assert f"{model.parameters[0]}_weights" not in poutine.trace(HierarchicalScores(model)).get_trace(scores, mask)


def test_the_density_is_that_of_each_problems_scores(model):
    """Statistics, padding and plates against the likelihood of one problem after the other."""
    scores, mask = ragged()
    trace = poutine.trace(HierarchicalScores(model)).get_trace(scores, mask)
    trace.compute_log_prob()
    for problem in range(4):
        values = {name: trace.nodes[name]["value"][problem] for name in model.parameters}
        expected = model.log_prob(scores[problem, mask[problem]], values).sum()
        torch.testing.assert_close(trace.nodes["score"]["log_prob"][problem], expected, rtol=1e-8, atol=1e-8)


def test_masked_scores_do_not_matter(model):
    scores, mask = ragged()
    other = torch.where(mask, scores, math.nan)
    values = []
    for given in (scores, other):
        pyro.set_rng_seed(1)
        initial, potential, *_ = initialize_model(HierarchicalScores(model), model_args=(given, mask))
        point = {name: value.detach().requires_grad_() for name, value in initial.items()}
        energy = potential(point)
        values.append([energy.detach(), *torch.autograd.grad(energy, list(point.values()))])
    assert all(value.isfinite().all() for value in values[0])
    torch.testing.assert_close(values[0], values[1])


@pytest.mark.parametrize("centredness", [None, 0.0, 0.4, 1.0])
def test_centredness_does_not_change_the_model(centredness):
    """A problem's value given the population is normal, whatever the latent: by change of variables, exactly."""
    scores, mask = ragged()
    hierarchy = HierarchicalScores(LogitNormalScores(), centredness=centredness)
    nodes = poutine.trace(hierarchy).get_trace(scores, mask).nodes
    for name in ("location", "log_scale"):
        mean, spread = nodes[f"{name}_mean"]["value"], nodes[f"{name}_spread"]["value"]
        law, latent, value = nodes[f"{name}_latent"]["fn"], nodes[f"{name}_latent"]["value"], nodes[name]["value"]
        jacobian = (spread / law.scale).log()
        expected = torch.distributions.Normal(mean, spread).log_prob(value) + jacobian
        torch.testing.assert_close(law.log_prob(latent), expected)


def test_scores_are_drawn_where_none_are_given(model):
    drawn = HierarchicalScores(model)(num_problems=3, num_scores=7)
    assert drawn.shape == (3, 7) and ((drawn >= 0) & (drawn <= 1)).all()
    many = Predictive(HierarchicalScores(model), num_samples=2)(num_problems=3, num_scores=7)
    assert many["score"].shape == (2, 3, 7)


def test_labels_reach_the_likelihood():
    scores, mask = ragged()
    correct = torch.where(mask, torch.tensor([1.0, math.nan, 0.0, 1.0, math.nan], dtype=torch.float64), 7.0)
    trace = poutine.trace(HierarchicalScores(ScoreAndCorrectness())).get_trace(scores, mask, correct=correct)
    trace.compute_log_prob()
    for problem in range(4):
        values = {name: trace.nodes[name]["value"][problem] for name in ScoreAndCorrectness.parameters}
        kept = mask[problem]
        expected = ScoreAndCorrectness().log_likelihood(scores[problem, kept], values, correct[problem, kept])
        torch.testing.assert_close(trace.nodes["score"]["log_prob"][problem], expected)
    with pytest.raises(ValueError, match="only for ScoreAndCorrectness"):
        HierarchicalScores(TwoComponentScores())(scores, mask, correct=correct)


def test_what_changed_in_place_is_read_again():
    scores, mask = ragged()
    hierarchy = HierarchicalScores(LogitNormalScores())
    first = hierarchy.observe(scores, mask)
    assert hierarchy.observe(scores, mask) is first
    scores[0, 0] = 0.123
    assert hierarchy.observe(scores, mask).scores[0, 0] == 0.123


def test_a_regression_with_known_weights_is_recovered():
    """400 problems x 16 scores: the joint mode gives weights within five standard errors, spread / sqrt(400) each."""
    generator = torch.Generator().manual_seed(3)
    features = torch.randn((400, 2), dtype=torch.float64, generator=generator)
    location = 1.5 + features @ torch.tensor([0.8, -0.5], dtype=torch.float64)
    location = location + 0.3 * torch.randn(400, dtype=torch.float64, generator=generator)
    values = {"location": location, "log_scale": torch.full((400,), -0.7, dtype=torch.float64)}
    scores = LogitNormalScores().sample(values, (16,), generator=generator).T
    # The joint mode over spreads and problems is degenerate, so the spreads are given.
    spreads = {"location_spread": torch.tensor(0.3).double(), "log_scale_spread": torch.tensor(0.1).double()}
    program = poutine.condition(HierarchicalScores(LogitNormalScores(), num_features=2), spreads)
    found, potential, *_ = initialize_model(program, model_args=(scores, None, features))
    found = {name: torch.zeros_like(value).requires_grad_() for name, value in found.items()}
    optimizer = torch.optim.LBFGS(found.values(), max_iter=60, line_search_fn="strong_wolfe")

    def energy():
        optimizer.zero_grad()
        value = potential(found)
        value.backward()
        return value

    optimizer.step(energy)
    error = 5 * math.sqrt(0.3**2 + 0.5**2 / 16) / 20
    np.testing.assert_allclose(found["location_weights"].detach(), [0.8, -0.5], atol=error)
    np.testing.assert_allclose(found["location_mean"].detach(), 1.5, atol=error)
    np.testing.assert_allclose(found["log_scale_weights"].detach(), [0, 0], atol=5 * math.sqrt(0.1**2 + 1 / 32) / 20)


# The prior of a new problem


def test_the_population_prior_by_hand():
    draws = {
        "location_mean": torch.tensor([[1.0, 3.0]]),  # one chain, two draws
        "location_spread": torch.tensor([[1.0, 2.0]]),
        "log_scale_mean": torch.tensor([[0.0, 0.0]]),
        "log_scale_spread": torch.tensor([[0.5, 0.5]]),
    }
    prior = HierarchicalScores(LogitNormalScores()).population_prior(draws)
    assert prior.location == pytest.approx({"location": 2.0, "log_scale": 0.0})
    assert prior.scale == pytest.approx({"location": math.sqrt(2.5 + 1.0), "log_scale": 0.5})


def test_the_population_prior_follows_the_features():
    rng = np.random.default_rng(0)
    draws = {
        f"{name}_{site}": rng.normal(size=(2, 50)) ** 2 for name in ("location", "log_scale") for site in ("mean", "spread")
    }
    draws |= {f"{name}_weights": rng.normal(size=(2, 50, 3)) for name in ("location", "log_scale")}
    hierarchy, x = HierarchicalScores(LogitNormalScores(), num_features=3), np.array([0.5, -1.0, 2.0])
    prior = hierarchy.population_prior(draws, x)
    for name in ("location", "log_scale"):
        value = draws[f"{name}_mean"] + draws[f"{name}_weights"] @ x
        assert prior.location[name] == pytest.approx(value.mean())
        assert prior.scale[name] == pytest.approx(math.sqrt((draws[f"{name}_spread"] ** 2).mean() + value.var()))
    assert isinstance(hierarchy.prior_function(draws), PriorFunction)
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        hierarchy.population_prior(draws)


def test_a_prior_function_by_hand():
    function = LinearPriorFunction({"location": [1.0, 2.0]}, {"location": 0.6}, {"location": [[0.1, 0.0], [0.0, 0.04]]})
    prior = function([3.0])
    assert prior.location == {"location": 7.0}
    assert prior.scale == {"location": pytest.approx(math.sqrt(0.36 + 0.1 + 0.36))}
    assert LinearPriorFunction({"location": [1.0]}, {"location": 0.6})() == Prior({"location": 1.0}, {"location": 0.6})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({"a": [1.0]}, {"b": 1.0}), "same parameters"),
        (({"a": [1.0], "b": [1.0, 2.0]}, {"a": 1.0, "b": 1.0}), "one shape"),
        (({"a": [1.0]}, {"a": 1.0}, {"a": [[1.0, 0.0]]}), "covariance of 'a'"),
    ],
)
def test_wrong_prior_functions_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        LinearPriorFunction(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either scores or both"),
        ({"scores": torch.rand(3)}, r"got \(3,\)"),
        ({"scores": torch.rand(3, 2), "num_scores": 2}, "got both"),
        ({"scores": torch.rand(3, 2), "mask": torch.ones(3, 2)}, "mask of bool"),
        ({"scores": torch.rand(3, 2) + 2}, "between 0 and 1"),
        ({"scores": torch.rand(3, 2), "features": torch.ones(3, 1)}, r"features of shape \(3, 0\)"),
    ],
)
def test_wrong_calls_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        HierarchicalScores(LogitNormalScores())(**arguments)


def test_wrong_settings_are_refused():
    with pytest.raises(TypeError, match="ScoreModel"):
        HierarchicalScores("beta")
    with pytest.raises(ValueError, match="num_features"):
        HierarchicalScores(LogitNormalScores(), num_features=-1)
    with pytest.raises(ValueError, match="centredness"):
        HierarchicalScores(LogitNormalScores(), centredness=1.5)
    with pytest.raises(ValueError, match="centredness of location, log_scale, got location"):
        HierarchicalScores(LogitNormalScores(), centredness={"location": 0.5})
    with pytest.raises(ValueError, match=r"\(2, 3\), got None"):
        HierarchicalScores(LogitNormalScores(), num_features=3)(torch.rand(2, 2))
