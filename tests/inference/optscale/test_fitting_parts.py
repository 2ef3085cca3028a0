"""The parts of the offline fits: densities against Pyro's traces, curvature against autograd, diagnostics against ArviZ."""

import arviz
import numpy as np
import pytest
import torch
from pyro import poutine

from ppl_scaling.inference.optscale.convergence import chain_convergence
from ppl_scaling.inference.optscale.laplace import find_mode
from ppl_scaling.inference.optscale.log_joint import ProblemLogJoint, ProgramLogJoint, recorded
from ppl_scaling.models.scores import SCORE_MODELS, HierarchicalScores, LogitNormalScores

SCORES = torch.tensor([0.2, 0.7, 0.9, 0.95, 0.8], dtype=torch.float64)
PADDED = torch.stack([SCORES, SCORES.flip(0) ** 2, SCORES**0.5])


@pytest.mark.parametrize("law", SCORE_MODELS.values())
def test_density_of_a_problem_is_that_of_the_pyro_program(law):
    model = law()
    log_joint = ProblemLogJoint(model, SCORES)
    point = log_joint.start() + 0.3 * torch.arange(log_joint.size)
    values = dict(zip(model.parameters, point, strict=True))
    trace = poutine.trace(poutine.condition(model, values)).get_trace(SCORES)
    assert float(log_joint(point)) == pytest.approx(float(trace.log_prob_sum()), rel=1e-10)
    several = torch.stack([point, point + 0.1])
    torch.testing.assert_close(log_joint(several), torch.stack([log_joint(one) for one in several]))


def hierarchy():
    return ProgramLogJoint(HierarchicalScores(LogitNormalScores()), {"scores": PADDED}, LogitNormalScores.parameters)


def test_density_of_a_hierarchy_is_that_of_the_pyro_program():
    log_joint = hierarchy()
    point = log_joint.start() + 0.1 * torch.arange(log_joint.size)
    named = {name: value[0] for name, value in log_joint.constrain(point[None]).items()}
    spreads = [value for name, value in named.items() if name.endswith("_spread")]
    sites = {name: value for name, value in named.items() if name not in LogitNormalScores.parameters}
    sites |= {
        f"{name}_latent": point[4 + 3 * place : 7 + 3 * place] for place, name in enumerate(LogitNormalScores.parameters)
    }
    trace = poutine.trace(poutine.condition(HierarchicalScores(LogitNormalScores()), sites)).get_trace(PADDED)
    # Spreads are positive, so their coordinates are logarithms: the change of volume is their product.
    expected = float(trace.log_prob_sum()) + float(sum(value.log() for value in spreads))
    assert float(log_joint(point)) == pytest.approx(expected, rel=1e-10)
    shared = point.clone()
    shared[log_joint.local.reshape(-1)] += 1.0
    # What the problems' coordinates change is the problems' shares.
    change = float(log_joint.terms(shared).sum() - log_joint.terms(point).sum())
    assert float(log_joint(shared) - log_joint(point)) == pytest.approx(change, rel=1e-9)


def test_whitening_is_the_curvature_of_each_problem():
    log_joint = hierarchy()
    mode = find_mode(log_joint, log_joint.start())
    whitening = mode.whitening
    hessian = -torch.autograd.functional.hessian(log_joint, whitening.centre)
    for own, factor, slope in zip(log_joint.local, whitening.local_factor, whitening.slope, strict=True):
        block = hessian[own][:, own]
        torch.testing.assert_close(factor @ factor.T, torch.linalg.inv(block), rtol=1e-5, atol=1e-8)
        expected = -torch.linalg.solve(block, hessian[own][:, log_joint.shared])
        torch.testing.assert_close(slope, expected, rtol=1e-4, atol=1e-6)
    gradient = torch.autograd.functional.jacobian(log_joint, whitening.centre)
    assert float(gradient[log_joint.local].abs().max()) < 1e-4
    assert mode.positive
    points = torch.randn(4, log_joint.size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(whitening(points)[2], whitening(points[2]))


def test_a_recording_that_would_differ_is_not_used():
    def honest(point):
        return -(point**2).sum()

    def branching(point):
        return -(point**2).sum() if float(point.detach().sum()) > 0 else -point.abs().sum()

    start = torch.full((3,), 0.1, dtype=torch.float64)
    assert recorded(honest, start) is not honest
    assert recorded(branching, start) is branching


def test_diagnostics_agree_with_arviz():
    random = np.random.default_rng(0)
    draws = random.standard_normal((4, 200, 2)).cumsum(1) * 0.03 + random.standard_normal((4, 200, 2))
    draws[0, :, 1] += 1.0  # a chain that stands elsewhere
    found = chain_convergence({"x": draws, "same": np.ones((4, 200))}, np.zeros((4, 200), dtype=bool))
    assert np.isnan(found.r_hat["same"])
    for place in range(2):
        assert found.r_hat["x"][place] == pytest.approx(float(arviz.rhat(draws[..., place])), rel=1e-6)
        assert found.ess["x"][place] == pytest.approx(float(arviz.ess(draws[..., place])), rel=1e-6)
    assert found.worst_r_hat == found.r_hat["x"][1]
    assert found.reasons[0].startswith("R-hat of x[1]")
    assert not found.converged
    diverged = chain_convergence({"x": random.standard_normal((4, 400))}, np.eye(4, 400, dtype=bool))
    single = chain_convergence({"x": random.standard_normal((1, 400))}, np.zeros((1, 400), dtype=bool))
    assert single.reasons == ("a single chain has nothing to agree with",)
    assert diverged.reasons == ("4 of 1600 trajectories diverged: raise target_accept_prob",)
