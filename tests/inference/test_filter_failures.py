"""What the filter does with weights that are zero or no numbers: groups that die, and errors that name the place."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.smcfilter import SMCFailed

from ppl_scaling.errors import AllWeightsZeroError, PPLScalingError, ScoreError
from ppl_scaling.inference import SMCFilter, multinomial
from tests.statistics import assert_mean


class Coins:
    """Each particle is a coin of its own bias; the third flip is impossible for the groups in ``doomed``."""

    def __init__(self, doomed=(), value=-math.inf):
        self.doomed, self.value = doomed, value

    def init(self, state):
        state["bias"] = pyro.sample("bias", dist.Beta(2.0, 2.0))
        state["group"] = torch.arange(len(state["bias"])) // state.group_size

    def step(self, state, t):
        pyro.sample(f"flip_{t}", dist.Bernoulli(state["bias"]), obs=torch.ones(()))
        if t == 3:
            doomed = torch.isin(state["group"], torch.tensor(self.doomed, dtype=torch.long))
            pyro.factor("doom", torch.where(doomed, self.value, 0.0))


def flip(model, num_groups, steps=4, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        smc = SMCFilter(model, None, 50, num_groups=num_groups, **settings)
        smc.init()
        for t in range(1, steps + 1):
            smc.step(t)
    return smc


def test_evidence_of_coins_is_that_of_the_beta_binomial():
    smc = flip(Coins(), 600, resampling=multinomial, ess_threshold=0.95)
    assert_mean(smc.log_evidence.exp(), math.prod((2 + k) / (4 + k) for k in range(4)))


def test_a_group_that_dies_leaves_the_others_alone():
    smc = flip(Coins(doomed=(1, 3)), 5)
    assert smc.groups == (0, 2, 4)
    assert smc.log_weights.shape == (3, 50) and smc.log_evidence.isfinite().all()
    assert {group: error.step for group, error in smc.failures.items()} == {1: 3, 3: 3}
    assert smc.failures[1].group == 1 and "after site 'doom' of step 3" in str(smc.failures[1])
    assert smc.history[-1].groups == (0, 2, 4) and smc.history[3].groups == (0, 1, 2, 3, 4)


def test_if_all_groups_die_it_is_an_error_that_pyro_users_catch():
    for kind in (SMCFailed, PPLScalingError, AllWeightsZeroError):
        with pytest.raises(kind, match="all particles of group 0 have weight zero after site 'doom' of step 3"):
            flip(Coins(doomed=(0, 1)), 2)


def test_the_site_that_kills_the_last_particles_is_named_though_others_died_before():
    class OneByOne:
        def init(self, state):
            state["number"] = torch.arange(4)

        def step(self, state, t):
            pyro.factor(f"first_{t}", torch.where(state["number"] == 2 * t - 2, -math.inf, 0.0))
            pyro.factor(f"second_{t}", torch.where(state["number"] == 2 * t - 1, -math.inf, 0.0))

    smc = SMCFilter(OneByOne(), None, 4, ess_threshold=0.01)
    smc.init()
    smc.step(1)
    with pytest.raises(AllWeightsZeroError, match="after site 'second_2' of step 2"):
        smc.step(2)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_weight_that_is_no_number_is_an_error_with_step_and_particle(value):
    # With validation Pyro itself refuses a factor that is NaN.
    with (
        pyro.validation_enabled(False),
        pytest.raises(ScoreError, match=rf"site 'doom' of particle 50 at step 3 is {value}") as caught,
    ):
        flip(Coins(doomed=(1,), value=value), 2)
    assert caught.value.step == 3 and caught.value.particle == 50
