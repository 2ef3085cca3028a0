"""What every law of scores has in common: checked scores, priors, and the Pyro program."""

import math

import numpy as np
import pyro
import pytest
import scipy.stats
import torch
from pyro import poutine
from pyro.infer import Predictive

from ppl_scaling.models.scores import (
    SCORE_MODELS,
    BetaScores,
    InflatedBetaScores,
    LogitNormalScores,
    Prior,
    ScoreLaw,
    TruncatedNormalScores,
    validate_scores,
)

FAMILIES = [TruncatedNormalScores, BetaScores, InflatedBetaScores, LogitNormalScores]


@pytest.fixture(params=FAMILIES, ids=lambda family: family.name)
def model(request):
    return request.param()


# Scores


@pytest.mark.parametrize(
    "scores", [[0.2, 1, 0], (0.2, 1, 0), np.array([0.2, 1, 0]), torch.tensor([0.2, 1, 0], dtype=torch.float64)]
)
def test_scores_become_float64(scores):
    checked = validate_scores(scores)
    assert checked.dtype == torch.float64
    assert checked.tolist() == [0.2, 1, 0]


def test_whole_numbers_and_no_scores_are_scores():
    assert validate_scores([0, 1]).tolist() == [0, 1]
    assert validate_scores([]).shape == (0,)


def test_scores_are_cut_from_the_graph():
    assert not validate_scores(torch.full((2,), 0.5, requires_grad=True)).requires_grad


@pytest.mark.parametrize(
    ("scores", "error", "message"),
    [
        ([0.5, math.nan], ValueError, "got nan at position 1"),
        ([0.5, 1.0001], ValueError, "at position 1"),
        ([-1e-9], ValueError, "between 0 and 1"),
        ([math.inf], ValueError, "got inf"),
        (0.5, ValueError, r"shape \(n,\), got \(\)"),
        ([[0.5]], ValueError, r"got \(1, 1\)"),
        (["high"], TypeError, "numbers"),
        (None, TypeError, "numbers"),
        ([True], TypeError, "numbers"),
        (torch.tensor([True]), TypeError, "bool"),
        (torch.tensor([0.5 + 0j]), TypeError, "complex"),
    ],
)
def test_what_is_no_score_is_said(scores, error, message):
    with pytest.raises(error, match=message):
        validate_scores(scores)


# Priors


def test_prior_density_is_scipys():
    prior = Prior({"a": 0.5, "b": -1.0}, {"a": 2.0, "b": 0.1})
    values = {"a": torch.tensor([0.0, 1.0]).double(), "b": torch.tensor([-1.1, 0.0]).double()}
    exact = scipy.stats.norm.logpdf(values["a"], 0.5, 2) + scipy.stats.norm.logpdf(values["b"], -1, 0.1)
    assert prior.log_prob(values).numpy() == pytest.approx(exact, rel=1e-14)


def test_prior_draws_have_its_moments_and_come_again():
    prior = Prior({"a": 0.5}, {"a": 2.0})
    drawn = prior.sample((4000,), torch.Generator().manual_seed(0))["a"]
    # Fixed seed; p below 1e-6 would be a false alarm with that probability.
    assert scipy.stats.kstest(drawn, scipy.stats.norm(0.5, 2).cdf).pvalue > 1e-6
    assert torch.equal(drawn, prior.sample((4000,), torch.Generator().manual_seed(0))["a"])


@pytest.mark.parametrize(
    ("location", "scale", "message"),
    [
        ({"a": 0.0}, {"b": 1.0}, "same parameters"),
        ({"a": math.nan}, {"a": 1.0}, "finite, got nan"),
        ({"a": 0.0}, {"a": 0.0}, "positive and finite, got 0"),
        ({"a": 0.0}, {"a": math.inf}, "got inf"),
    ],
)
def test_what_is_no_prior_is_said(location, scale, message):
    with pytest.raises(ValueError, match=message):
        Prior(location, scale)


def test_a_prior_of_other_parameters_is_refused(model):
    with pytest.raises(ValueError, match=f"expected a prior of {model.parameters[0]}"):
        type(model)(Prior({"other": 0.0}, {"other": 1.0}))
    with pytest.raises(TypeError, match="expected prior to be a Prior, got dict"):
        type(model)({"location": 0.0})


def test_missing_values_are_said(model):
    with pytest.raises(ValueError, match=f"got none of {model.parameters[-1]}"):
        model.log_cdf(0.5, {name: torch.zeros(()) for name in model.parameters[:-1]})


