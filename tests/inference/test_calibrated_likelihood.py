"""Calibrated likelihoods in the samplers, against enumeration: plug-in, marginal, and maps as latents of the particles."""

import numpy as np
import pyro
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from ppl_scaling.inference import AuxiliaryParticleFilter, ParticleFilter, ParticleGibbs, enumerate_posterior
from ppl_scaling.models import (
    BernoulliLikelihood,
    BetaCalibration,
    CalibratedLikelihood,
    CalibrationPosterior,
    MonotoneCalibration,
    OddsLikelihood,
    TwistLikelihood,
)
from tests.inference.exactness import assert_matches, assert_unbiased, share_of
from tests.statistics import assert_mean
from tests.worlds import LastLetter, early_ends, impossible_branches, truncation

DRAWS = {"log_low_slope": [-0.5, 0.8, 0.0], "log_high_slope": [0.3, -1.0, 0.6], "offset": [-1.5, 1.0, 0.2]}
POSTERIOR = CalibrationPosterior(BetaCalibration(), DRAWS)
WITHIN = {
    "bernoulli": BernoulliLikelihood(),
    "twist, beta 2": TwistLikelihood(2.0),
    "odds": OddsLikelihood(temperature=2.0, beta=0.5),
}
each_likelihood = pytest.mark.parametrize("within", WITHIN.values(), ids=WITHIN)


def mixture(world, within):
    """Log-evidence, posterior of the answers and posterior of the draws of the map, if it is a latent."""
    each = [
        enumerate_posterior(world(CalibratedLikelihood(within, POSTERIOR.at(j))), "?") for j in range(POSTERIOR.num_draws)
    ]
    evidences = np.exp([one.log_evidence for one in each])
    maps = evidences / evidences.sum()
    answers = [one.answers(LastLetter()) for one in each]
    assert all(one.keys() == answers[0].keys() for one in answers)
    return np.log(evidences.mean()), {name: maps @ [one[name] for one in answers] for name in answers[0]}, maps


@pytest.mark.parametrize("uncertainty", ["plug_in", "marginal"])
@pytest.mark.parametrize("world", [early_ends, impossible_branches], ids=lambda world: world.__name__)
@each_likelihood
def test_one_map_for_all_particles(within, world, uncertainty):
    model = world(CalibratedLikelihood(within, POSTERIOR, uncertainty))
    results = ParticleFilter(model, num_particles=30, answer_format=LastLetter()).run_batch(["?"] * 200, seed=1)
    assert_matches(results, enumerate_posterior(model, "?"))


@pytest.mark.parametrize("world", [early_ends, truncation], ids=lambda world: world.__name__)
@each_likelihood
def test_a_map_for_each_particle_gives_the_joint_posterior_of_answer_and_map(within, world):
    log_evidence, answers, maps = mixture(world, within)
    model = world(CalibratedLikelihood(within, POSTERIOR, "latent"))
    results = ParticleFilter(model, num_particles=50, answer_format=LastLetter()).run_batch(["?"] * 200, seed=2)
    relative = assert_unbiased(results, log_evidence, answers)
    for draw, share in enumerate(maps):
        found = [one.weights @ (one.latents["calibration"] == draw) for one in results]
        assert_mean(relative * np.array(found), share)


@pytest.mark.parametrize("world", [early_ends, truncation, impossible_branches], ids=lambda world: world.__name__)
def test_under_the_twist_marginal_and_latent_are_one_law_of_answers(world):
    """E[r_T] is the same whether the map is averaged at every step or once; other likelihoods tell the two apart."""
    log_evidence, answers, _ = mixture(world, TwistLikelihood())
    marginal = enumerate_posterior(world(CalibratedLikelihood(TwistLikelihood(), POSTERIOR, "marginal")), "?")
    assert marginal.log_evidence == pytest.approx(log_evidence, abs=1e-12)
    assert marginal.answers(LastLetter()) == pytest.approx(answers, rel=1e-12)
    product = enumerate_posterior(world(CalibratedLikelihood(BernoulliLikelihood(), POSTERIOR, "marginal")), "?")
    assert abs(product.log_evidence - mixture(world, BernoulliLikelihood())[0]) > 1e-3


def test_looking_ahead_with_each_particles_own_map():
    log_evidence, answers, _ = mixture(early_ends, TwistLikelihood(2.0))
    model = early_ends(CalibratedLikelihood(TwistLikelihood(2.0), POSTERIOR, "latent"))
    smc = AuxiliaryParticleFilter(model, num_particles=30, answer_format=LastLetter(), ess_threshold=0.9)
    assert_unbiased(smc.run_batch(["?"] * 200, seed=3), log_evidence, answers)


def test_particle_gibbs_with_ancestor_sampling_carries_the_map_with_the_past():
    _, answers, _ = mixture(early_ends, BernoulliLikelihood())
    model = early_ends(CalibratedLikelihood(BernoulliLikelihood(), POSTERIOR, "latent"))
    gibbs = ParticleGibbs(model, num_particles=8, num_iterations=14, ancestor_sampling=True, answer_format=LastLetter())
    results = gibbs.run_batch(["?"] * 200, seed=4)
    for answer, probability in answers.items():
        assert_mean([share_of(one, answer) for one in results], probability)


def test_latent_maps_are_refused_where_there_is_no_run():
    model = early_ends(CalibratedLikelihood(TwistLikelihood(), POSTERIOR, "latent"))
    with pytest.raises(TypeError, match="expected a likelihood without latents"):
        enumerate_posterior(model, "?")


@pytest.mark.parametrize("uncertainty", ["plug_in", "marginal", "latent"])
def test_maps_stay_on_the_device_of_the_logits(uncertainty):
    monotone = MonotoneCalibration()
    draws = {name: np.zeros(4) for name in monotone.parameters}
    for posterior in (POSTERIOR, CalibrationPosterior(monotone, draws)):
        likelihood = CalibratedLikelihood(TwistLikelihood(), posterior, uncertainty)
        with FakeTensorMode(), pyro.validation_enabled(False):  # checks of values have none to look at
            state = {"finished": torch.zeros(6, dtype=torch.bool, device="cuda")}
            likelihood.init(state)
            if uncertainty == "latent":
                assert state["calibration"].device.type == "cuda"
                state["calibration"] = torch.zeros(6, dtype=torch.long, device="cuda")
            logits = torch.zeros(6, dtype=torch.float64, device="cuda")
            found = likelihood.given(state).log_increment(logits, logits)
            assert found.device.type == "cuda" and found.shape == (6,)
            if uncertainty == "latent":
                some, fewer = torch.tensor([1, 3], device="cuda"), torch.zeros(2, dtype=torch.float64, device="cuda")
                assert likelihood.given(state, some).log_increment(fewer, fewer).shape == (2,)
