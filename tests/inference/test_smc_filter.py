"""The filter on models that are not language models: Pyro's own contract, Kalman filters, effect handlers."""

import math
from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

from ppl_scaling.inference import RESAMPLING_SCHEMES, SMCFilter
from ppl_scaling.models import Handled
from tests.statistics import assert_mean

DATA = [0.3, -0.5, 1.2, 0.8, 2.0]
RHO, TRANSITION, NOISE = 0.9, 0.5, 0.7


class LinearGaussian:
    def init(self, state):
        state["z"] = pyro.sample("z_0", dist.Normal(0.0, 1.0))

    def step(self, state, t, y):
        state["z"] = pyro.sample(f"z_{t}", dist.Normal(RHO * state["z"], TRANSITION))
        pyro.sample(f"y_{t}", dist.Normal(state["z"], NOISE), obs=y)


class WideGuide:
    def init(self, state):
        pass

    def step(self, state, t, y):
        pyro.sample(f"z_{t}", dist.Normal(0.8 * state["z"] + 0.1, 0.9))


def raised(variance, power):
    """Variance of the Gaussian that a Gaussian density to a power is, and the log of the constant before it."""
    after = variance / power
    return after, 0.5 * math.log(2 * math.pi * after) - 0.5 * power * math.log(2 * math.pi * variance)


def kalman(data=DATA, power=1.0, mean=0.0, variance=1.0, latent_power=1.0):
    """Log evidence, mean and variance; powers raise the density of every observation, and of every latent."""
    noise, of_noise = raised(NOISE**2, power)
    transition, of_transition = raised(TRANSITION**2, latent_power)
    variance, log_evidence = raised(variance, latent_power) if variance else (0.0, 0.0)
    for y in data:
        mean, variance = RHO * mean, RHO**2 * variance + transition
        log_evidence += of_noise + of_transition
        total = variance + noise
        log_evidence -= 0.5 * (math.log(2 * math.pi * total) + (y - mean) ** 2 / total)
        gain = variance / total
        mean, variance = mean + gain * (y - mean), variance * (1 - gain)
    return log_evidence, mean, variance


