"""The Dirichlet process: its closed form against stick-breaking, and its finite form against the closed one."""

import numpy as np
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from pyro import poutine

from ppl_scaling.models.scores import DirichletScores, HierarchicalDirichletScores, StepLaw
from tests.models.scores.sticks import stick_breaking
from tests.statistics import assert_mean

SCORES = [0.2, 0.55, 0.55, 0.9, 1.0]


@pytest.mark.parametrize("score", [0.1, 0.55, 0.7, 1.0])
def test_the_posterior_of_the_cdf_is_that_of_stick_breaking(score):
    """Given scores the process is one of concentration alpha + n around (alpha G0 + scores) / (alpha + n)."""
    model, rng = DirichletScores(2.0, scipy.stats.beta(3, 1)), np.random.default_rng(4)
    weights = stick_breaking(rng, 7.0, 600, 400)
    fresh = rng.random(weights.shape) < 2 / 7
    places = np.where(fresh, rng.beta(3, 1, weights.shape), rng.choice(SCORES, weights.shape))
    below = (weights * (places < score)).sum(1)
    a, b = model.cdf_posterior(score, SCORES)
    assert a + b == pytest.approx(7)
    assert_mean(below, a / (a + b))
    assert_mean(below**2, a * (a + 1) / (7 * 8))


def test_closed_form_by_hand():
    a, b = DirichletScores(2.0).cdf_posterior(np.array([0.0, 0.55, 0.6, 1.0]), SCORES)
    np.testing.assert_allclose(a, [0, 1 + 1.1, 3 + 1.2, 4 + 2])
    np.testing.assert_allclose(b, [7, 7 - 2.1, 7 - 4.2, 1])


def test_the_bootstrap_never_beats_the_best():
    a, b = DirichletScores(0.0).cdf_posterior(0.95, [0.2, 0.9])
    assert (a, b) == (2, 0)
    drawn = DirichletScores(0.0).sample([0.2, 0.9], (50, 20), seed=1)
    assert set(drawn.unique().tolist()) == {0.2, 0.9}
    for call in (lambda model: model.cdf_posterior(0.5, []), lambda model: model(num_scores=3)):
        with pytest.raises(ValueError, match="bootstrap has no prior"):
            call(DirichletScores(0.0))


def test_sets_of_draws_share_one_law():
    """Rows are exchangeable: the square of a row's mean indicator has the moments of the Beta law."""
    model = DirichletScores(2.0)
    below = (model.sample(SCORES, (4000, 6), seed=3) < 0.6).double()
    a, b = model.cdf_posterior(0.6, SCORES)
    for place in (0, 5):
        assert_mean(below[:, place], a / (a + b))
    assert_mean(below[:, 0] * below[:, 5], a * (a + 1) / ((a + b) * (a + b + 1)))
    torch.testing.assert_close(model.sample(SCORES, (5, 3), seed=1), model.sample(SCORES, (5, 3), seed=1))


def test_bins_are_the_process_at_their_edges():
    """Masses of bins are Dirichlet; below an edge they add up to the Beta law of the closed form, exactly."""
    model = DirichletScores(3.0, scipy.stats.beta(2, 1), bins=[0, 0.3, 0.55, 0.8, 1])
    parameters = model.weights_posterior(SCORES).numpy()
    a, b = model.cdf_posterior(model.edges[1:-1], SCORES)
    np.testing.assert_allclose(parameters.cumsum()[:-1], a)
    np.testing.assert_allclose(parameters.sum() - parameters.cumsum()[:-1], b)


def test_the_program_gives_bins_their_weights_and_scores_the_base_within():
    base = scipy.stats.beta(2, 1)
    model, scores = DirichletScores(3.0, base, bins=[0, 0.5, 1]), torch.tensor([0.2, 0.5, 1.0], dtype=torch.float64)
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64)
    trace = poutine.trace(poutine.condition(model, {"weights": weights})).get_trace(scores)
    trace.compute_log_prob()
    expected = np.array([0.3 * 0.4 / 0.25, 0.7 * 1.0 / 0.75, 0.7 * 2.0 / 0.75])
    np.testing.assert_allclose(trace.nodes["score"]["log_prob"].exp(), expected, rtol=1e-6)
    torch.testing.assert_close(
        trace.nodes["weights"]["log_prob"], dist.Dirichlet(torch.tensor([0.75, 2.25]).double()).log_prob(weights)
    )
    drawn = poutine.condition(model, {"weights": weights})(num_scores=4000)
    assert_mean(drawn < 0.5, 0.3)
    assert_mean(drawn < 0.75, 0.3 + 0.7 * (0.75**2 - 0.25) / 0.75)


