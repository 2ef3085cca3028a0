"""Health of single steps, on genealogies small enough to be followed by hand."""

import math

import numpy as np
import pytest

from ppl_scaling.arviz_export import arviz, is_new
from ppl_scaling.diagnostics import pareto_k, particle_trace
from ppl_scaling.inference import Greedy, ParticleFilter
from tests.diagnostics.made import made_result
from tests.worlds import LIKELIHOODS, LastLetter, early_ends

# Particles 0 and 1 survive the first resampling, particles 0 and 2 the second; the last step kills particle 3.
ANCESTORS = [[0, 1, 2, 3], [0, 0, 1, 1], [0, 0, 0, 2]]
WEIGHTS = [[0.4, 0.4, 0.1, 0.1], [0.5, 0.0, 0.5, 0.0], [0.25, 0.25, 0.5, 0.0]]


def test_every_series_by_hand():
    trace = particle_trace(made_result(WEIGHTS, ANCESTORS, [False, True, True]))
    assert trace.unique_ancestors.tolist() == [4, 2, 2]
    assert trace.unique_roots.tolist() == [4, 2, 1]  # the family of particle 1 ends with the particle without weight
    assert trace.surviving.tolist() == [1, 1, 3] and trace.shared_steps == 2
    assert trace.max_weight.tolist() == pytest.approx([0.4, 0.5, 0.5])
    assert trace.ess.tolist() == pytest.approx([1 / 0.34, 2.0, 1 / 0.375])
    entropies = [-(0.8 * math.log(0.4) + 0.2 * math.log(0.1)), math.log(2), 0.5 * math.log(4) + 0.5 * math.log(2)]
    assert trace.weight_entropy.tolist() == pytest.approx([one / math.log(4) for one in entropies])
    assert np.isnan(trace.pareto_k).all() and trace.to_dict()["pareto_k"] == [None] * 3


def test_the_series_are_those_of_a_run():
    model = early_ends(LIKELIHOODS["bernoulli"])
    result = ParticleFilter(model, num_particles=12, ess_threshold=1.0, answer_format=LastLetter()).run("?", seed=4)
    trace = particle_trace(result)
    weights = np.exp(result.log_weights_by_step - np.logaddexp.reduce(result.log_weights_by_step, axis=1)[:, None])
    assert trace.ess == pytest.approx(1 / (weights**2).sum(1))
    for step in range(result.num_steps):
        assert trace.unique_ancestors[step] == len(set(result.ancestors[step].tolist()))
    with pytest.raises(TypeError, match="ParticleFilterResult"):
        particle_trace(Greedy(model, answer_format=LastLetter()).run("?", seed=0))


def test_one_particle_has_no_entropy():
    trace = particle_trace(made_result([[1.0], [1.0]], [[0], [0]], [False, False]))
    assert np.isnan(trace.weight_entropy).all() and trace.shared_steps == 2


@pytest.mark.skipif(is_new(), reason="ArviZ 1.x has the fit elsewhere")
@pytest.mark.parametrize("size", [21, 100, 1000])
@pytest.mark.parametrize("spread", [0.3, 1.0, 4.0])
def test_pareto_k_is_that_of_arviz(size, spread):
    log_weights = np.random.default_rng(size).normal(scale=spread, size=size)
    assert pareto_k(log_weights) == pytest.approx(float(arviz().psislw(log_weights.copy())[1]), rel=1e-6, abs=1e-9)


def test_pareto_k_of_a_pareto_tail_and_where_it_cannot_be_told():
    rng = np.random.default_rng(0)
    for shape in (0.3, 0.7, 1.2):  # standard error about (1 + k) / sqrt(M), M = 424: 0.11 at most; five of them
        assert pareto_k(-shape * np.log(rng.random(20_000))) == pytest.approx(shape, abs=5 * (1 + shape) / math.sqrt(424))
    assert pareto_k(np.zeros(100)) == -math.inf
    assert math.isnan(pareto_k(rng.normal(size=20)))
    assert math.isnan(pareto_k(np.repeat([0.0, 1.0, 2.0], 30)))
    for wrong in ([], [0.0, math.nan], [-math.inf, -math.inf], [0.0, math.inf]):
        with pytest.raises(ValueError, match="expected log-weights"):
            pareto_k(wrong)