def test_a_model_says_what_it_is(model):
    assert repr(model) == f"{type(model).__name__}()"
    shifted = Prior({name: 1.5 for name in model.parameters}, {name: 1.0 for name in model.parameters})
    assert "1.5" in repr(type(model)(shifted))
    assert type(model)(shifted).prior == shifted
    assert set(model.default_prior.location) == set(model.parameters)


def test_prior_predictive_scores_look_like_verifier_scores(model):
    """Of 4501 MATH problems the mean score has median 0.95, its standard deviation 0.06; the priors are weaker than that.

    The logit-normal law's is neutral between those and verifiers of weaker models, whose logits are at -2.2, a score of 0.1.
    """
    neutral = isinstance(model, LogitNormalScores)
    generator = torch.Generator().manual_seed(0)
    scores = model.sample(model.prior.sample((2000,), generator), (64,), generator=generator)
    means, spreads = scores.mean(0), scores.std(0)
    assert (0.5 if neutral else 0.75) < means.median() < (0.7 if neutral else 0.95)
    assert 0.05 < spreads.median() < 0.2
    # What was seen on those problems is nowhere in the prior's far tails.
    for mean in (0.1, 0.75, 0.995) if neutral else (0.75, 0.995):
        assert 0.01 < (means < mean).double().mean() < 0.999
    for spread in (0.018, 0.132):
        assert 0.01 < (spreads < spread).double().mean() < 0.99


# The Pyro program


def test_program_has_the_documented_sites(model):
    scores = [0.3, 0.9, 0.95]
    trace = poutine.trace(model).get_trace(scores)
    assert [name for name in trace.stochastic_nodes if name != "completion"] == list(model.parameters)
    assert trace.observation_nodes == ["score"]
    assert trace.nodes["score"]["cond_indep_stack"][0].name == "completion"
    assert trace.nodes["_RETURN"]["value"].tolist() == scores
    for name in model.parameters:
        assert trace.nodes[name]["value"].dtype == torch.float64
        assert trace.nodes[name]["fn"].loc.item() == model.prior.location[name]
        assert trace.nodes[name]["fn"].scale.item() == model.prior.scale[name]


def test_program_joint_is_prior_times_likelihood(model):
    scores = validate_scores([0.3, 0.9, 1.0, 0.0, 0.95])
    values = model.prior.sample((), torch.Generator().manual_seed(1))
    trace = poutine.trace(poutine.condition(model, values)).get_trace(scores)
    joint = model.prior.log_prob(values) + model.log_likelihood(scores, values)
    assert trace.log_prob_sum().item() == pytest.approx(joint.item(), rel=1e-12)


def test_program_draws_scores(model):
    pyro.set_rng_seed(0)
    first = model(num_scores=7)
    pyro.set_rng_seed(0)
    assert torch.equal(first, model(num_scores=7))
    assert validate_scores(first).shape == (7,)


def test_program_runs_for_many_draws_at_once(model):
    pyro.set_rng_seed(0)
    drawn = Predictive(model, num_samples=5, parallel=True)(num_scores=3)
    assert drawn["score"].shape == (5, 3)
    assert len(drawn["score"].unique(dim=0)) == 5


def test_program_needs_scores_or_their_number(model):
    with pytest.raises(ValueError, match="got neither"):
        model()
    with pytest.raises(ValueError, match="got both"):
        model([0.5], num_scores=1)
    with pytest.raises(ValueError, match="between 0 and 1"):
        model([1.5])


def test_the_law_is_a_pyro_distribution():
    values = {"location": torch.tensor([[0.0], [1.0]]), "log_scale": torch.tensor(0.0)}
    law = LogitNormalScores().law(values)
    assert isinstance(law, ScoreLaw)
    assert law.batch_shape == (2, 1)
    wide = law.expand((2, 3))
    assert wide.sample((4,)).shape == (4, 2, 3)
    scores = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    rows = LogitNormalScores().log_prob(scores, {"location": torch.tensor([0.0, 1.0]), "log_scale": torch.zeros(2)})
    assert torch.equal(wide.log_prob(scores), rows)
    with pytest.raises(ValueError, match="support"):
        law.log_prob(torch.tensor(1.5))


def test_laws_are_found_by_name():
    assert SCORE_MODELS["beta"] is BetaScores
    assert all(family.name == name for name, family in SCORE_MODELS.items())