@pytest.mark.parametrize(
    ("masses", "edges", "message"),
    [
        ([1.0, -0.5], [0, 0.5, 1], "2 masses of at least 0"),
        ([0.0], [0, 1], "not all of them 0"),
        ([1.0], [0, 0.5, 1], "expected 2 masses"),
        ([np.nan], [0, 1], "got .nan."),
        ([1.0, 1.0], [0, 0.5, 0.4], "rise from 0 to 1"),
    ],
)
def test_what_is_no_step_law_is_said(masses, edges, message):
    with pytest.raises(ValueError, match=message):
        StepLaw(masses, edges)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"concentration": -1.0}, "finite number >= 0"),
        ({"bins": [0, 0.5]}, "from 0 to 1"),
        ({"bins": 0}, "from 0 to 1"),
        ({"base": scipy.stats.uniform(0.5, 0.5)}, "every bin"),
    ],
)
def test_wrong_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        DirichletScores(**arguments)


def test_the_program_needs_scores_or_their_number():
    with pytest.raises(ValueError, match="either"):
        DirichletScores()()


# The hierarchy


def test_counts_leave_padding_out():
    model = HierarchicalDirichletScores(bins=[0, 0.5, 1])
    scores = torch.tensor([[0.2, 0.5, 1.0], [0.7, 9.0, -3.0]], dtype=torch.float64)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    assert model.counts(scores, mask).tolist() == [[1, 2], [0, 1]]
    with pytest.raises(ValueError, match="between 0 and 1"):
        model.counts(scores)


def test_problems_masses_are_integrated_out():
    model, counts = HierarchicalDirichletScores(bins=3), torch.tensor([[1.0, 2, 0], [0, 1, 4]], dtype=torch.float64)
    proportions = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    given = {"proportions": proportions, "log_concentration": torch.tensor(0.7, dtype=torch.float64)}
    trace = poutine.trace(poutine.condition(model, given)).get_trace(counts)
    trace.compute_log_prob()
    parameters = np.exp(0.7) * proportions.numpy()
    expected = [
        scipy.stats.dirichlet_multinomial(parameters, int(row.sum())).logpmf(row.numpy().astype(int)) for row in counts
    ]
    np.testing.assert_allclose(trace.nodes["counts"]["log_prob"], expected, rtol=1e-10)


def test_population_has_the_moments_of_the_draws():
    model = HierarchicalDirichletScores(bins=2)
    draws = {"proportions": np.array([[0.2, 0.8], [0.4, 0.6]]), "log_concentration": np.log([3.0, 7.0])}
    population = model.population(draws)
    np.testing.assert_allclose(np.diff(population.base.cdf(population.edges)), [0.3, 0.7])
    variance = (0.2 * 0.8 / 4 + 0.4 * 0.6 / 8) / 2 + 0.01
    assert 0.3 * 0.7 / (population.concentration + 1) == pytest.approx(variance)
    assert population.cdf_posterior(0.5, [0.9])[0] == pytest.approx(0.3 * population.concentration)


def test_a_step_law_is_a_mixture_of_uniform_ones():
    masses, edges = np.array([1.0, 3.0, 4.0]), np.array([0.0, 0.5, 0.6, 1.0])
    law, steps = StepLaw(masses, edges), scipy.stats.rv_histogram((masses, edges), density=False)
    x, q = np.linspace(-0.2, 1.2, 57), np.linspace(0, 1, 33)
    np.testing.assert_allclose(law.cdf(x), steps.cdf(x))
    np.testing.assert_allclose(law.ppf(q), steps.ppf(q))
    inside = (x >= 0) & (x < 1)
    np.testing.assert_allclose(np.exp(law.logpdf(x[inside])), steps.pdf(x[inside]))
    assert (law.logpdf(np.array([-0.1, 1.1])) == -np.inf).all()
    assert law.logpdf(np.array(1.0)) == pytest.approx(np.log(0.5 / 0.4))  # the last bin holds its upper edge
    np.testing.assert_allclose(law.ppf(law.cdf(np.linspace(0, 1, 21))), np.linspace(0, 1, 21), atol=1e-15)
    again = StepLaw(**law.saved_arguments())
    np.testing.assert_array_equal(again.cdf(x), law.cdf(x))
    uniform = StepLaw()
    assert uniform.cdf(0.3) == pytest.approx(0.3) and uniform.logpdf(0.3) == 0
    empty = StepLaw([0.0, 1.0], [0.0, 0.5, 1.0])
    assert empty.logpdf(0.2) == -np.inf and empty.cdf(0.5) == 0
