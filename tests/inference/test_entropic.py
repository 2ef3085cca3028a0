"""Entropic particle filtering: the correction keeps it exact, and without it it is not."""

import json

import numpy as np
import pytest
import torch

from ppl_scaling.inference import EntropicParticleFilter, ParticleFilter, enumerate_posterior, multinomial
from ppl_scaling.inference.entropic import TEMPERATURE_SCHEDULES, by_entropy, by_ess
from ppl_scaling.models import OddsLikelihood
from tests.inference.exactness import assert_matches
from tests.statistics import K, assert_above
from tests.worlds import LIKELIHOODS, WORLDS, LastLetter, early_ends

PEAKED = OddsLikelihood(temperature=0.5)


@pytest.mark.parametrize("likelihood", ["bernoulli", "odds"])
@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_with_its_correction_it_is_exact_however_soft_the_weights(monkeypatch, world, likelihood):
    """Under a temperature of 3 at every step, more than the schedules make of these mild weights."""
    monkeypatch.setitem(TEMPERATURE_SCHEDULES, "ess", lambda log_weights, progress: torch.full_like(log_weights[:, 0], 3.0))
    model = world(LIKELIHOODS[likelihood])
    smc = EntropicParticleFilter(
        model, num_particles=20, ess_threshold=0.99, early_phase=1.0, answer_format=LastLetter(), resampling=multinomial
    )
    results = smc.run_batch(["?"] * 200, seed=1)
    assert_matches(results, enumerate_posterior(model, "?"))
    assert np.mean([(one.temperatures == 3).any() for one in results]) > 0.5


@pytest.mark.parametrize("schedule", ["ess", "entropy"])
def test_with_its_correction_and_the_schedules_it_is_exact(schedule):
    model = early_ends(PEAKED)
    smc = EntropicParticleFilter(model, num_particles=40, ess_threshold=0.9, schedule=schedule, answer_format=LastLetter())
    results = smc.run_batch(["?"] * 200, seed=1)
    assert_matches(results, enumerate_posterior(model, "?"))
    assert np.mean([(one.temperatures > 1.05).any() for one in results]) > 0.5
    assert all((one.temperatures >= 1).all() for one in results), "weights are softened, never sharpened"


def test_without_the_correction_it_is_biased():
    """The same comparison fails: the evidence is off by more than the K standard errors that the tests allow."""
    model = early_ends(PEAKED)
    settings = {"num_particles": 40, "ess_threshold": 0.95, "early_phase": 1.0, "answer_format": LastLetter()}
    exact = enumerate_posterior(model, "?")
    assert_matches(EntropicParticleFilter(model, **settings).run_batch(["?"] * 400, seed=2), exact)
    biased = EntropicParticleFilter(model, corrected=False, **settings).run_batch(["?"] * 400, seed=2)
    relative = np.exp([one.log_evidence - exact.log_evidence for one in biased])
    assert abs(relative.mean() - 1) > K * relative.std(ddof=1) / 20
    assert biased[0].configuration["corrected"] is False


def test_temperatures_follow_the_paper():
    log_weights = torch.tensor([[0.5, 0.25, 0.125, 0.125], [1.0, 0.0, 0.0, 0.0]], dtype=torch.float64).log()
    size = 1 / (0.25 + 0.0625 + 2 * 0.015625)
    assert by_ess(log_weights, 0.25).tolist() == pytest.approx([4 / size * 0.75, 4 * 0.75])
    entropy = 1.75 * np.log(2) / np.log(4)
    assert by_entropy(log_weights, 0.1).tolist() == pytest.approx([1 / (entropy + (1 - entropy) * 0.1), 10.0])


def test_late_weights_are_not_softened():
    model = early_ends(OddsLikelihood(temperature=0.3))
    settings = {"num_particles": 30, "ess_threshold": 1.0, "answer_format": LastLetter()}
    for result in EntropicParticleFilter(model, early_phase=0.3, **settings).run_batch(["?"] * 20, seed=3):
        # Of five steps, weights are soft before those that begin after less than .3 of them: the first two.
        assert (result.temperatures[2:] == 1).all() and result.temperatures[1] > 1 and result.temperatures[0] == 1
    never = EntropicParticleFilter(model, early_phase=0.0, **settings).run("?", seed=3)
    plain = ParticleFilter(model, **settings).run("?", seed=3)
    assert never.log_evidence == pytest.approx(plain.log_evidence, abs=1e-12)
    assert [one.text for one in never.trajectories] == [one.text for one in plain.trajectories]


def test_softening_keeps_more_different_beginnings():
    model = early_ends(OddsLikelihood(temperature=0.2))
    settings = {"num_particles": 30, "ess_threshold": 1.0, "answer_format": LastLetter()}

    def num_parents(results):
        return [len(set(one.ancestors[1].tolist())) for one in results]

    soft = EntropicParticleFilter(model, **settings).run_batch(["?"] * 250, seed=4)
    assert_above(num_parents(soft), num_parents(ParticleFilter(model, **settings).run_batch(["?"] * 250, seed=4)))


def test_one_particle_and_what_is_written():
    model = early_ends(LIKELIHOODS["odds"])
    for schedule in ("ess", "entropy"):
        smc = EntropicParticleFilter(model, num_particles=1, schedule=schedule, answer_format=LastLetter())
        result = smc.run("?", seed=1)
        assert (result.temperatures == 1).all()
    assert len(json.loads(json.dumps(result.to_dict()))["temperatures"]) == result.num_steps
    assert result.method == "entropic particle filter" and result.configuration["schedule"] == "entropy"


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"schedule": "linear"}, "among ess, entropy, got 'linear'"), ({"early_phase": 1.2}, r"in \[0, 1\], got 1.2")],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        EntropicParticleFilter(early_ends(LIKELIHOODS["twist"]), **settings)