def run(model, guide=None, num_particles=100, num_groups=600, seed=0, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        smc = SMCFilter(model, guide, num_particles, num_groups=num_groups, **settings)
        smc.init()
        for t, y in enumerate(DATA, 1):
            smc.step(t, torch.tensor(y))
    return smc


def assert_kalman(smc, log_evidence, mean, variance):
    relative = (smc.log_evidence - log_evidence).exp()
    assert_mean(relative, 1.0)
    weights = torch.softmax(smc.log_weights, -1)
    z = smc.state["z"].view_as(weights)
    assert_mean(relative * (weights * z).sum(-1), mean)
    assert_mean(relative * (weights * z**2).sum(-1), mean**2 + variance)


@pytest.mark.parametrize("guide", [None, WideGuide()], ids=["bootstrap", "guide"])
@pytest.mark.parametrize("ess_threshold", [0.3, 1.0])
@pytest.mark.parametrize("scheme", RESAMPLING_SCHEMES.values(), ids=RESAMPLING_SCHEMES)
def test_against_the_kalman_filter(scheme, ess_threshold, guide):
    smc = run(LinearGaussian(), guide, resampling=scheme, ess_threshold=ess_threshold)
    assert_kalman(smc, *kalman())


def test_weights_are_float64_and_everything_is_recorded():
    smc = run(LinearGaussian(), num_groups=3, ess_threshold=1.0)
    assert smc.log_weights.dtype == torch.float64 and smc.log_weights.shape == (3, 100)
    assert [record.t for record in smc.history] == [0, 1, 2, 3, 4, 5]
    last = smc.history[-1]
    assert set(last.sites) == {"z_5"} and last.resampled.all()
    assert torch.equal(last.log_evidence, smc.log_evidence)
    before = smc.history[-2].sites["z_4"].view(3, 100).gather(1, last.ancestors)
    residual = (last.sites["z_5"].view(3, 100) - RHO * before).std()
    assert abs(float(residual) - TRANSITION) < 0.1, "ancestors lead to the particle that each one continues"


def test_a_power_of_the_likelihood_by_poutine_scale():
    class Tempered(LinearGaussian):
        def step(self, state, t, y):
            state["z"] = pyro.sample(f"z_{t}", dist.Normal(RHO * state["z"], TRANSITION))
            with poutine.scale(scale=0.4):
                pyro.sample(f"y_{t}", dist.Normal(state["z"], NOISE), obs=y)

    assert_kalman(run(Tempered()), *kalman(power=0.4))


@pytest.mark.parametrize("guide", [None, WideGuide()], ids=["bootstrap", "guide"])
def test_scale_around_the_whole_model_tempers_the_latents_too(guide):
    """p(z)^s of a Gaussian is a Gaussian of variance / s, with a constant; the wrapped model is filtered exactly so."""
    scaled = Handled(LinearGaussian(), partial(poutine.scale, scale=0.5))
    assert_kalman(run(scaled, guide, num_particles=400, num_groups=400), *kalman(power=0.5, latent_power=0.5))


@pytest.mark.parametrize("condition", [poutine.condition, pyro.condition])
def test_conditioning_on_a_latent(condition):
    fixed = Handled(LinearGaussian(), partial(condition, data={"z_0": torch.tensor(1.5)}))
    log_evidence, mean, variance = kalman(mean=1.5, variance=0.0)
    log_evidence += float(dist.Normal(0.0, 1.0).log_prob(torch.tensor(1.5)))
    assert_kalman(run(fixed), log_evidence, mean, variance)


def test_a_masked_observation_does_not_count():
    class SkipThird(LinearGaussian):
        def step(self, state, t, y):
            with poutine.mask(mask=t != 3):
                super().step(state, t, y)

    log_evidence, mean, variance = kalman(DATA[:2])
    mean, variance = RHO * mean, RHO**2 * variance + TRANSITION**2
    more, mean, variance = kalman(DATA[3:], mean=mean, variance=variance)
    assert_kalman(run(SkipThird()), log_evidence + more, mean, variance)


def test_a_guide_that_samples_what_the_model_observes_or_lacks_is_refused():
    fixed = Handled(LinearGaussian(), partial(poutine.condition, data={"z_1": torch.tensor(0.0)}))
    with pytest.raises(ValueError, match="'z_1', which the model observes"):
        run(fixed, WideGuide())

    class Stray(WideGuide):
        def step(self, state, t, y):
            pyro.sample("stray", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match="'stray', which the model lacks"):
        run(LinearGaussian(), Stray())


def test_a_guide_cannot_write_the_state():
    class Writer(WideGuide):
        def step(self, state, t, y):
            state["z"] = torch.zeros(100)

    with pytest.raises(RuntimeError, match="Guide cannot write"):
        run(LinearGaussian(), Writer(), num_groups=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_particles": 0}, "num_particles to be an integer of at least 1, got 0"),
        ({"num_groups": -1}, "num_groups to be an integer of at least 1, got -1"),
        ({"ess_threshold": 0.0}, r"ess_threshold to be in \(0, 1\], got 0.0"),
        ({"ess_threshold": 1.5}, r"ess_threshold to be in \(0, 1\], got 1.5"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        SMCFilter(LinearGaussian(), **settings)
    with pytest.raises(TypeError, match="resampling to be a function"):
        SMCFilter(LinearGaussian(), resampling="systematic")


def test_a_number_of_numpy_is_a_number():
    smc = SMCFilter(LinearGaussian(), num_particles=np.int64(8), num_groups=np.int32(2))
    smc.init()
    assert smc.log_weights.shape == (2, 8) and type(smc.group_size) is int


def test_a_site_of_no_dimensions_is_one_of_every_particle():
    class Constant(LinearGaussian):
        def step(self, state, t, y):
            super().step(state, t, y)
            pyro.deterministic("data", y)

    assert run(Constant(), num_groups=2).history[1].sites["data"].shape == (200,)


def test_absorbing_particles_keep_their_weights():
    class Ends:
        def init(self, state):
            state["finished"] = pyro.sample("early", dist.Bernoulli(0.5)).bool()

        def step(self, state, t):
            pyro.factor(f"f_{t}", torch.full((40,), -1.0))
            state["finished"] = torch.ones(40, dtype=torch.bool)

    smc = SMCFilter(Ends(), None, 40)
    torch.manual_seed(0)
    smc.init()
    early = smc.state["finished"]
    smc.step(1)
    smc.step(2)
    assert torch.equal(smc.log_weights[0], torch.where(early, 0.0, -1.0).double())

    class Vague(Ends):
        def init(self, state):
            state["finished"] = torch.zeros(40)

    smc = SMCFilter(Vague(), None, 40)
    with pytest.raises(TypeError, match=r"to be bool, got torch\.float32"):
        smc.init()
        smc.step(1)


def test_step_before_init():
    with pytest.raises(RuntimeError, match="init to be called before step"):
        SMCFilter(LinearGaussian()).step(1, torch.zeros(()))


class SmokeModel:
    """Nested plates and vector latents, as in the contract that Pyro's own tests of its filter check."""

    def __init__(self, state_size, plate_size):
        self.state_size, self.plate_size = state_size, plate_size

    def init(self, state):
        self.t = 0
        state["x_mean"] = pyro.sample("x_mean", dist.Normal(0.0, 1.0))
        normal = dist.MultivariateNormal(torch.zeros(self.state_size), torch.eye(self.state_size))
        state["y_mean"] = pyro.sample("y_mean", normal)

    def step(self, state, x=None, y=None):
        v = pyro.sample(f"v_{self.t}", dist.Normal(0.0, 1.0))
        with pyro.plate("plate", self.plate_size):
            w = pyro.sample(f"w_{self.t}", dist.Normal(v, 1.0))
            x = pyro.sample(f"x_{self.t}", dist.Normal(state["x_mean"] + w, 1), obs=x)
            noise = torch.eye(self.state_size)
            y = pyro.sample(f"y_{self.t}", dist.MultivariateNormal(state["y_mean"] + w[..., None], noise), obs=y)
        self.t += 1
        return x, y


class SmokeGuide(SmokeModel):
    def init(self, state):
        self.t = 0
        pyro.sample("x_mean", dist.Normal(0.0, 2.0))
        pyro.sample("y_mean", dist.MultivariateNormal(torch.zeros(self.state_size), 2 * torch.eye(self.state_size)))

    def step(self, state, x=None, y=None):
        v = pyro.sample(f"v_{self.t}", dist.Normal(0.0, 2.0))
        with pyro.plate("plate", self.plate_size):
            pyro.sample(f"w_{self.t}", dist.Normal(v, 2.0))
        self.t += 1


@pytest.mark.parametrize("max_plate_nesting", [1, 2])
@pytest.mark.parametrize("state_size", [1, 3])
@pytest.mark.parametrize("plate_size", [1, 4])
def test_the_contract_of_pyros_filter(max_plate_nesting, state_size, plate_size):
    truth, state = SmokeModel(state_size, plate_size), {}
    truth.init(state)
    data = [truth.step(state) for _ in range(3)]
    smc = SMCFilter(
        SmokeModel(state_size, plate_size), SmokeGuide(state_size, plate_size), 100, max_plate_nesting, ess_threshold=0.5
    )
    smc.init()
    assert set(smc.state) == {"x_mean", "y_mean"}
    for x, y in data:
        smc.step(x, y)
    assert set(smc.state) == {"x_mean", "y_mean"}
    empirical = smc.get_empirical()
    assert empirical["x_mean"].batch_shape == () and empirical["x_mean"].mean.isfinite().all()


def test_empirical_of_several_groups_has_a_batch_dimension():
    smc = run(LinearGaussian(), num_groups=4)
    weights = torch.softmax(smc.log_weights, -1)
    expected = (weights * smc.state["z"].view(4, 100)).sum(-1)
    assert smc.get_empirical()["z"].mean.tolist() == pytest.approx(expected.tolist(), rel=1e-5)
